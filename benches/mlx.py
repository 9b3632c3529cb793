#!/usr/bin/env python3
"""How fast Planish writes folders for MLX, beside `mlx_lm.convert` on the same checkpoint.

    benches/mlx.py PLANISH PYTHON CHECKPOINT FOLDER [LEVEL...]

PLANISH is an optimized build, PYTHON one that has mlx-lm (planish runtime install mlx), CHECKPOINT a folder; if it does not exist, a
Llama shape of 3 GB in BF16 is made there. Both write below FOLDER, in turns, 3 times each; the medians of wall time, processor time and
peak memory are printed. The checkpoint is read once before, so that both find it in the page cache. Run it on a quiet machine.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

LEVELS = ["mlx:4-bit-g64", "mlx:8-bit-g64"]
REPEATS = 3

WIDTH, FEED_FORWARD, HEADS, KV_HEADS, LAYERS = 2048, 8192, 32, 8, 24
TOKENIZER = Path(__file__).parent.parent / "tests/golden/checkpoints/tokenizer"


def make_checkpoint(folder: Path) -> None:
    """Writes a Llama shape with weights of the usual size, the same few megabytes over and over: their values cost neither side time."""
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder)
    n_vocab = max(json.loads((TOKENIZER / "tokenizer.json").read_text())["model"]["vocab"].values()) + 64
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "num_hidden_layers": LAYERS,
        "vocab_size": n_vocab,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens.weight": [n_vocab, WIDTH], "model.norm.weight": [WIDTH]}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        kv = WIDTH // HEADS * KV_HEADS
        for part, shape in {
            "input_layernorm": [WIDTH],
            "post_attention_layernorm": [WIDTH],
            "self_attn.q_proj": [WIDTH, WIDTH],
            "self_attn.k_proj": [kv, WIDTH],
            "self_attn.v_proj": [kv, WIDTH],
            "self_attn.o_proj": [WIDTH, WIDTH],
            "mlp.gate_proj": [FEED_FORWARD, WIDTH],
            "mlp.up_proj": [FEED_FORWARD, WIDTH],
            "mlp.down_proj": [WIDTH, FEED_FORWARD],
        }.items():
            shapes[f"{at}.{part}.weight"] = shape
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2
        for dim in shape:
            size *= dim
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = bytearray(16 << 20)
    block[0::2] = os.urandom(len(block) // 2)
    # Sign and high bits of the exponent: magnitudes from 0.002 to 0.03.
    block[1::2] = os.urandom(len(block) // 2).translate(bytes([0x3B, 0x3C, 0xBB, 0xBC] * 64))
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        while end > 0:
            file.write(block[:end])
            end -= len(block)


def timed(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak memory in MB of a command."""
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)}: {errors[-1000:]}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def mlx_options(level: str) -> list[str]:
    name = level.removeprefix("mlx:")
    if name == "bf16":
        return ["--dtype", "bfloat16"]
    if "-bit-g" in name:
        bits, group_size = name.split("-bit-g")
        return ["-q", "--q-bits", bits, "--q-group-size", group_size]
    if name.startswith("mixed"):
        return ["-q", "--quant-predicate", name]
    return ["-q", "--q-mode", name]


def main() -> None:
    planish, python, checkpoint, folder, *levels = sys.argv[1:]
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    if not Path(checkpoint).exists():
        make_checkpoint(Path(checkpoint))
    # By another process: what this one holds would count as memory of the programs that it starts.
    subprocess.run(["cat", *map(str, Path(checkpoint).iterdir())], stdout=subprocess.DEVNULL, check=True)
    print("| level | wall s | CPU s | MB | mlx_lm.convert s | CPU s | MB | speed-up |")
    print("|---|---|---|---|---|---|---|---|")
    for level in levels or LEVELS:
        ours, theirs = [], []
        for _ in range(REPEATS):
            shutil.rmtree(folder, ignore_errors=True)
            ours.append(timed([planish, "convert", checkpoint, "--level", level, "--out", f"{folder}/ours", "--no-check"]))
            convert = [python, "-m", "mlx_lm", "convert", "--hf-path", checkpoint, "--mlx-path", f"{folder}/theirs"]
            theirs.append(timed(convert + mlx_options(level)))
        shutil.rmtree(folder, ignore_errors=True)
        a, b = ([statistics.median(column) for column in zip(*rows)] for rows in (ours, theirs))
        print(f"| {level} | {a[0]:.2f} | {a[1]:.2f} | {a[2]:.0f} | {b[0]:.2f} | {b[1]:.2f} | {b[2]:.0f} | {b[0] / a[0]:.1f}x |", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""From a Hugging Face checkpoint to a quantized GGUF file: planish beside convert_hf_to_gguf.py followed by llama-quantize.

    benches/checkpoint.py PLANISH LLAMA_CPP LLAMA_QUANTIZE FOLDER [--layers N] [--level L] [--rounds N]

PLANISH is a release build, LLAMA_CPP the source of llama.cpp as the sdist of llama-cpp-python 0.3.36 holds it, LLAMA_QUANTIZE its
program (benches/llama_cpp.sh builds it), FOLDER a place for about 8 GB. The Python that runs this needs torch, transformers,
safetensors and numpy: the converter does. The checkpoint is made once: a Llama shape with random BF16 weights of the usual spread
and the vocabulary of GPT-2. Both ways read it from the page cache and may use all cores.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

WIDTH, FEED_FORWARD, HEADS, KV_HEADS = 2048, 8192, 32, 8


def make_tokenizer(llama_cpp: Path, folder: Path) -> int:
    """Writes GPT-2's vocabulary as tokenizer.json; returns its size."""
    sys.path.insert(0, str(llama_cpp / "gguf-py"))
    from gguf import GGUFReader

    fields = GGUFReader(llama_cpp / "models" / "ggml-vocab-gpt-2.gguf").fields
    texts = lambda key: fields[key].contents()
    tokens, merges = texts("tokenizer.ggml.tokens"), texts("tokenizer.ggml.merges")
    end = tokens.index("<|endoftext|>")
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": end,
                "content": "<|endoftext|>",
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": {token: idx for idx, token in enumerate(tokens)}, "merges": merges},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    mark = "<|endoftext|>"
    config = {"tokenizer_class": "GPT2TokenizerFast", "bos_token": mark, "eos_token": mark, "unk_token": mark}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(tokens)


def make_checkpoint(llama_cpp: Path, folder: Path, n_layers: int) -> None:
    """Writes a Llama with random weights, shards of one layer each."""
    import numpy as np

    folder.mkdir(parents=True)
    n_vocab = make_tokenizer(llama_cpp, folder)
    head_dim = WIDTH // HEADS
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": n_layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": head_dim,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vocab_size": n_vocab,
    }
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(1)

    def weights(shape: tuple[int, ...]) -> bytes:
        values = random.standard_normal(shape, dtype=np.float32) * 0.02 if len(shape) > 1 else np.ones(shape, np.float32)
        return ((values.view(np.uint32) + 0x8000) >> 16).astype("<u2").tobytes()

    layer = {
        "input_layernorm.weight": (WIDTH,),
        "self_attn.q_proj.weight": (WIDTH, WIDTH),
        "self_attn.k_proj.weight": (KV_HEADS * head_dim, WIDTH),
        "self_attn.v_proj.weight": (KV_HEADS * head_dim, WIDTH),
        "self_attn.o_proj.weight": (WIDTH, WIDTH),
        "post_attention_layernorm.weight": (WIDTH,),
        "mlp.gate_proj.weight": (FEED_FORWARD, WIDTH),
        "mlp.up_proj.weight": (FEED_FORWARD, WIDTH),
        "mlp.down_proj.weight": (WIDTH, FEED_FORWARD),
    }
    shards = [{"model.embed_tokens.weight": (n_vocab, WIDTH), "model.norm.weight": (WIDTH,)}]
    shards += [{f"model.layers.{idx}.{name}": shape for name, shape in layer.items()} for idx in range(n_layers)]
    places, total = {}, 0
    for idx, shard in enumerate(shards):
        name = f"model-{idx + 1:05}-of-{len(shards):05}.safetensors"
        header, end = {}, 0
        for tensor, shape in shard.items():
            start, end = end, end + 2 * int(np.prod(shape))
            header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
            places[tensor] = name
        text = json.dumps(header).encode()
        with open(folder / name, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for shape in shard.values():
                file.write(weights(shape))
        total += end
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def run(command: list[str], **kwargs) -> tuple[float, float, float]:
    """Wall and CPU time in seconds and the peak memory in MB of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **kwargs)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{errors.decode(errors='replace')[-2000:]}")
    elapsed = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return elapsed, cpu, usage.ru_maxrss / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("planish", type=Path)
    parser.add_argument("llama_cpp", type=Path)
    parser.add_argument("llama_quantize", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=24, help="24 make 3.1 GB")
    parser.add_argument("--level", default="Q4_K_M")
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()

    checkpoint = args.folder / f"bench-llama-{args.layers}"
    if not checkpoint.is_dir():
        make_checkpoint(args.llama_cpp, checkpoint, args.layers)
        sys.exit("the checkpoint is made; run this again, so that the memory for it is not counted")
    out = args.folder / "out"
    size = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    # Into the page cache. Not read here: a child's peak memory would begin with what this program has.
    subprocess.run(["cat", *checkpoint.glob("*.safetensors")], stdout=subprocess.DEVNULL, check=True)
    print(f"checkpoint {size / 1e9:.2f} GB, level {args.level}, {os.cpu_count()} cores\n")
    print(f"{'way':36} {'wall s':>8} {'CPU s':>8} {'peak MB':>8}")
    walls = {"planish": [], "llama.cpp": []}
    for _ in range(args.rounds):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        # Random weights know nothing, which the first run of a converted file would rightly call wrong.
        wall, cpu, peak = run([args.planish, "convert", checkpoint, "--level", args.level, "--out", out, "--no-check"])
        walls["planish"].append(wall)
        print(f"{'planish convert':36} {wall:8.1f} {cpu:8.1f} {peak:8.0f}", flush=True)
        shutil.rmtree(out)
        out.mkdir()
        script = args.llama_cpp / "convert_hf_to_gguf.py"
        between, quantized = out / "bf16.gguf", out / "quantized.gguf"
        first = run([sys.executable, script, checkpoint, "--outtype", "bf16", "--outfile", between])
        print(f"{'convert_hf_to_gguf.py':36} {first[0]:8.1f} {first[1]:8.1f} {first[2]:8.0f}", flush=True)
        second = run([args.llama_quantize, between, quantized, args.level, str(os.cpu_count())])
        print(f"{'llama-quantize':36} {second[0]:8.1f} {second[1]:8.1f} {second[2]:8.0f}", flush=True)
        walls["llama.cpp"].append(first[0] + second[0])
    ratio = statistics.median(walls["llama.cpp"]) / statistics.median(walls["planish"])
    print(f"\nplanish is {ratio:.1f} times as fast as both together")


if __name__ == "__main__":
    main()

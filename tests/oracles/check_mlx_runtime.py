"""The sample at levels of two frameworks, through the program as a user calls it: one comparison with losses from two runtimes, and the
same answer of the same weights in both.

Usage: check_mlx_runtime.py PLANISH FOLDER; MLX must be set up where PLANISH looks for it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

planish, folder = sys.argv[1], Path(sys.argv[2])
data = os.environ["XDG_DATA_HOME"]
os.environ["PLANISH_HISTORY"] = str(folder / "history.sqlite3")
folder.mkdir(parents=True, exist_ok=True)


def run(*arguments, statuses=(0,)):
    done = subprocess.run([planish, *map(str, arguments), "--json"], capture_output=True, text=True)
    assert done.returncode in statuses, f"{arguments}: status {done.returncode}: {done.stderr}"
    return json.loads(done.stdout)


# One comparison, losses of two runtimes against one source.
levels = "Q8_0,Q4_K_M,mlx:bf16,mlx:8-bit,mlx:4-bit"
found = run("compare", "assets/sample", "--level", levels, "--out", folder, "--tokens", "1200", "--full", "--gen-tokens", "8")
rows = {row["name"]: row for row in found["rows"]}
assert set(rows) == {"BF16 (source)", "Q8_0", "Q4_K_M", "mlx:bf16", "mlx:8-bit-g64", "mlx:4-bit-g64"}, rows.keys()
loss = {name: row["quality"]["summary"]["mean_kld"]["value"] for name, row in rows.items() if row["quality"]}
runtime = {name: row["quality"]["provenance"]["runtime"] for name, row in rows.items() if row["quality"]}
assert all(runtime[name].startswith("MLX " if name.startswith("mlx:") else "llama.cpp ") for name in loss), runtime
# The floor of the runtimes: what the same weights lose by being computed elsewhere. llama.cpp rounds to BF16 where the processor can.
assert loss["mlx:bf16"] < 1e-4, loss
assert loss["mlx:bf16"] < loss["mlx:8-bit-g64"] < loss["mlx:4-bit-g64"] < 0.3, loss
assert loss["Q8_0"] < loss["Q4_K_M"] < loss["mlx:4-bit-g64"], loss
if sys.platform != "darwin":
    assert all(rows[name]["run"] is None for name in rows if name.startswith("mlx:")), "MLX off a Mac is not timed"
assert rows["Q8_0"]["run"]["decode_tokens_per_sec"]["values"], rows["Q8_0"]

# The same greedy words, token by token; BF16 in llama.cpp rounds otherwise, so that they may part late.
gguf, mlx = folder / "sample-BF16.gguf", folder / "sample-mlx-bf16"
answers = run("ask", gguf, mlx, "--prompt", "The harbour", "--max-tokens", "24")["answers"]
first, second = (answer["answer"]["text"] for answer in answers)
common = os.path.commonprefix([first, second])
assert len(common) >= 12, (first, second)

# What is measured is found again.
runs = run("history")["runs"]
assert any(run["level"] == "mlx:4-bit-g64" for run in runs), runs

# Without MLX the decoded weights are measured with llama.cpp: the same loss, and it says what it is.
os.environ["XDG_DATA_HOME"] = str(folder / "nothing")
sources = ["--reference", folder / "sample-BF16.gguf", "--tokens", "1200", "--full"]
alone = run("quality", folder / "sample-mlx-8-bit-g64", folder / "sample-mlx-4-bit-g64", *sources, statuses=(0, 3))["runs"]
for name, found_alone in zip(["mlx:8-bit-g64", "mlx:4-bit-g64"], alone):
    quality = found_alone["run"]
    assert quality["provenance"]["runtime"].endswith("(weights of MLX, decoded)"), quality["provenance"]
    difference = quality["summary"]["mean_kld"]["value"] - loss[name]
    assert abs(difference) < 1e-4 + 0.01 * loss[name], (name, difference)
os.environ["XDG_DATA_HOME"] = data

# Damage is told, not computed with.
weights = folder / "sample-mlx-4-bit-g64" / "model.safetensors"
weights.write_bytes(weights.read_bytes()[:-100])
damaged = run("quality", folder / "sample-mlx-4-bit-g64", "--reference", gguf, "--tokens", "600", statuses=(1,))
assert "model.safetensors" in damaged["runs"][0]["failure"], damaged
print(f"oracles: two runtimes, one comparison: {len(loss)} levels, floor of MLX {loss['mlx:bf16']:.1e} nats, {len(common)} characters alike")

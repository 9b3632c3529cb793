#!/usr/bin/env python3
"""How far predictions of memory and decode speed are from what is measured, before and after a first measurement.

    benches/predictions.py PLANISH FOLDER MODEL.gguf LEVEL...

PLANISH is an optimized build. MODEL is converted to the levels into FOLDER (files that are there already are used), which also gets a
history of its own, so that no earlier measurement teaches. `planish recommend` predicts; the model itself is measured, which teaches;
`planish recommend` predicts again; then all levels are measured in turns and compared with both predictions. The context is that of the
measurement. Run it on a quiet machine.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

N_CTX = 768  # 512 + 128 tokens, as llama.cpp pads them


def main() -> None:
    planish, folder, model, *levels = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    history = Path(folder) / "history.sqlite3"
    for file in Path(folder).glob("history.sqlite3*"):
        file.unlink()
    os.environ["PLANISH_HISTORY"] = str(history)

    def run(*args: str) -> dict:
        done = subprocess.run([planish, *args, "--json"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return json.loads(done.stdout)

    def predictions() -> dict:
        plan = run("recommend", model, "--all", "--context", str(N_CTX))["plan"]
        return {row["level"]: row for row in plan["candidates"] if row["framework"] == "LlamaCpp"}

    stem = Path(model).stem
    paths = {level: Path(folder) / f"{stem}-{level}.gguf" for level in levels}
    missing = [level for level, path in paths.items() if not path.exists()]
    if missing:
        run("convert", model, "--level", ",".join(missing), "--out", folder)
    paths = {level: next(Path(folder).glob(f"*{level}.gguf")) for level in levels}
    before = predictions()
    run("bench", model)
    after = predictions()
    measured = {row["path"]: row["run"] for row in run("bench", *map(str, paths.values()))["runs"]}

    print("| level | decode tok/s | predicted | adjusted | memory MB | predicted | adjusted |\n|---|---|---|---|---|---|---|")
    errors = {"decode before": [], "decode after": [], "memory before": [], "memory after": []}
    for level, path in paths.items():
        result = measured[str(path)]
        decode = statistics.median(result["decode_tokens_per_sec"]["values"])
        peak = result["peak_memory_bytes"]
        cells = []
        for when, rows in (("before", before), ("after", after)):
            speed = rows[level]["decode_tokens_per_sec"]["mid"]
            memory = sum(rows[level]["memory"].values())
            errors[f"decode {when}"].append(abs(speed / decode - 1))
            errors[f"memory {when}"].append(abs(memory / peak - 1))
            cells.append((f"{speed:.1f} ({speed / decode - 1:+.0%})", f"{memory / 1e6:.1f} ({memory / peak - 1:+.1%})"))
        print(f"| {level} | {decode:.1f} | {cells[0][0]} | {cells[1][0]} | {peak / 1e6:.1f} | {cells[0][1]} | {cells[1][1]} |")
    print("\nMedian error: " + ", ".join(f"{name} {statistics.median(values):.1%}" for name, values in errors.items()))


if __name__ == "__main__":
    main()

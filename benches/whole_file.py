#!/usr/bin/env python3
"""Whole files: planish beside llama-quantize, and several levels in one pass.

    benches/whole_file.py PLANISH LLAMA_QUANTIZE MODEL.gguf FOLDER [--imatrix FILE] [--level L…] [--rounds N] [--threads N] [--json FILE]

PLANISH is a release build; benches/llama_cpp.sh builds LLAMA_QUANTIZE. The source is in the page cache and FOLDER should be in memory
(/dev/shm), so that no disk is measured. For each level: wall and CPU time and peak memory of both, in turn, medians of the rounds; a
copy of the same bytes (the source read, as many bytes written as the output has); then all of ONE_PASS together. Says which files
have another size from llama-quantize. The last column is the least time over the least time of the copy: a virtual machine pays several
times as much for memory that its host has taken back, which hits one run or the other.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

LEVELS = ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K", "IQ4_XS"]
ONE_PASS = ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M"]
COPY_AT_ONCE = 1 << 20


def run(command: list) -> tuple[float, float, float]:
    """Wall and CPU time in seconds and the peak memory in MB of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{errors.decode(errors='replace')[-2000:]}")
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, usage.ru_maxrss / 1e3


def copy(source: Path, target: Path, n_bytes: int) -> float:
    """Seconds to read the whole source and to write its first n_bytes."""
    started = time.monotonic()
    buffer = bytearray(COPY_AT_ONCE)
    with open(source, "rb", buffering=0) as reader, open(target, "wb", buffering=0) as writer:
        while n_read := reader.readinto(buffer):
            writer.write(memoryview(buffer)[: min(n_read, n_bytes)])
            n_bytes -= min(n_read, n_bytes)
    target.unlink()
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("planish", type=Path)
    parser.add_argument("llama_quantize", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--imatrix", type=Path)
    parser.add_argument("--level", nargs="+", default=LEVELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    folder = args.folder / f"planish-bench-{os.getpid()}"
    folder.mkdir()
    ours = [args.planish, "convert", args.model, "--out", folder, "--threads", str(args.threads), "--level"]
    theirs = [args.llama_quantize, "--allow-requantize"]
    if args.imatrix:
        ours[2:2] = ["--imatrix", args.imatrix]
        theirs += ["--imatrix", args.imatrix]
    subprocess.run(["cat", args.model], stdout=subprocess.DEVNULL, check=True)
    print(f"{args.model.name}, {args.model.stat().st_size / 1e9:.2f} GB, {args.threads} threads, "
          f"{'with' if args.imatrix else 'without'} an importance matrix, medians of {args.rounds}\n")
    heads = ["wall s", "CPU s", "MB", "theirs s", "CPU s", "MB", "speed-up", "copy s", "least/copy"]
    print(f"{'level':8}" + "".join(f"{head:>11}" for head in heads), flush=True)
    rows = []
    for level in args.level:
        runs, peers, copies = [], [], []
        for _ in range(args.rounds):
            runs.append(run([*ours, level]))
            made = next(folder.glob("*.gguf"))
            size = made.stat().st_size
            made.unlink()
            [rest.unlink() for rest in folder.iterdir()]
            peer = folder / "peer.gguf"
            peers.append(run([*theirs, args.model, peer, level, str(args.threads)]))
            peer_size = peer.stat().st_size
            peer.unlink()
            copies.append(copy(args.model, folder / "copy", size))
        own, other = ([statistics.median(column) for column in zip(*all)] for all in (runs, peers))
        plain, least = statistics.median(copies), min(own[0] for own in runs) / min(copies)
        row = {
            "level": level, "wall_s": own[0], "cpu_s": own[1], "peak_mb": own[2], "size_bytes": size,
            "peer_wall_s": other[0], "peer_cpu_s": other[1], "peer_peak_mb": other[2], "peer_size_bytes": peer_size, "copy_s": plain,
            "least_to_least_copy": least,
        }
        rows.append(row)
        cells = [f"{own[0]:.2f}", f"{own[1]:.2f}", f"{own[2]:.0f}", f"{other[0]:.2f}", f"{other[1]:.2f}", f"{other[2]:.0f}",
                 f"{other[0] / own[0]:.1f}x", f"{plain:.2f}", f"{least:.2f}"]
        note = "" if peer_size == size else f"  {size - peer_size:+} bytes"
        print(f"{level:8}" + "".join(f"{cell:>11}" for cell in cells) + note, flush=True)

    together = []
    for _ in range(args.rounds):
        together.append(run([*ours, ",".join(ONE_PASS)])[0])
        [rest.unlink() for rest in folder.iterdir()]
    slowest = max((row for row in rows if row["level"] in ONE_PASS), key=lambda row: row["wall_s"], default=None)
    wall = statistics.median(together)
    if slowest:
        ratio = wall / slowest["wall_s"]
        print(f"\n{', '.join(ONE_PASS)} in one pass: {wall:.2f} s, {ratio:.2f} times {slowest['level']} alone")
    folder.rmdir()
    if args.json:
        args.json.write_text(json.dumps({"model": args.model.name, "threads": args.threads, "imatrix": bool(args.imatrix),
                                         "levels": rows, "one_pass": {"levels": ONE_PASS, "wall_s": wall}}, indent=1))


if __name__ == "__main__":
    main()

#!/usr/bin/env bash
# Conversion speed, CPU use and peak memory per level.
#
#     benches/convert.sh PLANISH MODEL OUT_DIR [LEVEL…]
#
# PLANISH is a release build. With OUT_DIR in memory (/dev/shm) the disk is left out of the measurement.
set -euo pipefail

if [ $# -lt 3 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
planish=$1 model=$2 out=$3
shift 3
[ $# -gt 0 ] || set -- Q8_0 Q6_K Q5_K_M Q4_K_M Q4_0 Q3_K_M Q2_K

bytes=$(stat -c %s "$model")
out=$(mktemp -d "$out/planish-bench.XXXXXX")
trap 'rm -rf "$out"' EXIT
cat "$model" >/dev/null # into the page cache

printf '%-8s %8s %8s %6s %8s\n' level s MB/s cores peak-MB
for level in "$@"; do
    python3 - "$planish" "$model" "$out" "$level" "$bytes" <<'PYTHON'
import resource, subprocess, sys, time
planish, model, out, level, size = sys.argv[1:]
started = time.monotonic()
subprocess.run([planish, "convert", model, "--level", level, "--out", out], check=True, capture_output=True)
elapsed = time.monotonic() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cores = (used.ru_utime + used.ru_stime) / elapsed
print(f"{level:8} {elapsed:8.2f} {int(size) / elapsed / 1e6:8.0f} {cores:6.2f} {used.ru_maxrss / 1e3:8.0f}")
PYTHON
    rm -f "$out"/*.gguf
done

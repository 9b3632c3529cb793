#!/usr/bin/env bash
# planish quality beside llama-perplexity on the same chunks: numbers, errors and time.
#
#     benches/quality.sh PLANISH REFERENCE-F16.gguf TEXT [N_CHUNKS] MODEL…
#
# PLANISH is a release build. llama-perplexity is built by benches/llama_cpp.sh. N_CHUNKS defaults to 40.
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
planish=$(realpath "$1") reference=$2 text=$3
shift 3
chunks=40
case $1 in *[!0-9]*) ;; *) chunks=$1; shift ;; esac
peer=$("$(dirname "$0")/llama_cpp.sh")/llama-perplexity
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Nothing from earlier runs may make ours look fast.
export XDG_CACHE_HOME=$work/cache PLANISH_HISTORY=$work/history.sqlite3
threads=$(nproc)

since() { python3 -c 'import sys, time; print(f"{time.time() - float(sys.argv[1]):.1f}")' "$1"; }
now() { python3 -c 'import time; print(time.time())'; }

started=$(now)
"$peer" -m "$reference" -f "$text" -t "$threads" --chunks "$chunks" --kl-divergence-base "$work/base" >"$work/base.log" 2>&1
echo "llama-perplexity reference: $(since "$started") s, $(stat -c %s "$work/base") bytes kept"
for model in "$@"; do
    started=$(now)
    "$peer" -m "$model" -t "$threads" --chunks "$chunks" --kl-divergence --kl-divergence-base "$work/base" >"$work/log" 2>&1
    echo "llama-perplexity $(basename "$model"): $(since "$started") s"
    grep -E '^(Mean PPL\(Q\)  |Mean PPL\(Q\)/PPL|Mean +KLD|Same top p)' "$work/log" | sed 's/^/    /'
done
started=$(now)
"$planish" quality "$@" --reference "$reference" --text "$text" --full --tokens $((chunks * 255)) 2>/dev/null || [ $? = 3 ]
echo "planish, reference and all candidates: $(since "$started") s; kept $(du -sb "$work/cache" | cut -f1) bytes"

#!/usr/bin/env bash
# Other people's readers must read what Planish writes: gguf-rs and gguf-rs-lib (Rust), gguf (Python, the reference), mlx-lm; and mlx-lm
# must write the same.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
fixtures=$(tests/fetch_fixtures.sh)
model=$fixtures/SmolLM2-135M-Instruct.Q4_1.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

planish=${PLANISH:-$target/debug/planish}
"$planish" convert "$model" --level F16,Q8_0,Q5_1,Q4_K_M,Q2_K --out "$work"
# Every level, of a model that is small enough for it.
"$planish" convert assets/sample --level BF16 --out "$work/sample"
"$planish" imatrix "$work/sample/sample-BF16.gguf" --out "$work/sample/imatrix" --chunks 8
levels=$("$planish" recommend "$work/sample/sample-BF16.gguf" --all --json |
    python3 -c 'import json, sys; print(",".join(row["level"] for row in json.load(sys.stdin)["plan"]["candidates"] if row["framework"] == "LlamaCpp"))')
"$planish" convert "$work/sample/sample-BF16.gguf" --level "F32,F16,$levels" --imatrix "$work/sample/imatrix" --out "$work/every"
mv "$work"/every/*.gguf "$work"
CARGO_TARGET_DIR=$target/oracles cargo run --quiet --locked --manifest-path tests/oracles/Cargo.toml -- "$work"/*.gguf
python3 tests/oracles/check_gguf.py "$work"/*.gguf
echo "oracles: three readers agree on $(ls "$work"/*.gguf | wc -l) files"

# MLX as a user sets it up; it stays between runs.
export XDG_DATA_HOME=$fixtures/data
unset VIRTUAL_ENV CONDA_PREFIX
"$planish" runtime install mlx
mlx=$XDG_DATA_HOME/planish/runtimes/mlx
PLANISH_MLX_OUT=$work/mlx cargo nextest run --locked --status-level fail --final-status-level none \
    -E 'test(every_architecture_of_both_is_written_as_planned) | test(smollm2_is_written_as_planned)'
mkdir -p "$work/mlx/checkpoints/sample"
cp -r assets/sample "$work/mlx/checkpoints/sample/planish-sample"
"$planish" convert assets/sample --out "$work/mlx/out/sample" \
    --level mlx:bf16,mlx:4-bit,mlx:8-bit,mlx:6-bit-g128,mlx:5-bit-g32,mlx:2-bit,mlx:mixed_2_6,mlx:mxfp8
"$planish" convert assets/sample --out "$work/mlx/out/sample" --level mlx:3-bit,mlx:mxfp4 --output-tensor-type mlx:8-bit \
    --token-embedding-type mlx:8-bit
"$mlx/bin/python" tests/oracles/check_mlx.py "$work/mlx/checkpoints" "$work/mlx/out"
python3 tests/oracles/check_mlx_runtime.py "$planish" "$work/runtime"
PLANISH_ALL_RUNTIMES=1 cargo nextest run --locked --status-level fail --final-status-level none \
    -E 'test(every_level_and_type_is_written_verified_loaded_and_answers)'
echo "oracles: every level of the table is written, verified, loaded and answers"

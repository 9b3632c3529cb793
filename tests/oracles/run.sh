#!/usr/bin/env bash
# Other people's readers must read what Planish writes: gguf-rs and gguf-rs-lib (Rust), gguf (Python, the reference).
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
model=$(tests/fetch_fixtures.sh)/SmolLM2-135M-Instruct.Q4_1.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PLANISH:-$target/debug/planish}" convert "$model" --level F16,Q8_0,Q5_1,Q4_K_M,Q2_K --out "$work"
CARGO_TARGET_DIR=$target/oracles cargo run --quiet --locked --manifest-path tests/oracles/Cargo.toml -- "$work"/*.gguf
python3 tests/oracles/check_gguf.py "$work"/*.gguf
echo "oracles: three readers agree on $(ls "$work" | wc -l) files"

#!/usr/bin/env bash
# Builds Planish and runs it with the given arguments; without arguments it opens the window.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/packaging/prepare.sh"
prepare
cargo build --profile checkout --locked --quiet --manifest-path "$root/Cargo.toml"
target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$root/Cargo.toml" | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
exec "$target/checkout/planish" "$@"

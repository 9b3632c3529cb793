#!/usr/bin/env bash
# All checks and tests. Installs what it needs on a fresh Debian or Ubuntu. With --fast it leaves out the window and the oracles.
set -euo pipefail
cd "$(dirname "$0")/.."

fast=
[ "${1:-}" = --fast ] && fast=yes

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "tools"
. packaging/prepare.sh
prepare python3 python3-venv xvfb xdotool x11-utils imagemagick
export PLANISH_FIXTURES
PLANISH_FIXTURES=$(tests/fetch_fixtures.sh)
tools=$PLANISH_FIXTURES/tools
# A Python that has moved or been replaced leaves a venv without a working pip.
if ! "$tools/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$tools"
    python3 -m venv "$tools"
fi
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement tests/requirements.txt
export PATH="$tools/bin:$PATH"
# Temporary files lie on disk: a tmpfs would be too small for the large models.
export CARGO_TERM_COLOR=never

step "format"
cargo fmt --check

step "licences and duplicates"
cargo deny --log-level error check licenses bans sources

step "build, one profile for everything"
cargo build --locked --all-targets

step "lints"
cargo clippy --locked --quiet --all-targets -- -D warnings
cargo clippy --locked --quiet --no-default-features -- -D warnings

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --quiet --no-deps --document-private-items

step "ONNX Runtime, as a user sets it up; it stays between runs"
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
# The program that was built above: `cargo run` leaves out what tests add to the features of other crates, and would compile for minutes again.
XDG_DATA_HOME=$PLANISH_FIXTURES/data "$target/debug/planish" runtime install onnxruntime
export PLANISH_ONNX_RUNTIME=required

step "tests"
cargo nextest run --locked

if [ -z "$fast" ]; then
    step "oracles: other readers read our files"
    tests/oracles/run.sh

    step "the window, on a virtual display"
    tests/window.sh
fi

step "done"

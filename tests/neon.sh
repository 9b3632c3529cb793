#!/usr/bin/env bash
# Runs the kernels' tests on an emulated aarch64 processor: the same bytes as on x86-64. Takes minutes, so it is not part of tests/run.sh.
# On Debian or Ubuntu: apt-get install qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=aarch64-unknown-linux-gnu

rustup target add --toolchain "$(rustup show active-toolchain | cut -d' ' -f1)" "$target" >/dev/null 2>&1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The kernels and what they use are a crate of their own here: the whole program would need C libraries for the other processor.
version() { sed -n "/^name = \"$1\"$/{n;s/version = \"\(.*\)\"/\1/p;}" Cargo.lock | tail -1; }
mkdir -p "$work/src"
{
    printf '[package]\nname = "kernels"\nversion = "0.0.0"\nedition = "2024"\n\n[workspace]\n\n[profile.dev]\nopt-level = 3\n\n[dependencies]\n'
    printf 'bytemuck = { version = "=%s", features = ["derive", "min_const_generics"] }\n' "$(version bytemuck)"
    printf 'half = { version = "=%s", features = ["bytemuck"] }\n' "$(version half)"
    printf 'serde = { version = "=%s", features = ["derive"] }\n' "$(version serde)"
    printf 'serde_json = "=%s"\nthiserror = "=%s"\n' "$(version serde_json)" "$(version thiserror)"
} >"$work/Cargo.toml"
cat >"$work/src/lib.rs" <<RUST
#![allow(dead_code)]
pub mod model {
    #[path = "$root/src/model/dtype.rs"]
    pub mod dtype;
    pub use dtype::DType;
}
#[path = "$root/src/quant/mod.rs"]
pub mod quant;
RUST

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
cd "$work"
cargo test --quiet --target "$target" "$@"

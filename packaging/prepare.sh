#!/usr/bin/env bash
# Installs what a build needs, on Debian and Ubuntu; elsewhere says what to install. For run.sh and tests/run.sh:
#     . packaging/prepare.sh; prepare [EXTRA_DEBIAN_PACKAGE…]

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

has_package() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

prepare_debian() {
    local wanted=(build-essential cmake git "$@") missing=() package
    # What the window loads at run time: OpenGL and X11; a desktop has them, a server or a container may not.
    wanted+=(libegl1 libgl1 libgl1-mesa-dri libxkbcommon-x11-0 libx11-xcb1 libxcursor1 libxi6 libxrandr2)
    # bindgen reads llama.cpp's headers with libclang: the two small packages where there is a version 14, else the default.
    if has_package libclang1-14 || { as_root apt-get update -qq && apt-cache show libclang1-14 >/dev/null 2>&1; }; then
        wanted+=(libclang1-14 libclang-common-14-dev)
    else
        wanted+=(libclang-dev)
    fi
    for package in "${wanted[@]}"; do
        has_package "$package" || missing+=("$package")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        echo "installing: ${missing[*]}" >&2
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    fi
}

prepare() {
    if command -v apt-get >/dev/null; then
        prepare_debian "$@"
    elif ! command -v cmake >/dev/null || ! command -v c++ >/dev/null; then
        echo "error: cmake, a C++ compiler and libclang are needed" >&2
        echo "hint: Fedora: dnf install cmake gcc-c++ clang-devel; Arch: pacman -S cmake gcc clang; macOS: brew install cmake" >&2
        return 1
    fi
    if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
        . "$HOME/.cargo/env"
    fi
    if ! command -v cargo >/dev/null; then
        echo "error: Rust 1.95 or newer is needed" >&2
        echo "hint: https://rustup.rs" >&2
        return 1
    fi
    # The build script of llama.cpp fails when it runs again and finds the links that it left among the examples, which lead nowhere.
    find -L "$(dirname "${BASH_SOURCE[0]}")/../target" -maxdepth 3 -type l -path '*/examples/*' -delete 2>/dev/null || true
}

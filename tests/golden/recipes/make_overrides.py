#!/usr/bin/env python3
"""Records which type `llama_model_quantize` gives each tensor with overrides, for some of the models of make.py.

Needs what make.py needs:

    python3 tests/golden/recipes/make_overrides.py target/debug/build/llama-cpp-sys-2-*/out/lib/libllama.so

Writes overrides/MODEL.json beside this script, one case for each list of options and level. The n-th letter of `letters` is the type of
the n-th tensor of the source, by the legend of ../MODEL.json, `-` where it was pruned; `names` are those of the tensors that are left, in the
order of the source, where layers were pruned. (llama-quantize writes `.` and `$` of a pattern as they are: patterns are regular expressions.)
"""
import ctypes
import json
import os
import pathlib
import re
import sys
import tempfile

import gguf

from make import LETTERS, LEVELS, MODELS, NEEDS_MATRIX, matrix_of_ones, open_library, write_model

CASES = {
    "smollm2": [
        ("--pure", ["Q4_K_M", "Q2_K", "IQ4_XS", "Q8_0", "F16"]),
        ("--tensor-type attn_v=Q8_0", ["Q4_K_M", "Q2_K", "F16"]),
        # The first that matches wins, and the rules count only the tensors that no pattern takes.
        (r"--tensor-type blk\.[0-9]\.ffn_down=Q3_K --tensor-type ffn=Q5_K", ["Q4_K_M", "Q3_K_M"]),
        ("--tensor-type ffn=Q5_K --tensor-type ffn_down=Q3_K", ["Q4_K_M"]),
        # A type that rows of 576 do not hold.
        ("--tensor-type attn_k=Q6_K --tensor-type attn_q=IQ2_XS", ["IQ2_M"]),
        ("--tensor-type attn_output=F16", ["Q4_0"]),
        # The embeddings are the head here.
        ("--output-tensor-type Q5_1", ["Q4_K_M", "F16"]),
        ("--output-tensor-type Q5_1 --pure", ["Q4_K_M"]),
        ("--token-embedding-type Q4_0", ["Q4_K_M", "F16", "Q2_K"]),
        ("--output-tensor-type Q5_1 --token-embedding-type Q4_0", ["Q4_K_M"]),
        ("--tensor-type token_embd=Q8_0 --output-tensor-type Q5_1", ["Q4_K_M"]),
        ("--tensor-type token_embd=Q8_0 --token-embedding-type Q4_0", ["Q4_K_M"]),
        ("--pure --tensor-type ffn_gate=Q6_K --token-embedding-type F16", ["Q5_K_M"]),
        ("--prune-layers 3,5,6", ["Q4_K_M", "Q4_K_S", "IQ3_M"]),
        ("--prune-layers 0,29 --tensor-type blk.1.=Q8_0", ["Q3_K_M"]),
    ],
    "llama-gqa4": [
        ("--pure", ["Q4_K_M", "IQ3_XXS"]),
        ("--output-tensor-type Q8_0", ["Q4_K_M", "MXFP4_MOE", "F16"]),
        ("--token-embedding-type Q3_K", ["Q4_K_M", "IQ2_XS", "MXFP4_MOE", "BF16"]),
        ("--token-embedding-type Q3_K --output-tensor-type IQ4_XS --tensor-type output=Q2_K", ["Q5_K_S"]),
        ("--tensor-type ^output\\.weight$=Q4_K --tensor-type [kv]\\.weight$=Q6_K", ["Q4_K_M"]),
        ("--prune-layers 1,2,3,4,30", ["Q4_K_M", "Q3_K_L", "Q2_K"]),
    ],
    "moe-60": [
        ("--tensor-type ffn_(gate|up)_exps=IQ4_NL", ["Q4_K_M", "Q2_K"]),
        ("--tensor-type exps=MXFP4 --pure", ["Q8_0", "MXFP4_MOE"]),
        ("--prune-layers 5", ["Q4_K_M", "IQ3_XS"]),
    ],
    "mixtral": [("--prune-layers 0,1,8", ["Q4_K_M", "Q3_K_M"]), ("--tensor-type attn_k=Q4_K", ["Q4_K_M"])],
    "falcon": [("--output-tensor-type Q4_K", ["Q4_K_M"]), ("--tensor-type attn_qkv=Q8_0", ["Q3_K_M"])],
    "llama-70b": [("--prune-layers 40,41,42", ["Q4_K_M", "Q3_K_S"])],
    "odd-names": [
        ("--token-embedding-type Q8_0", ["Q4_K_M"]),
        ("--token-embedding-type Q8_0 --tensor-type per_layer=Q5_K", ["Q4_K_M"]),
        ("--tensor-type weight=Q6_K", ["Q4_0"]),
        ("--tensor-type ^blk\\.0=IQ4_XS", ["Q8_0"]),
    ],
    "glm5-next": [("--pure", ["Q4_K_M"]), ("--tensor-type attn_q_a=Q4_K", ["Q4_K_M"]), ("--output-tensor-type Q4_K", ["Q5_K_M"])],
}


class TensorOverride(ctypes.Structure):
    """`llama_model_tensor_override` in llama.h."""
    _fields_ = [("pattern", ctypes.c_char_p), ("type", ctypes.c_int)]


def type_id(name):
    return gguf.GGMLQuantizationType[name].value


def apply(options, params):
    """Sets the parameters as tools/quantize/quantize.cpp does; returns what must stay alive, and the pruned layers."""
    words, patterns, pruned = options.split(), [], []
    while words:
        option = words.pop(0)
        if option == "--pure":
            params.pure = True
        elif option == "--output-tensor-type":
            params.output_tensor_type = type_id(words.pop(0))
        elif option == "--token-embedding-type":
            params.token_embedding_type = type_id(words.pop(0))
        elif option == "--tensor-type":
            pattern, name = words.pop(0).split("=")
            patterns.append(TensorOverride(pattern.lower().encode(), type_id(name)))
        elif option == "--prune-layers":
            pruned = [int(layer) for layer in words.pop(0).split(",")]
        else:
            sys.exit(option)
    alive = []
    if patterns:
        alive.append((TensorOverride * (len(patterns) + 1))(*patterns, TensorOverride()))
        params.tt_overrides = ctypes.addressof(alive[-1])
    if pruned:
        alive.append((ctypes.c_int32 * (len(pruned) + 1))(*pruned, -1))
        params.prune_layers = ctypes.addressof(alive[-1])
    return alive, pruned


def moved(name, pruned):
    """The name in a model without these layers; None for a tensor of one of them."""
    match = re.match(r"blk\.(\d+)\.", name)
    if not match:
        return name
    layer = int(match.group(1))
    return None if layer in pruned else f"blk.{layer - sum(other < layer for other in pruned)}.{name[match.end():]}"


def record(library, log, model, options, level):
    metadata, tensors = MODELS[model]
    with tempfile.TemporaryDirectory() as folder:
        source, output = os.path.join(folder, "in.gguf"), os.path.join(folder, "out.gguf")
        write_model(source, metadata, tensors, "F32")
        params = library.llama_model_quantize_default_params()
        params.nthread, params.ftype, params.allow_requantize = 2, LEVELS[level], True
        _alive, pruned = apply(options, params)
        matrix, _rows = matrix_of_ones(tensors)
        if level in NEEDS_MATRIX or "IQ2" in options:
            params.imatrix = ctypes.addressof(matrix)
        log.clear()
        if library.llama_model_quantize(source.encode(), output.encode(), ctypes.byref(params)) != 0:
            sys.exit(f"{model} {options} {level}:\n" + "".join(log)[-2000:])
        reader = gguf.GGUFReader(output)
        found = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
        size_bytes = os.path.getsize(output)
    names = [moved(name, pruned) for name, _ in tensors]
    left = [name for name in names if name]
    assert sorted(left) == sorted(found), options
    match = re.search(r"(\d+) of \d+ tensor\(s\) required fallback", "".join(log))
    case = {"options": options, "level": level, "letters": "".join(LETTERS[found[name]] if name else "-" for name in names),
            "n_fallbacks": int(match.group(1)) if match else 0, "size_bytes": size_bytes}
    return case | ({"names": left} if pruned else {})


def main():
    library = open_library(sys.argv[1])
    log = []
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
        lambda _level, text, _data: log.append(text.decode(errors="replace")))
    library.llama_log_set(callback, None)
    for model, cases in CASES.items():
        rows = [record(library, log, model, options, level) for options, levels in cases for level in levels]
        path = pathlib.Path(__file__).parent / "overrides" / f"{model}.json"
        path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
        print(path.name, len(rows))


main()

#!/usr/bin/env python3
"""Records which type llama.cpp's own `llama_model_quantize` gives each tensor, for models of many shapes.

Needs the pip packages gguf and numpy, and libllama.so as llama-cpp-sys-2 builds it:

    python3 tests/golden/recipes/make.py target/debug/build/llama-cpp-sys-2-*/out/lib/libllama.so

Each model is a tiny GGUF file with the names, layer counts and row lengths that the rules look at; its weights are zero. It is
quantized to every level and the types, the number of fallbacks and the size of the file are written to NAME.json beside this script.
In `levels`, the n-th letter is the type of the n-th tensor, by the legend in `types`.
"""
import ctypes
import json
import os
import pathlib
import re
import sys
import tempfile

import gguf
import numpy

LEVELS = {
    "F32": 0, "BF16": 32, "F16": 1, "Q8_0": 7, "Q6_K": 18, "Q5_K_M": 17, "Q5_K_S": 16, "Q5_1": 9, "Q5_0": 8, "Q4_K_M": 15,
    "Q4_K_S": 14, "Q4_1": 3, "Q4_0": 2, "Q3_K_L": 13, "Q3_K_M": 12, "Q3_K_S": 11, "Q2_K": 10,
    "IQ4_NL": 25, "IQ4_XS": 30, "MXFP4_MOE": 38, "IQ3_M": 27, "IQ3_S": 26, "IQ3_XS": 22, "IQ3_XXS": 23, "Q2_K_S": 21, "IQ2_M": 29, "IQ2_S": 28,
    "IQ2_XS": 20, "IQ2_XXS": 19, "TQ2_0": 37, "IQ1_M": 31, "TQ1_0": 36, "IQ1_S": 24,
}
# Levels that llama-quantize makes with an importance matrix only: it gets one of ones.
NEEDS_MATRIX = ["IQ3_XS", "IQ3_XXS", "Q2_K_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"]
LETTERS = {"F32": "f", "F16": "h", "BF16": "b", "Q8_0": "8", "Q6_K": "6", "Q5_K": "5", "Q5_1": "t", "Q5_0": "s", "Q4_K": "4",
           "Q4_1": "r", "Q4_0": "q", "Q3_K": "3", "Q2_K": "2", "I32": "i",
           "IQ4_NL": "N", "IQ4_XS": "X", "MXFP4": "M", "IQ3_S": "S", "IQ3_XXS": "T", "IQ2_S": "U", "IQ2_XS": "V", "IQ2_XXS": "W",
           "TQ2_0": "P", "TQ1_0": "O", "IQ1_M": "J", "IQ1_S": "I"}


class QuantizeParams(ctypes.Structure):
    """`llama_model_quantize_params` in llama.h."""
    _fields_ = [
        ("nthread", ctypes.c_int32), ("ftype", ctypes.c_int), ("output_tensor_type", ctypes.c_int),
        ("token_embedding_type", ctypes.c_int), ("allow_requantize", ctypes.c_bool), ("quantize_output_tensor", ctypes.c_bool),
        ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool), ("keep_split", ctypes.c_bool), ("dry_run", ctypes.c_bool),
        ("imatrix", ctypes.c_void_p), ("kv_overrides", ctypes.c_void_p), ("tt_overrides", ctypes.c_void_p),
        ("prune_layers", ctypes.c_void_p), ("max_buf_size", ctypes.c_size_t),
    ]


class ImatrixData(ctypes.Structure):
    """`llama_model_imatrix_data` in llama.h."""
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


def matrix_of_ones(tensors):
    """Importances for every tensor, ended by an entry without a name; and what must stay alive as long."""
    rows = [numpy.ones(shape[0] * (shape[2] if len(shape) > 2 else 1), dtype=numpy.float32) for _, shape in tensors]
    entries = [ImatrixData(name.encode(), row.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), row.size) for (name, _), row in zip(tensors, rows)]
    return (ImatrixData * (len(entries) + 1))(*entries, ImatrixData()), rows


def open_library(path):
    library = ctypes.CDLL(path)
    library.llama_model_quantize_default_params.restype = QuantizeParams
    library.llama_model_quantize.restype = ctypes.c_uint32
    library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(QuantizeParams)]
    return library


# --- the models -------------------------------------------------------------------------------------------------------------

def block(layer, names, n_embd, n_ff, rows=8):
    """Tensors of one block; dimensions as in GGUF, the row length first."""
    shapes = {
        "attn_norm.weight": [n_embd], "ffn_norm.weight": [n_embd], "attn_q.bias": [rows], "attn_k.bias": [rows], "attn_v.bias": [rows],
        "ffn_down.weight": [n_ff, rows], "ffn_down_shexp.weight": [n_ff, rows],
        "attn_q_norm.weight": [n_embd, 2],
    }
    return [(f"blk.{layer}.{name}", shapes.get(name, [n_embd, rows])) for name in names]


LLAMA = ["attn_norm.weight", "attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight", "ffn_norm.weight", "ffn_gate.weight",
         "ffn_up.weight", "ffn_down.weight"]
QWEN2 = LLAMA + ["attn_q.bias", "attn_k.bias", "attn_v.bias"]
FALCON = ["attn_norm.weight", "attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight"]
SHORT = ["attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight", "ffn_down.weight"]


def dense(n_layers, names, n_embd, n_ff, tied, first=(), order=None):
    tensors = [("token_embd.weight", [n_embd, 16]), ("output_norm.weight", [n_embd])]
    tensors += [] if tied else [("output.weight", [n_embd, 16])]
    tensors += list(first)
    for layer in order or range(n_layers):
        tensors += block(layer, names, n_embd, n_ff)
    return tensors


def experts(n_layers, n_experts, n_embd, n_ff, extra=()):
    tensors = [("token_embd.weight", [n_embd, 16]), ("output_norm.weight", [n_embd]), ("output.weight", [n_embd, 16])]
    for layer in range(n_layers):
        tensors += block(layer, [*LLAMA[:6], *extra], n_embd, n_ff)
        tensors += [
            (f"blk.{layer}.ffn_gate_inp.weight", [n_embd, n_experts]),
            (f"blk.{layer}.ffn_gate_exps.weight", [n_embd, 2, n_experts]),
            (f"blk.{layer}.ffn_up_exps.weight", [n_embd, 2, n_experts]),
            (f"blk.{layer}.ffn_down_exps.weight", [n_ff, 2, n_experts]),
        ]
    return tensors


def keys(arch, n_layers, n_embd, n_ff, n_heads, n_kv_heads, **more):
    """Key-values as (key, type, value)."""
    rows = [("general.architecture", "str", arch), ("general.name", "str", "golden"), ("general.file_type", "u32", 0)]
    numbers = {
        "context_length": 2048, "embedding_length": n_embd, "block_count": n_layers, "feed_forward_length": n_ff,
        "attention.head_count": n_heads, "attention.head_count_kv": n_kv_heads, **more,
    }
    for name, value in numbers.items():
        kind = "i32s" if isinstance(value, list) else "f32" if isinstance(value, float) else "u32"
        rows.append((f"{arch}.{name}", kind, value))
    rows.append((f"{arch}.attention.layer_norm_rms_epsilon", "f32", 1e-5))
    rows.append((f"{arch}.attention.layer_norm_epsilon", "f32", 1e-5))
    return rows


ODD = [
    ("blk.0.attn_q.weight", [100, 4]),              # no whole 32-block: F16
    ("blk.0.attn_v.weight", [96, 4]),
    ("blk.0.ffn_down.weight", [100, 4]),
    ("blk.1.attn_v.weight", [256]),                 # one row
    ("blk.1.attn_output.weight", [256, 1]),         # one row, written with two dimensions
    ("blk.1.ffn_up.weight", [256, 4, 2]),
    ("blk.1.attn_q_norm.weight", [256, 4]),         # a norm with two dimensions
    ("blk.2.ffn_gate_inp.weight", [256, 4]), ("blk.2.ffn_gate_inp_shexp.weight", [256, 4]),
    ("blk.2.altup_proj.weight", [256, 4]), ("blk.2.laurel_l.weight", [256, 4]), ("blk.2.inp_gate.weight", [256, 4]),
    ("blk.2.ssm_conv1d.weight", [256, 4]), ("blk.2.ssm_in.weight", [256, 4]), ("blk.2.shortconv.conv.weight", [256, 4]),
    ("blk.2.shortconv.in_proj.weight", [256, 4]), ("blk.2.indexer.k_proj.weight", [256, 4]), ("blk.2.indexer.q_proj.weight", [256, 4]),
    ("blk.2.indexer.attn_k.weight", [256, 4]), ("blk.2.attn_rel_b.weight", [256, 4]), ("blk.2.cross_attn_v.weight", [256, 4]),
    *[(f"blk.3.time_mix_{part}.weight", [256, 4]) for part in (
        "first", "w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2", "decay_w1", "decay_w2", "lerp_fused", "key", "output")],
    ("blk.3.attn_v.bias", [256, 4]), ("blk.3.ffn_down.scale", [256, 4]),
    ("position_embd.weight", [256, 4]), ("token_types.weight", [256, 4]), ("v.position_embd.weight", [256, 4]),
    ("sam.pos_embd.weight", [256, 4]), ("sam.neck.0.weight", [256, 4]), ("sam.net_2.weight", [256, 4]), ("v.rel_pos_h.weight", [256, 4]),
    ("v.patch_embd.weight", [256, 4]), ("v.patch_merger.weight", [256, 4]), ("a.rvq.codebook.weight", [256, 4]),
    ("mm.a.code_embd.weight", [256, 4]), ("per_layer_token_embd.weight", [256, 4]), ("per_layer_model_proj.weight", [256, 4]),
    ("per_layer_proj_norm.weight", [256, 4]), ("cls.output.weight", [256, 4]), ("weight", [256, 4]), ("abcde", [256, 4]), ("abcdef", [256, 4]),
    ("blk.7x.attn_v.weight", [256, 4]), ("blk.x.attn_v.weight", [256, 4]), ("blk.-2.attn_v.weight", [256, 4]), ("blk. 6.attn_v.weight", [256, 4]),
    ("blk.5.attn_kv_b.weight", [256, 4]), ("blk.4.attn_qkv.weight", [256, 4]), ("blk.10.attn_v.weight", [256, 4]),
    ("blk.9.attn_v.weight", [256, 4]), ("blk.8.attn_v.weight", [256, 4]), ("token_embd.weight", [256, 16]), ("output_norm.weight", [256]),
]

DEEPSEEK2 = dict(expert_used_count=6, expert_feed_forward_length=256, leading_dense_block_count=1, expert_shared_count=2, expert_weights_scale=1.0,
                 **{"attention.kv_lora_rank": 512, "attention.q_lora_rank": 512, "rope.dimension_count": 64, "attention.key_length": 576,
                    "attention.value_length": 512})

GLM5_NEXT = {
    "attention.key_length_mla": 64, "attention.value_length_mla": 64, "attention.q_lora_rank": 64, "attention.kv_lora_rank": 64,
    "ssm.conv_kernel": 4, "kda.head_dim": 64, "expert_feed_forward_length": 256, "expert_shared_count": 1, "swiglu_clamp_exp": 7.0,
    "attention.indexer.head_count": 4, "attention.indexer.key_length": 64, "attention.indexer.top_k": 8, "attention.indexer.kpool": 4,
    "hyper_connection.count": 4, "hyper_connection.sinkhorn_iterations": 2, "hyper_connection.epsilon": 1e-5,
}

MODELS = {
    "llama-gqa4": (keys("llama", 32, 512, 768, 32, 8), dense(32, LLAMA, 512, 768, tied=False)),
    "llama-mha-tied": (keys("llama", 22, 512, 768, 32, 32), dense(22, LLAMA, 512, 768, tied=True)),
    "smollm2": (keys("llama", 30, 576, 1536, 9, 3), dense(30, LLAMA, 576, 1536, tied=True)),
    "llama-shuffled": (keys("llama", 26, 256, 512, 8, 4), dense(26, LLAMA, 256, 512, tied=False, order=[*range(25, -1, -2), *range(0, 25, 2)])),
    "llama-65b": (keys("llama", 80, 256, 512, 8, 8), dense(80, SHORT, 256, 512, tied=False)),
    "llama-70b": (keys("llama", 80, 256, 512, 8, 1), dense(80, SHORT, 256, 512, tied=False)),
    "llama-embed-70b": (keys("llama-embed", 80, 256, 512, 8, 1), dense(80, SHORT[2:3], 256, 512, tied=True)),
    "qwen2-70b": (keys("qwen2", 80, 256, 512, 8, 8), dense(80, SHORT[2:], 256, 512, tied=False)),
    "olmo-70b": (keys("olmo", 80, 256, 512, 8, 8), dense(80, SHORT[2:3], 256, 512, tied=False)),
    "deci-70b": (keys("deci", 80, 256, [512] * 80, [8] * 80, [2] * 40 + [0] * 40), dense(80, SHORT[2:3], 256, 512, tied=False)),
    "jais2-70b": (keys("jais2", 68, 256, 512, 8, 8), dense(68, SHORT[2:3], 256, 512, tied=False)),
    "per-layer-heads": (keys("deci", 16, 256, [512] * 16, [8] * 16, [2] * 8 + [8] * 8), dense(16, SHORT, 256, 512, tied=False)),
    "mixtral": (keys("llama", 32, 256, 512, 8, 2, expert_count=8, expert_used_count=2), experts(32, 8, 256, 512)),
    "mixtral-80": (keys("llama", 80, 256, 512, 8, 2, expert_count=8, expert_used_count=2), dense(80, SHORT[2:3], 256, 512, tied=False)),
    "moe-60": (keys("qwen2moe", 24, 256, 352, 8, 8, expert_count=60, expert_used_count=4),
               experts(24, 60, 256, 352, extra=["ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight", "attn_q_norm.weight"])),
    "moe-1": (keys("llama", 16, 256, 512, 8, 8, expert_count=1, expert_used_count=1), experts(16, 1, 256, 512)),
    "deepseek2": (keys("deepseek2", 27, 256, 512, 16, 16, expert_count=64, **DEEPSEEK2),
                  [("token_embd.weight", [256, 16]), ("output.weight", [256, 16]), *[row for layer in range(27) for row in [
                      (f"blk.{layer}.attn_kv_a_mqa.weight", [256, 8]), (f"blk.{layer}.attn_kv_b.weight", [512, 8]), (f"blk.{layer}.attn_q.weight", [256, 8]),
                      (f"blk.{layer}.attn_k_b.weight", [128, 8, 2]), (f"blk.{layer}.attn_v_b.weight", [512, 8, 2]),
                      (f"blk.{layer}.attn_output.weight", [256, 8]), (f"blk.{layer}.ffn_down_exps.weight", [512, 2, 64])]]]),
    "glm5-next": (keys("glm5-next", 12, 256, 512, 8, 1, expert_count=16, expert_used_count=2, **GLM5_NEXT),
                  [("token_embd.weight", [256, 16]), ("output.weight", [256, 16]), ("output_hc_base.weight", [256, 4]),
                   *[(f"blk.{layer}.{name}.weight", [256, 8]) for layer in range(12) for name in (
                       "attn_q_a", "attn_q_b", "attn_q", "attn_v", "attn_output", "attn_kv_a_mqa", "attn_k_b", "attn_v_b", "nextn.eh_proj", "hc_attn_fn",
                       "hc_ffn_fn", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate", "indexer_compressor_ape",
                       "ssm_f_a", "ssm_f_b", "ssm_g_a", "ssm_g_b", "ssm_beta", "ffn_down_exps", "ffn_gate_inp")]]),
    "falcon": (keys("falcon", 32, 512, 1024, 8, 1), dense(32, FALCON, 512, 1024, tied=False)),
    "falcon-tied-odd": (keys("falcon", 60, 4544 // 71, 1024, 8, 8), dense(60, FALCON, 64, 1024, tied=True)),
    "qwen2-bias": (keys("qwen2", 24, 896, 4864, 14, 2), dense(24, QWEN2, 896, 4864, tied=True)),
    "qwen2-separate-odd": (keys("qwen2", 24, 896, 4864, 14, 2), dense(24, SHORT, 896, 4864, tied=False)),
    "gemma-tied": (keys("gemma", 18, 2048, 4096, 8, 1, **{"attention.key_length": 256, "attention.value_length": 256}),
                   dense(18, LLAMA, 2048, 4096, tied=True)),
    "gemma3-640": (keys("gemma3", 18, 640, 2048, 4, 1, **{"attention.sliding_window": 512}), dense(18, LLAMA, 640, 2048, tied=True)),
    "phi3-qkv": (keys("phi3", 32, 256, 512, 8, 8, **{"rope.dimension_count": 32}), dense(32, FALCON, 256, 512, tied=False)),
    "nanbeige-loops": (keys("nanbeige", 8, 256, 512, 8, 2, num_loops=3), dense(8, SHORT, 256, 512, tied=False)),
    "two-layers": (keys("llama", 2, 256, 512, 8, 2), dense(2, LLAMA, 256, 512, tied=False)),
    "one-layer": (keys("llama", 1, 256, 512, 8, 0), dense(1, LLAMA, 256, 512, tied=False)),
    "odd-names": (keys("llama", 16, 256, 512, 8, 2), ODD),
    "bert": (keys("bert", 12, 384, 1536, 12, 12, **{"pooling_type": 1}),
             [*dense(12, SHORT, 384, 1536, tied=True), ("position_embd.weight", [384, 8]), ("token_types.weight", [384, 2])]),
    "clip": ([("general.architecture", "str", "clip"), ("clip.vision.block_count", "u32", 4)],
             [(f"v.blk.{layer}.{name}", [n_embd, 8]) for layer in range(9) for name, n_embd in
              (("attn_k.weight", 256), ("attn_out.weight", 256), ("ffn_up.weight", 256), ("ffn_down.weight", 1024))]),
}
SOURCE_TYPES = {
    "requantize-q4_0": ("smollm2", "Q4_0"), "requantize-q8_0": ("llama-mha-tied", "Q8_0"), "source-bf16": ("two-layers", "BF16"),
    "source-f16": ("odd-names", "F16"),
}


# --- files ------------------------------------------------------------------------------------------------------------------

def write_model(path, metadata, tensors, wanted):
    """Writes the model; matrices get the wanted type where their rows are whole blocks. Returns the types."""
    arch = metadata[0][2]
    writer = gguf.GGUFWriter(path, arch)  # writes general.architecture
    for key, kind, value in metadata[1:]:
        {"str": writer.add_string, "u32": writer.add_uint32, "f32": writer.add_float32, "i32s": writer.add_array}[kind](key, value)
    types = []
    for name, shape in tensors:
        dtype = gguf.GGMLQuantizationType[wanted]
        block_len, block_bytes = gguf.GGML_QUANT_SIZES[dtype]
        if len(shape) < 2 or shape[0] % block_len:
            dtype, block_len, block_bytes = gguf.GGMLQuantizationType.F32, 1, 4
        data = numpy.zeros([*shape[:0:-1], shape[0] // block_len * block_bytes], dtype=numpy.uint8)
        writer.add_tensor(name, data, raw_dtype=dtype)
        types.append(dtype.name)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return types


def record(library, log, name, metadata, tensors, wanted):
    folder = tempfile.mkdtemp()
    source, output = os.path.join(folder, "in.gguf"), os.path.join(folder, "out.gguf")
    types = write_model(source, metadata, tensors, wanted)
    levels, sizes, fallbacks, refused = {}, {}, {}, {}
    for level, ftype in LEVELS.items():
        params = library.llama_model_quantize_default_params()
        params.nthread, params.ftype, params.allow_requantize = 2, ftype, True
        matrix, _rows = matrix_of_ones(tensors)
        if level in NEEDS_MATRIX:
            params.imatrix = ctypes.addressof(matrix)
        log.clear()
        if library.llama_model_quantize(source.encode(), output.encode(), ctypes.byref(params)) != 0:
            sys.exit(f"{name} {level}:\n" + "".join(log)[-2000:])
        found = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(output).tensors}
        levels[level] = "".join(LETTERS[found[tensor]] for tensor, _ in tensors)
        sizes[level] = os.path.getsize(output)
        match = re.search(r"(\d+) of \d+ tensor\(s\) required fallback", "".join(log))
        fallbacks[level] = int(match.group(1)) if match else 0
    for path in (source, output):
        os.remove(path)
    os.rmdir(folder)
    rows = [f"{tensor}|{'x'.join(map(str, shape))}|{dtype}" for (tensor, shape), dtype in zip(tensors, types)]
    return {"types": {letter: dtype for dtype, letter in LETTERS.items()}, "metadata": metadata, "tensors": rows, "levels": levels,
            "n_fallbacks": fallbacks, "size_bytes": sizes}


def main():
    library = open_library(sys.argv[1])
    log = []
    callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
        lambda _level, text, _data: log.append(text.decode(errors="replace")))
    library.llama_log_set(callback, None)
    cases = {name: (*case, "F32") for name, case in MODELS.items()}
    cases |= {name: (*MODELS[base], wanted) for name, (base, wanted) in SOURCE_TYPES.items()}
    for name, case in cases.items():
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        path = pathlib.Path(__file__).parent / f"{name}.json"
        path.write_text(json.dumps(record(library, log, name, *case), indent=0) + "\n")
        print(path.name)


if __name__ == "__main__":
    main()

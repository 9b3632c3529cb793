#!/usr/bin/env python3
"""Writes golden vectors for src/quant: what ggml makes of seeded weights, and what it decodes from random blocks.

    pip install libgguf==0.2.2 gguf numpy
    python tests/golden/make_quant_golden.py SmolLM2-135M-Instruct.Q4_1.gguf

`vectors.bin` holds the data, `index.json` says where what lies. The few rows of SmolLM2 are under Apache-2.0.
"""

import json
import sys
from pathlib import Path

import libgguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader
from gguf.quants import dequantize

ROW_LEN = 256
N_ROWS = 8
LEGACY = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0]
K_QUANTS = [T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K]
# Q2_0 is newer than libgguf 0.2.2: a unit test checks it against its formula.
DECODED = LEGACY + K_QUANTS + [
    T.IQ1_S, T.IQ1_M, T.IQ2_XXS, T.IQ2_XS, T.IQ2_S, T.IQ3_XXS, T.IQ3_S, T.IQ4_NL, T.IQ4_XS, T.TQ1_0, T.TQ2_0, T.MXFP4,
    T.NVFP4, T.Q1_0,
]


def distributions(rng, reader):
    """Name and weights of each case; those that f16 holds exactly are stored so."""
    shape = (N_ROWS, ROW_LEN)
    gauss = rng.standard_normal(shape)
    yield "gauss", gauss * 0.02
    yield "laplace", rng.laplace(size=shape) * 0.02
    yield "heavy_tail", np.clip(rng.standard_t(1.5, size=shape), -1e4, 1e4) * 0.002
    outlier = rng.standard_normal(shape) * 0.02
    outlier[:, 5] *= 30
    yield "outlier_column", outlier
    yield "column_scales", rng.standard_normal(shape) * np.exp(rng.standard_normal(ROW_LEN)) * 0.02
    yield "uniform", rng.uniform(-1, 1, shape)
    yield "shifted", rng.standard_normal(shape) * 0.02 + 0.1
    yield "negative", -np.abs(rng.standard_normal(shape)) * 0.02
    yield "sparse", rng.standard_normal(shape) * (rng.random(shape) < 0.1) * 0.02
    yield "two_values", np.where(gauss > 0, 3.0, -3.0)
    yield "coarse_grid", np.round(gauss * 3) * 0.01
    for name in ["blk.3.ffn_down.weight", "blk.10.attn_v.weight", "token_embd.weight"]:
        tensor = next(t for t in reader.tensors if t.name == name)
        weights = dequantize(tensor.data, tensor.tensor_type).reshape(-1)[: N_ROWS * ROW_LEN].reshape(shape)
        # Off the 4-bit grid that the file lies on.
        yield f"smollm2 {name}", weights + rng.uniform(-0.1, 0.1, shape) * np.abs(weights).mean()
    yield "constant", np.repeat(rng.standard_normal((N_ROWS, 1)), ROW_LEN, axis=1)
    yield "small", gauss[:2] * 1e-6
    yield "denormal", gauss[:2] * 1e-40
    yield "large", gauss[:2] * 1e4
    yield "zero", np.where(gauss[:2] > 0, 0.0, -0.0)


def importance(dtype, x):
    """The weights of ggml's own error without an importance matrix, from quantize_row_*_ref in ggml-quants.c."""
    if dtype in (T.Q4_K, T.Q5_K):
        sub_blocks = x.reshape(-1, 32)
        return (np.sqrt((sub_blocks**2).mean(axis=1, keepdims=True)) + np.abs(sub_blocks)).reshape(x.shape)
    return np.abs(x) if dtype == T.Q2_K else x * x


def main():
    rng = np.random.default_rng(20261122)
    reader = GGUFReader(sys.argv[1])
    data = bytearray()

    def store(array):
        offset = len(data)
        data.extend(np.ascontiguousarray(array).tobytes())
        return offset

    index = {"source": f"libgguf 0.2.2, numpy {np.__version__}", "inputs": [], "legacy": [], "k_quants": [], "decoded": []}
    for name, weights in distributions(rng, reader):
        wide = name in ("constant", "small", "denormal", "large", "zero")
        stored = weights.astype("<f4" if wide else "<f2")
        x = stored.astype(np.float32)
        index["inputs"].append({"name": name, "f32": wide, "offset": store(stored), "n_weights": x.size})
        for dtype in LEGACY:
            head = x.reshape(-1)[:ROW_LEN]
            blocks = libgguf.quantize_rows(head, dtype)
            index["legacy"].append({"input": name, "dtype": dtype.name, "offset": store(blocks), "n_bytes": blocks.size})
        for dtype in K_QUANTS:
            decoded = libgguf.dequantize_rows(libgguf.quantize_rows(x, dtype), dtype).astype(np.float64)
            wide_x = x.astype(np.float64)
            squares = (decoded - wide_x) ** 2
            index["k_quants"].append({
                "input": name,
                "dtype": dtype.name,
                "squared_error": float(squares.sum()),
                "weighted_error": float((importance(dtype, wide_x) * squares).sum()),
            })
    for dtype in DECODED:
        block_len, block_bytes = libgguf.GGML_QUANT_SIZES[int(dtype)]
        n_blocks = max(2, 128 // block_len)
        while True:
            blocks = rng.integers(0, 256, n_blocks * block_bytes, dtype=np.uint8)
            values = libgguf.dequantize_rows(blocks, dtype)
            if np.isfinite(values).all():
                break
        index["decoded"].append({
            "dtype": dtype.name,
            "blocks": store(blocks),
            "n_bytes": blocks.size,
            "values": store(values.astype("<f4")),
            "n_weights": values.size,
        })
    folder = Path(__file__).parent / "quant"
    folder.mkdir(exist_ok=True)
    (folder / "vectors.bin").write_bytes(data)
    lines = [f'"source": {json.dumps(index["source"])}']
    for part in ("inputs", "legacy", "k_quants", "decoded"):
        lines.append(f'"{part}": [\n' + ",\n".join(json.dumps(row) for row in index[part]) + "\n]")
    (folder / "index.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

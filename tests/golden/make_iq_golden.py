#!/usr/bin/env python3
"""Writes golden errors for src/quant: how well ggml fits the inputs of `vectors.bin` in the types without a linear grid.

    pip install libgguf==0.2.2 numpy
    python tests/golden/make_iq_golden.py

`quant/iq.json` holds for each type and input the sum of `error²`, of `importance * error²` with ggml's own importance without a
matrix, and, with the columns of `weighted.json` as importance matrix, of `column * error²`. Types that ggml encodes by a matrix
only (IQ2_XXS, IQ2_XS, IQ1_S) got one of ones for the first two.
"""

import json
from pathlib import Path

import libgguf
import numpy as np

ROW_LEN = 256
TYPES = {
    "IQ4_NL": 20, "IQ4_XS": 23, "MXFP4": 39, "TQ1_0": 34, "TQ2_0": 35, "IQ3_S": 21, "IQ3_XXS": 18, "IQ2_S": 22, "IQ2_XS": 17,
    "IQ2_XXS": 16, "IQ1_M": 29, "IQ1_S": 19,
}
NEEDS_MATRIX = ["IQ2_XXS", "IQ2_XS", "IQ1_S"]


def importance(name, x):
    """The weights of ggml's own error without a matrix, from quantize_row_*_impl in ggml-quants.c; x in super-blocks."""
    mean = (x**2).mean(axis=1, keepdims=True)
    if name in ("MXFP4", "TQ1_0", "TQ2_0"):
        return np.ones_like(x)
    if name in NEEDS_MATRIX:
        return np.sqrt((2 if name == "IQ1_S" else 1) * mean + x**2)
    return x**2 + (0.5 * mean if name == "IQ2_S" else 0)


def main():
    folder = Path(__file__).parent / "quant"
    index = json.loads((folder / "index.json").read_text())
    data = (folder / "vectors.bin").read_bytes()
    columns = np.array(json.loads((folder / "weighted.json").read_text())["columns"], "<f4")
    errors = []
    for entry in index["inputs"]:
        stored = np.frombuffer(data, "<f4" if entry["f32"] else "<f2", entry["n_weights"], entry["offset"])
        x = stored.astype(np.float32).reshape(-1, ROW_LEN)
        wide = x.astype(np.float64)
        for name, dtype in TYPES.items():

            def squares(matrix):
                blocks = libgguf.quantize_rows(x, dtype, imatrix=matrix)
                return (libgguf.dequantize_rows(blocks, dtype).reshape(x.shape).astype(np.float64) - wide) ** 2

            plain = squares(np.ones_like(columns) if name in NEEDS_MATRIX else None)
            errors.append({
                "input": entry["name"],
                "dtype": name,
                "squared_error": float(plain.sum()),
                "weighted_error": float((importance(name, wide) * plain).sum()),
                "column_error": float((columns.astype(np.float64) * squares(columns)).sum()),
            })
    lines = [
        f'"source": "libgguf 0.2.2, numpy {np.__version__}"',
        '"errors": [\n' + ",\n".join(json.dumps(row) for row in errors) + "\n]",
    ]
    (folder / "iq.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes golden errors for src/quant: how well ggml fits the inputs of `vectors.bin` when the columns have importances.

    pip install libgguf==0.2.2 numpy
    python tests/golden/make_weighted_golden.py

`quant/weighted.json` holds the importances of the 256 columns (lognormal, seeded) and, for each input and type, the sum of
`importance * error²` that ggml reaches.
"""

import json
from pathlib import Path

import libgguf
import numpy as np

ROW_LEN = 256
TYPES = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14}
INPUTS = [
    "gauss", "laplace", "heavy_tail", "outlier_column", "column_scales", "uniform", "shifted", "negative",
    "smollm2 blk.3.ffn_down.weight", "smollm2 blk.10.attn_v.weight", "smollm2 token_embd.weight",
]


def main():
    folder = Path(__file__).parent / "quant"
    index = json.loads((folder / "index.json").read_text())
    data = (folder / "vectors.bin").read_bytes()
    rng = np.random.default_rng(20261125)
    columns = np.exp(rng.standard_normal(ROW_LEN) * 1.5).astype("<f4")
    errors = []
    for entry in index["inputs"]:
        if entry["name"] not in INPUTS:
            continue
        stored = np.frombuffer(data, "<f4" if entry["f32"] else "<f2", entry["n_weights"], entry["offset"])
        x = stored.astype(np.float32).reshape(-1, ROW_LEN)
        for name, dtype in TYPES.items():
            blocks = libgguf.quantize_rows(x, dtype, imatrix=columns)
            decoded = libgguf.dequantize_rows(blocks, dtype).reshape(x.shape).astype(np.float64)
            error = float((columns.astype(np.float64) * (decoded - x) ** 2).sum())
            errors.append({"input": entry["name"], "dtype": name, "weighted_error": error})
    lines = [
        f'"source": "libgguf 0.2.2, numpy {np.__version__}"',
        '"columns": ' + json.dumps([float(column) for column in columns]),
        '"errors": [\n' + ",\n".join(json.dumps(row) for row in errors) + "\n]",
    ]
    (folder / "weighted.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

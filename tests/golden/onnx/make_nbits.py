"""Writes nbits.json: what ONNX Runtime's own quantizer makes of some weights.

python3 -m venv venv && venv/bin/pip install onnxruntime==1.32.0 numpy==2.4.6 && venv/bin/python make_nbits.py
"""
import json
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits

ROW_LEN, N_ROWS = 200, 6

generator = np.random.default_rng(5)
weights = (generator.standard_normal((N_ROWS, ROW_LEN)) * 0.02).astype(np.float32)
weights[1, :40] = 0
weights[2, 5] = 7.5
weights[3] *= np.float32(1e-30)
weights[4] *= np.float32(1e30)
# Ties: halves of the step from one code to the next, and two extremes of the same magnitude.
weights[5] = (np.arange(ROW_LEN) % 33 - 16).astype(np.float32) / 4

cases = []
for bits, quantize in ((4, quantize_matmul_4bits), (8, quantize_matmul_8bits)):
    for block_len in (16, 32, 64, 128):
        n_blocks = -(-ROW_LEN // block_len)
        codes = np.zeros((N_ROWS, n_blocks, block_len * bits // 8), np.uint8)
        scales = np.zeros(N_ROWS * n_blocks, np.float32)
        zero_points = np.zeros(N_ROWS * -(-n_blocks * bits // 8), np.uint8)
        # The tool wants a column for each output.
        quantize(codes, np.ascontiguousarray(weights.T), scales, zero_points, block_len, N_ROWS, ROW_LEN, True)
        cases.append({"bits": bits, "block_len": block_len, "codes": codes.tobytes().hex(), "scales": scales.tobytes().hex()})

golden = {
    "made_with": f"onnxruntime {onnxruntime.__version__}, quantize_matmul_4bits and _8bits, symmetric",
    "row_len": ROW_LEN,
    "weights": weights.tobytes().hex(),
    "cases": cases,
}
Path(__file__).with_name("nbits.json").write_text(json.dumps(golden, indent=1) + "\n")

#!/usr/bin/env python3
"""Writes golden vectors for src/quant/nbits: what ONNX Runtime's tool makes of odd rows, and what its operators decode.

    pip install onnxruntime==1.32.0 onnx==1.23.2 onnx-ir==1.1.0 numpy==2.4.6
    python tests/golden/onnx/make_nbits_golden.py

`nbits.bin` holds the rows, and for some codes all components; `nbits.json` says where what lies and holds hashes (FNV-1a) of the others.
Run it on x86-64: elsewhere the tool may fuse products with sums.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, DefaultWeightOnlyQuantizer

ROW_LEN = 128
ROW_LENS = [128, 100, 37, 1]
FLOATS = {"F32": np.float32, "F16": np.float16}
KINDS = [(bits, block_len, points) for bits in (4, 8) for block_len in (16, 32, 64, 128) for points in (False, True)]
STORED = [(4, 32, False), (4, 32, True), (8, 64, True)]
FOLDER = Path(__file__).parent


def rows(rng):
    """Name and weights of each row."""
    gauss = rng.standard_normal(ROW_LEN)
    ramp = np.arange(ROW_LEN)
    below_half = np.nextafter(np.float32(0.5), np.float32(0))
    yield "gauss", gauss * 0.02
    yield "laplace", rng.laplace(size=ROW_LEN) * 0.02
    yield "heavy tail", np.clip(rng.standard_t(1.5, size=ROW_LEN), -1e4, 1e4) * 0.002
    yield "magnitudes of many sizes", gauss * 2.0 ** (ramp // 16 * 3 - 14)
    yield "shifted", gauss * 0.02 + 0.1
    yield "negative", -np.abs(rng.standard_normal(ROW_LEN)) * 0.02
    yield "positive", np.abs(rng.standard_normal(ROW_LEN)) * 0.02
    yield "sparse", gauss * (rng.random(ROW_LEN) < 0.1) * 0.02
    yield "two values", np.where(gauss > 0, 3.0, -3.0)
    yield "ties of symmetric codes", np.where(ramp % 16 == 0, -8.0, ramp % 15 - 6.5)
    yield "ties of positive codes", np.where(ramp % 16 == 0, 15.0, ramp % 16 - 0.5)
    yield "just below ties", np.where(ramp % 16 == 0, 15.0, np.where(ramp % 2, below_half, ramp % 15 + 1 - below_half))
    yield "ties of extremes", np.where(ramp % 16 == 3, 0.7, np.where(ramp % 16 == 9, -0.7, gauss * 0.02))
    yield "one outlier", np.where(ramp % 32 == 7, 2000.0, gauss * 0.02)
    yield "one weight", np.where(ramp % 32 == 3, -0.7, 0.0)
    yield "constant", np.full(ROW_LEN, 0.3)
    yield "negative constant", np.full(ROW_LEN, -700.0)
    yield "zeros", np.zeros(ROW_LEN)
    yield "negative zeros first", np.where(ramp % 16 < 5, -0.0, 0.0)
    yield "large", np.clip(gauss * 20000, -60000, 60000)
    yield "small", gauss * 1e-6
    yield "very small", gauss * 1e-36
    yield "subnormal", gauss * (ramp % 5 > 0) * 1e-40


def fnv(data):
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in bytes(data):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def quantized(weights, bits, block_len, points):
    """Codes [n_rows, n_blocks, block_bytes], scales [n_rows, n_blocks] and zero points [n_rows, bytes], as in a model."""
    config = DefaultWeightOnlyQuantConfig(block_size=block_len, is_symmetric=not points, bits=bits)
    codes, scales, zero_points = DefaultWeightOnlyQuantizer(config).qbits_block_quant(np.ascontiguousarray(weights.T))
    row_len = weights.shape[1]
    if bits == 4 and row_len % 2:
        # Behind an odd row the tool leaves a code without a meaning.
        codes.reshape(len(weights), -1)[:, row_len // 2] &= 15
    return [codes, scales] + ([zero_points] if points else [])


def run(node, weights, scales, zero_points, feeds):
    """The output of a node with constant weights."""
    constants = [("codes", weights), ("scales", scales)] + ([("points", zero_points)] if zero_points is not None else [])
    to_type = helper.np_dtype_to_tensor_dtype
    inputs = [helper.make_tensor_value_info(name, to_type(array.dtype), array.shape) for name, array in feeds.items()]
    outputs = [helper.make_tensor_value_info("y", to_type(scales.dtype), None)]
    initializers = [
        helper.make_tensor(name, to_type(array.dtype), array.shape, array.tobytes(), raw=True) for name, array in constants
    ]
    graph = helper.make_graph([node], "g", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(["y"], feeds)[0]


def decoded(parts, bits, block_len, row_len):
    """F32 weights by the formula, which the operators are asked to confirm."""
    codes, scales = parts[:2]
    n_rows, n_blocks = scales.shape
    split = lambda packed: np.stack([packed & 15, packed >> 4], -1).reshape(n_rows, -1) if bits == 4 else packed.reshape(n_rows, -1)
    numbers = split(codes).reshape(n_rows, n_blocks, block_len).astype(np.float32)
    points = split(parts[2])[:, :n_blocks].astype(np.float32) if len(parts) > 2 else np.full(scales.shape, 2 ** (bits - 1), np.float32)
    weights = (scales.astype(np.float32)[..., None] * (numbers - points[..., None])).reshape(n_rows, -1)[:, :row_len]
    zero_points = parts[2] if len(parts) > 2 else None
    names = ["codes", "scales"] + (["points"] if zero_points is not None else [])
    wide = scales.astype(np.float32)
    if row_len % block_len == 0:
        inputs = ["codes", "idx"] + names[1:]
        node = helper.make_node(
            "GatherBlockQuantized", inputs, ["y"], domain="com.microsoft", bits=bits, block_size=block_len, gather_axis=0, quantize_axis=1
        )
        found = run(node, codes.reshape(n_rows, -1), wide, zero_points, {"idx": np.arange(n_rows)})
        assert np.array_equal(found, weights)
    attributes = {"K": row_len, "N": n_rows, "bits": bits, "block_size": block_len, "accuracy_level": 1}
    node = helper.make_node("MatMulNBits", ["x"] + names, ["y"], domain="com.microsoft", **attributes)
    found = run(node, codes, wide, zero_points, {"x": np.eye(row_len, dtype=np.float32)}).T
    # It may multiply before it subtracts; numbers below the smallest normal one may become zero.
    reach = np.repeat(np.abs(wide), block_len, 1)[:, :row_len] * 2.0**bits
    assert np.all(np.abs(found - weights) <= reach * 1e-6 + 2e-38)
    return weights


def main():
    data = bytearray()

    def store(array):
        offset = len(data)
        data.extend(np.ascontiguousarray(array).tobytes())
        return offset

    index = {"inputs": [], "quantized": []}
    named = list(rows(np.random.default_rng(20261201)))
    matrix = np.stack([weights for _, weights in named]).astype(np.float32)
    for float_name, dtype in FLOATS.items():
        weights = matrix.astype(dtype)
        index["inputs"].append({"float": float_name, "offset": store(weights)})
        for kind in KINDS:
            for row_len in ROW_LENS:
                bits, block_len, points = kind
                parts = quantized(weights[:, :row_len], bits, block_len, points)
                entry = {"float": float_name, "bits": bits, "block_len": block_len, "points": points, "row_len": row_len}
                entry["hashes"] = [fnv(part.tobytes()) for part in parts]
                entry["decoded"] = fnv(decoded(parts, bits, block_len, row_len).astype("<f4").tobytes())
                if kind in STORED and float_name == "F32" and row_len == 100:
                    entry["offsets"] = [store(part) for part in parts]
                index["quantized"].append(entry)
    (FOLDER / "nbits.bin").write_bytes(data)
    source = f"onnxruntime {ort.__version__}, onnx {onnx.__version__}, numpy {np.__version__}"
    lines = [f'"source": "{source}"', f'"rows": {json.dumps([name for name, _ in named])}']
    for part, entries in index.items():
        lines.append(f'"{part}": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "\n]")
    (FOLDER / "nbits.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

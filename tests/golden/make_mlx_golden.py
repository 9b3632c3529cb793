#!/usr/bin/env python3
"""Writes golden vectors for src/quant/mlx: what MLX makes of odd rows on a CPU, and what it decodes.

    pip install 'mlx[cpu]==0.32.4' numpy
    python tests/golden/make_mlx_golden.py

`quant/mlx.bin` holds the rows, and for some modes all components; `quant/mlx.json` says where what lies and holds hashes (FNV-1a)
of the others. The few rows of SmolLM2 come from `quant/vectors.bin` and are under Apache-2.0.
"""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np

ROW_LEN = 128
FLOATS = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}
MODES = [("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
MODES += [("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]
STORED = [("affine", 4, 64), ("affine", 3, 32), ("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]
FOLDER = Path(__file__).parent / "quant"


def smollm2():
    """One row of each tensor in `vectors.bin`."""
    index, data = json.loads((FOLDER / "index.json").read_text()), (FOLDER / "vectors.bin").read_bytes()
    for entry in index["inputs"]:
        if entry["name"].startswith("smollm2"):
            yield entry["name"], np.frombuffer(data, "<f2", ROW_LEN, entry["offset"]).astype(np.float32)


def rows(rng):
    """Name and weights of each row. The last one is too small for powers of two as scales: see `wrapped`."""
    gauss = rng.standard_normal(ROW_LEN)
    ramp = np.arange(ROW_LEN)
    yield "gauss", gauss * 0.02
    yield "laplace", rng.laplace(size=ROW_LEN) * 0.02
    yield "heavy tail", np.clip(rng.standard_t(1.5, size=ROW_LEN), -1e4, 1e4) * 0.002
    yield "magnitudes of many sizes", gauss * 2.0 ** (ramp // 16 * 3 - 14)
    yield "shifted", gauss * 0.02 + 0.1
    yield "negative", -np.abs(rng.standard_normal(ROW_LEN)) * 0.02
    yield "positive", np.abs(rng.standard_normal(ROW_LEN)) * 0.02
    yield "sparse", gauss * (rng.random(ROW_LEN) < 0.1) * 0.02
    yield "two values", np.where(gauss > 0, 3.0, -3.0)
    yield "half steps", np.round(gauss * 6) / 4
    yield "ties of small floats", (ramp % 32 - 15.5) * 0.5 * 2.0 ** (ramp // 32)
    yield "around powers of two", np.where(ramp % 16, gauss * 0.1, 6 * 2.0 ** (ramp // 16 - 4) * (1 + (ramp // 16 % 3 - 1) * 2.0**-7))
    yield "one outlier", np.where(ramp % 32 == 7, 2000.0, gauss * 0.02)
    yield "constant", np.full(ROW_LEN, 0.3)
    yield "negative constant", np.full(ROW_LEN, -700.0)
    yield "almost constant", 1 + (ramp % 2) * 2.0**-10
    yield "zeros", np.zeros(ROW_LEN)
    yield "zeros of either sign", np.where(gauss > 0, 0.0, -0.0)
    yield "one weight", np.where(ramp % 32 == 3, -0.7, 0.0)
    yield "large", np.clip(gauss * 800, -2600, 2600)
    yield "small", gauss * 1e-6
    yield "below the smallest step", gauss * 1e-9
    yield from smollm2()
    yield "subnormal", gauss * 1e-40


def fnv(array):
    """FNV-1a of the bytes, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in array.tobytes():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def raw(array):
    """The bytes of an MLX array."""
    halves = array.dtype in (mx.float16, mx.bfloat16)
    return np.array(array.view(mx.uint16) if halves else array).view(np.uint8).reshape(-1)


def values(array):
    """The numbers as f32, every NaN as the same one."""
    numbers = np.array(array.astype(mx.float32)).reshape(-1)
    return np.where(np.isnan(numbers), np.float32(np.nan), numbers).astype("<f4")


def dequantize(parts, mode, computed):
    """Decoded in the type `computed`."""
    name, bits, group = mode
    if name == "affine":
        weight, scales, biases = parts
        return mx.dequantize(weight, scales.astype(computed), biases.astype(computed), group_size=group, bits=bits)
    return mx.dequantize(*parts[:2], group_size=group, bits=bits, mode=name, dtype=computed)


def any_bytes(n_bytes, factor):
    """Bytes without a pattern, the same in Rust."""
    return ((np.arange(n_bytes, dtype=np.uint64) * factor + 13) >> 3).astype(np.uint8)


def decoded_bytes(mode, stored):
    """Hashes of what 4096 weights of any bytes decode to: computed in the type of the scales, and in F32."""
    name, bits, group = mode
    weight = mx.array(any_bytes(4096 * bits // 8, 1667).view(np.uint32).reshape(1, -1))
    n_groups = 4096 // group
    if name != "affine":
        parts = [weight, mx.array(any_bytes(n_groups, 2411).reshape(1, -1))]
    else:
        width = 4 if stored == mx.float32 else 2
        numbers = [any_bytes(n_groups * width, factor) for factor in (2411, 3137)]
        as_int = np.uint32 if width == 4 else np.uint16
        parts = [weight] + [mx.array(bytes.view(as_int).reshape(1, -1)).view(stored) for bytes in numbers]
    return [fnv(values(dequantize(parts, mode, computed))) for computed in (stored, mx.float32)]


def wrapped():
    """Groups whose power of two MLX's CPU takes for one of the largest."""
    for mode in ("mxfp4", "mxfp8"):
        weight = 1e-38
        _, scales = mx.quantize(mx.full((1, 32), weight), mode=mode)
        yield {"mode": mode, "weight": weight, "scale": int(scales.item())}


def main():
    mx.set_default_device(mx.cpu)
    data = bytearray()

    def store(array):
        offset = len(data)
        data.extend(np.ascontiguousarray(array).tobytes())
        return offset

    index = {"inputs": [], "quantized": [], "decoded": [], "wrapped": list(wrapped()), "cast": []}
    named = list(rows(np.random.default_rng(20261129)))
    matrix = mx.array(np.stack([weights for _, weights in named]).astype(np.float32))
    names = [name for name, _ in named]
    for float_name, dtype in FLOATS.items():
        weights = matrix.astype(dtype)
        index["inputs"].append({"float": float_name, "offset": store(raw(weights))})
        for mode in MODES:
            name, bits, group = mode
            too_small = name in ("mxfp4", "mxfp8") and float_name != "F16"
            n_rows = len(names) - 1 if too_small else len(names)
            parts = mx.quantize(weights[:n_rows], group_size=group, bits=bits, mode=name)
            entry = {"float": float_name, "mode": name, "bits": bits, "group": group, "n_rows": n_rows}
            entry["hashes"] = [fnv(raw(part)) for part in parts]
            entry["decoded"] = [fnv(values(dequantize(parts, mode, computed))) for computed in (dtype, mx.float32)]
            if mode in STORED and float_name != "F32":
                entry["offsets"] = [store(raw(part)) for part in parts]
            index["quantized"].append(entry)
            hashes = decoded_bytes(mode, dtype)
            index["decoded"].append({"float": float_name, "mode": name, "bits": bits, "group": group, "hashes": hashes})
    odd = [0.0, -0.0, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 65504, 65519, 65520, -1e5, 3.3895e38, 3.4e38]
    odd += [2.0**-14, 2.0**-14 * (1 - 2.0**-11), 3 * 2.0**-25, 2.0**-25, 2.0**-25 * 1.01, -1e-8, 1e-40, -1e-45, 0.1, -0.3]
    for number in odd:
        number = mx.array(number, mx.float32)
        halves = [int(number.astype(dtype).view(mx.uint16).item()) for dtype in (mx.float16, mx.bfloat16)]
        index["cast"].append([int(number.view(mx.uint32).item()), *halves])
    (FOLDER / "mlx.bin").write_bytes(data)
    lines = [f'"source": "mlx {mx.__version__}, numpy {np.__version__}"', f'"rows": {json.dumps(names)}']
    for part, entries in index.items():
        lines.append(f'"{part}": [\n' + ",\n".join(json.dumps(entry) for entry in entries) + "\n]")
    (FOLDER / "mlx.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

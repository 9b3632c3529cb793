#!/usr/bin/env python3
"""Reads GGUF files with the pip package `gguf` (llama.cpp's own Python code) and checks what Planish wrote.

For each file: every offset is aligned and follows the tensor before it, the file ends where the last tensor's padding ends, the
bytes between tensors are zeros, every tensor can be read and (from 1 KiB on) is not all zeros as a forgotten write would be, and a
sample of its rows decodes to finite numbers. Prints one line of counts per file; exits with 1 when a file is wrong.
"""
import collections
import os
import sys

import numpy
from gguf import GGML_QUANT_SIZES, GGUFReader, GGUFValueType
from gguf.quants import dequantize

SAMPLED_ROWS = 64


def check(path):
    reader = GGUFReader(path)
    alignment = reader.alignment
    version = int(reader.fields["GGUF.version"].parts[0][0])
    assert version == 3, f"version {version}"
    names = [tensor.name for tensor in reader.tensors]
    assert len(set(names)) == len(names), "a tensor name is there twice"
    assert reader.data_offset % alignment == 0, f"data starts at {reader.data_offset}"

    end = reader.data_offset
    for tensor in reader.tensors:
        where = f"tensor {tensor.name}"
        assert tensor.data_offset == end, f"{where} starts at {tensor.data_offset}, expected {end}"
        block_len, block_bytes = GGML_QUANT_SIZES[tensor.tensor_type]
        n_bytes = int(tensor.n_elements) // block_len * block_bytes
        assert tensor.data.nbytes == n_bytes == tensor.n_bytes, f"{where} has {tensor.data.nbytes} bytes, expected {n_bytes}"
        unpadded_end = end + n_bytes
        end = -(-unpadded_end // alignment) * alignment
        assert not reader.data[unpadded_end:end].any(), f"padding after {where} is not zero"
        checksum = int(tensor.data.view(numpy.uint8).sum(dtype=numpy.uint64))  # touches every byte
        assert checksum > 0 or n_bytes < 1024, f"{where} holds only zeros"
        rows = tensor.data.reshape(-1, tensor.data.shape[-1])
        step = max(1, len(rows) // SAMPLED_ROWS)
        try:
            decoded = dequantize(rows[::step], tensor.tensor_type)
        except NotImplementedError:
            continue
        assert numpy.isfinite(decoded).all(), f"{where} decodes to numbers that are not finite"
    size = os.path.getsize(path)
    assert size == end, f"the file has {size} bytes, its tensors with padding end at {end}"

    file_type = reader.fields.get("general.file_type")
    if file_type is not None:
        assert file_type.types == [GGUFValueType.UINT32], "general.file_type is no u32"
    n_keys = sum(not name.startswith("GGUF.") for name in reader.fields)
    counts = collections.Counter(tensor.tensor_type.name for tensor in reader.tensors)
    types = " ".join(f"{name}:{count}" for name, count in sorted(counts.items()))
    print(f"{path} {size} bytes, {len(names)} tensors, {n_keys} keys, {types}")


def main(paths):
    if not paths:
        print("usage: check_gguf.py FILE...", file=sys.stderr)
        return 2
    status = 0
    for path in paths:
        try:
            check(path)
        except Exception as error:  # whatever the package raises on a damaged file is the answer
            print(f"error: {type(error).__name__}: {error}: {path}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

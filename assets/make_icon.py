#!/usr/bin/env python3
"""Draws icon.png, 256 x 256: a staircase (quantized values) on hammered copper. Needs nothing but Python."""
import math
import random
import struct
import zlib
from pathlib import Path

SIZE, SCALE = 256, 3
STEPS = [(0.17, 0.80), (0.36, 0.80), (0.36, 0.60), (0.55, 0.60), (0.55, 0.40), (0.73, 0.40), (0.73, 0.20), (0.85, 0.20)]
HALF_WIDTH, CORNER = 0.040, 0.22


def inside_plate(x: float, y: float) -> bool:
    """True within the rounded square."""
    dx, dy = max(abs(x - 0.5) - 0.5 + CORNER, 0), max(abs(y - 0.5) - 0.5 + CORNER, 0)
    return math.hypot(dx, dy) <= CORNER


def on_staircase(x: float, y: float) -> bool:
    """True on the line, with square ends and corners."""
    for (x0, y0), (x1, y1) in zip(STEPS, STEPS[1:]):
        if min(x0, x1) - HALF_WIDTH <= x <= max(x0, x1) + HALF_WIDTH and min(y0, y1) - HALF_WIDTH <= y <= max(y0, y1) + HALF_WIDTH:
            return True
    return False


def dents(n: int = 9) -> list[tuple[float, float]]:
    """Centres of the hammer's marks: a grid, shaken."""
    rng = random.Random(7)
    return [((i + 0.5 + rng.uniform(-0.35, 0.35)) / n, (j + 0.5 + rng.uniform(-0.35, 0.35)) / n) for i in range(-1, n + 1) for j in range(-1, n + 1)]


def color(x: float, y: float, marks: list[tuple[float, float]]) -> tuple[float, float, float, float]:
    """RGBA, 0 to 255, of a point of the unit square."""
    if not inside_plate(x, y):
        return 0, 0, 0, 0
    if on_staircase(x, y):
        return 30, 17, 9, 255
    mx, my = min(marks, key=lambda mark: (mark[0] - x) ** 2 + (mark[1] - y) ** 2)
    # Light from the upper left falls into a round dent: its far side is bright.
    slope = ((x - mx) + (y - my)) * 5.5
    light = 1.02 + 0.16 * (0.5 - y) + 0.17 * max(-1.0, min(1.0, slope))
    return tuple(min(255.0, c * light) for c in (218, 138, 88)) + (255,)


def main() -> None:
    marks, rows = dents(), []
    for py in range(SIZE):
        row = bytearray([0])
        for px in range(SIZE):
            samples = [color((px + (i + 0.5) / SCALE) / SIZE, (py + (j + 0.5) / SCALE) / SIZE, marks) for i in range(SCALE) for j in range(SCALE)]
            alpha = sum(s[3] for s in samples)
            row += bytes(round(sum(s[c] * s[3] for s in samples) / alpha) if alpha else 0 for c in range(3))
            row.append(round(alpha / SCALE**2))
        rows.append(bytes(row))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 6, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows), 9)) + chunk(b"IEND", b"")
    (Path(__file__).parent / "icon.png").write_bytes(png)


if __name__ == "__main__":
    main()

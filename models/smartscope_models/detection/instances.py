"""From depths to instances: every pixel of the foreground goes to the object from which it is reached downhill."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LEVELS = 64
"""Into which depth is divided: within a level what comes first is taken first."""
SEARCHED = 0.2
"""How far from its centre an object's foreground is sought, in terms of its reach."""


@njit(nogil=True, cache=True)
def seeded(foreground, depth, rows, columns, reach, labels, heap, chain):  # type: ignore[no-untyped-def]
    """Watershed from seeds, deepest first; labels (h, w) int32: 1 + number of the seed, 0 outside.

    foreground (h, w): above 0.5 is inside; depth (h, w) 0 to 1; rows, columns, reach (N,): seeds, and how far from it
    an object's pixel may lie, in pixels of these maps; heap (LEVELS,) and chain (h · w,) int32 are work.
    """
    height, width = foreground.shape
    labels[:] = 0
    heap[:] = -1
    top = LEVELS - 1
    for k in range(len(rows)):
        i, j = _start(foreground, labels, rows[k], columns[k], SEARCHED * reach[k])
        if i >= 0:
            labels[i, j] = k + 1
            chain[i * width + j] = heap[top]
            heap[top] = i * width + j
    level = top
    while level >= 0:
        pixel = heap[level]
        if pixel < 0:
            level -= 1
            continue
        heap[level] = chain[pixel]
        i, j = pixel // width, pixel % width
        name = labels[i, j]
        for side in range(4):
            a = i + (side == 0) - (side == 1)
            b = j + (side == 2) - (side == 3)
            if a < 0 or b < 0 or a >= height or b >= width or labels[a, b] != 0 or foreground[a, b] <= 0.5:
                continue
            if math.hypot(a - rows[name - 1], b - columns[name - 1]) > reach[name - 1]:
                continue
            labels[a, b] = name
            into = min(max(int(depth[a, b] * LEVELS), 0), level)
            chain[a * width + b] = heap[into]
            heap[into] = a * width + b


@njit(nogil=True, cache=True)
def _start(foreground, labels, row, column, radius):  # type: ignore[no-untyped-def]
    """The free foreground pixel nearest to a centre, which may lie in a nucleolus; -1, -1: none within radius."""
    height, width = foreground.shape
    found, near = (-1, -1), radius + 1
    span = int(radius) + 1
    for i in range(max(round(row) - span, 0), min(round(row) + span + 1, height)):
        for j in range(max(round(column) - span, 0), min(round(column) + span + 1, width)):
            far = math.hypot(i - row, j - column)
            if far < near and labels[i, j] == 0 and foreground[i, j] > 0.5:
                found, near = (i, j), far
    return found


@njit(nogil=True, cache=True)
def finer(labels, foreground, out):  # type: ignore[no-untyped-def]
    """out (H, W) int32 from labels and foreground (h, w) of half its size, with an outline at the finer pixels.

    A pixel takes the label of its cell or of the neighbour on its side, whichever the foreground, between the centres
    of the cells, says: above 0.5 a labelled one, else none.
    """
    height, width = out.shape
    rows, columns = labels.shape
    for y in range(height):
        i = y // 2
        a = min(max(i + (1 if y % 2 else -1), 0), rows - 1)
        for x in range(width):
            j = x // 2
            b = min(max(j + (1 if x % 2 else -1), 0), columns - 1)
            level = 0.5625 * foreground[i, j] + 0.1875 * (foreground[a, j] + foreground[i, b])
            level += 0.0625 * foreground[a, b]
            name = labels[i, j]
            if name == 0:
                name = labels[a, j] if labels[a, j] else labels[i, b]
            out[y, x] = name if level > 0.5 else 0


@njit(nogil=True, cache=True)
def measured(labels, pixels, offset, gain, floor, out):  # type: ignore[no-untyped-def]
    """out (N, 4): number of pixels, sum of electrons above ``floor``, mean x and y, of each label of (H, W)."""
    out[:] = 0
    height, width = labels.shape
    for i in range(height):
        for j in range(width):
            k = labels[i, j] - 1
            if k >= 0:
                out[k, 0] += 1
                out[k, 1] += (pixels[i, j] - offset[i, j]) * gain[i, j] - floor
                out[k, 2] += j
                out[k, 3] += i
    for k in range(len(out)):
        if out[k, 0] > 0:
            out[k, 2] /= out[k, 0]
            out[k, 3] /= out[k, 0]


@njit(nogil=True, cache=True)
def spot_light(pixels, offset, gain, x, y, sigma, out):  # type: ignore[no-untyped-def]
    """out (N,): electrons of a Gaussian spot of width sigma (N,) at x, y (N,), its ring-shaped surroundings taken off.

    Least squares with a free background in a window of 2.5 sigma: amplitude times 2 π sigma².
    """
    height, width = pixels.shape
    for k in range(len(x)):
        s = max(sigma[k], 0.5)
        radius = math.ceil(2.5 * s)
        n, g1, g2, d1, dg = 0, 0.0, 0.0, 0.0, 0.0
        for i in range(max(int(y[k] + 0.5) - radius, 0), min(int(y[k] + 0.5) + radius + 1, height)):
            for j in range(max(int(x[k] + 0.5) - radius, 0), min(int(x[k] + 0.5) + radius + 1, width)):
                g = math.exp(-((j - x[k]) ** 2 + (i - y[k]) ** 2) / (2 * s * s))
                light = (pixels[i, j] - offset[i, j]) * gain[i, j]
                n += 1
                g1, g2, d1, dg = g1 + g, g2 + g * g, d1 + light, dg + g * light
        spread = g2 - g1 * g1 / max(n, 1)
        out[k] = 2 * math.pi * s * s * (dg - g1 * d1 / n) / spread if spread > 1e-6 else 0.0


def work(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """heap and chain of ``seeded`` for maps (h, w)."""
    return np.empty(LEVELS, np.int32), np.empty(shape[0] * shape[1], np.int32)

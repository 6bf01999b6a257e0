"""Where light jumps up in a frame: sums over small and large windows, against the same windows just before.

The light of a vesicle that moves into a small window comes from nearby: the large window around it shows no more than
before. What flares up raises both, so that the lesser of the two jumps, each in its own noise, is the evidence.
"""

from __future__ import annotations

import math

from numba import njit

NARROW, WIDE = 2, 6
"""Edges of the windows, cells."""
FLICKER, LAMP = 0.08, 0.01
"""Part of its objects' light by which a window changes as they move; of all its light, as the lamp flickers."""
LEAST_JUMP = 3.5
"""Standard deviations below which a jump is not looked at."""
_APART = 2
"""Cells within which only the highest jump counts."""


@njit(nogil=True, cache=True)
def add_up(cells, out):  # type: ignore[no-untyped-def]
    """out (h + 1, w + 1): sums of cells (h, w) above and left of each corner."""
    height, width = cells.shape
    out[0, :] = 0.0
    for i in range(height):
        line = 0.0
        out[i + 1, 0] = 0.0
        for j in range(width):
            line += cells[i, j]
            out[i + 1, j + 1] = out[i, j + 1] + line


@njit(nogil=True, cache=True)
def window(sums, i, j, edge):  # type: ignore[no-untyped-def]
    """Light of the window of ``edge`` cells around the narrow one at (i, j), as far as it is inside; its cells too."""
    margin = (edge - NARROW) // 2
    top, left = max(i - margin, 0), max(j - margin, 0)
    bottom, right = min(i + NARROW + margin, len(sums) - 1), min(j + NARROW + margin, sums.shape[1] - 1)
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return total, (bottom - top) * (right - left)


@njit(nogil=True, cache=True)
def _jump(now, before, weight, i, j, edge, excess, dark):  # type: ignore[no-untyped-def]
    """In standard deviations."""
    light, cells = window(now, i, j, edge)
    was = window(before, i, j, edge)[0]
    dark_variance, background = dark
    variance = excess * (max(light, 0.0) + max(was, 0.0) * weight) + (1 + weight) * cells * dark_variance
    of_objects = max(was - cells * background, 0.0)
    return (light - was) / math.sqrt(variance + (FLICKER * of_objects) ** 2 + (LAMP * was) ** 2 + 1.0)


@njit(nogil=True, cache=True)
def jumps(now, before, weight, excess, dark, out):  # type: ignore[no-untyped-def]
    """out (h - 1, w - 1): evidence that light jumped up in each narrow window, standard deviations.

    ``now``, ``before``: ``add_up`` of this frame's cells and of the mean of earlier ones, whose noise has ``weight``
    times the variance; excess: F² of the camera; dark: variance of a cell's read noise, light of an empty cell.
    """
    height, width = out.shape
    for i in range(height):
        for j in range(width):
            near = _jump(now, before, weight, i, j, NARROW, excess, dark)
            for edge in range(NARROW + 2, WIDE + 1, 2):
                if near > LEAST_JUMP:
                    near = min(near, _jump(now, before, weight, i, j, edge, excess, dark))
            out[i, j] = near


@njit(nogil=True, cache=True)
def highest(evidence, out):  # type: ignore[no-untyped-def]
    """Local maxima above ``LEAST_JUMP``: row, column, height into out (K, 3); how many."""
    height, width = evidence.shape
    count = 0
    for i in range(height):
        for j in range(width):
            value = evidence[i, j]
            if value <= LEAST_JUMP or count == len(out):
                continue
            top = True
            for k in range(max(i - _APART, 0), min(i + _APART + 1, height)):
                for m in range(max(j - _APART, 0), min(j + _APART + 1, width)):
                    if evidence[k, m] > value or (evidence[k, m] == value and (k, m) < (i, j)):
                        top = False
            if top:
                out[count, 0], out[count, 1], out[count, 2] = i, j, value
                count += 1
    return count

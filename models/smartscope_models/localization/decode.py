"""From a localising network's maps to molecules: pixels that speak of the same molecule are one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float32]
FAINT = 0.02
"""Pixels of a lower probability take no part."""
SEED = 0.05
"""The likeliest pixel of a molecule has at least this."""
MERGE_PX = 1.0
"""Neighbours that point to places closer than this speak of one molecule."""


@njit(nogil=True, cache=True)
def merged(maps, threshold, seeds, taken, out):  # type: ignore[no-untyped-def]
    """Molecules whose probability adds up to ``threshold``; how many, at most len(out).

    maps (8 or 10, H, W) as of ``training.localizer.heads_of``; seeds (K,) flat indices, the likeliest first;
    taken (H, W) bool, work; out (N, 11): x, y, log photons, z, their errors, background, probability, pixels.
    """
    height, width = maps.shape[1:]
    deep = maps.shape[0] == 10
    found = 0
    for k in range(len(seeds)):
        row, column = seeds[k] // width, seeds[k] % width
        if taken[row, column]:
            continue
        x0, y0 = column + maps[1, row, column], row + maps[2, row, column]
        total = 0.0
        for _ in range(2):  # where they point together, then who points there
            total, x, y, n, z, b = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for i in range(max(row - 2, 0), min(row + 3, height)):
                for j in range(max(column - 2, 0), min(column + 3, width)):
                    p = maps[0, i, j]
                    px, py = j + maps[1, i, j], i + maps[2, i, j]
                    if taken[i, j] or p < FAINT or (px - x0) ** 2 + (py - y0) ** 2 > MERGE_PX**2:
                        continue
                    total += p
                    x, y, n, b = x + p * px, y + p * py, n + p * maps[3, i, j], b + p * maps[7, i, j]
                    if deep:
                        z += p * maps[8, i, j]
            if total <= 0.0:
                break
            x0, y0, n0, z0, b0 = x / total, y / total, n / total, z / total, b / total
        if total <= 0.0:
            continue
        vx, vy, vn, vz, pixels = 0.0, 0.0, 0.0, 0.0, 0
        for i in range(max(row - 2, 0), min(row + 3, height)):
            for j in range(max(column - 2, 0), min(column + 3, width)):
                p = maps[0, i, j]
                px, py = j + maps[1, i, j], i + maps[2, i, j]
                if taken[i, j] or p < FAINT or (px - x0) ** 2 + (py - y0) ** 2 > MERGE_PX**2:
                    continue
                taken[i, j] = True
                pixels += 1
                vx += p * (maps[4, i, j] ** 2 + (px - x0) ** 2)
                vy += p * (maps[5, i, j] ** 2 + (py - y0) ** 2)
                vn += p * (maps[6, i, j] ** 2 + (maps[3, i, j] - n0) ** 2)
                if deep:
                    vz += p * (maps[9, i, j] ** 2 + (maps[8, i, j] - z0) ** 2)
        taken[row, column] = True
        if total < threshold or found == len(out):
            continue
        row_out = out[found]
        row_out[0], row_out[1], row_out[2], row_out[3] = x0, y0, n0, z0
        row_out[4], row_out[5] = math.sqrt(vx / total), math.sqrt(vy / total)
        row_out[6], row_out[7] = math.sqrt(vn / total), math.sqrt(vz / total)
        row_out[8], row_out[9], row_out[10] = b0, total, pixels
        found += 1
    return found


def molecules_in(maps: Floats, threshold: float = 0.5, most: int = 4000) -> npt.NDArray[np.float64]:
    """(N, 11) molecules of maps (8 or 10, H, W); columns as of ``merged``."""
    probability = maps[0].reshape(-1)
    seeds = np.flatnonzero(probability > SEED)
    seeds = seeds[np.argsort(-probability[seeds], kind="stable")]
    out = np.empty((min(most, len(seeds)), 11))
    return out[: merged(maps, threshold, seeds, np.zeros(maps.shape[1:], np.bool_), out)]

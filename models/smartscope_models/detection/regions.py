"""From a smooth picture to separate regions: threshold, distance from the edge, flooding that parts touching ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Floats = npt.NDArray[np.float32]
BINS = 256


@njit(nogil=True, cache=True, fastmath=True)
def reduce(image, offset, gain, factor, out):  # type: ignore[no-untyped-def]
    """out (H // factor, W // factor): mean of (image - offset) · gain over blocks; offset, gain scalars."""
    height, width = out.shape
    scale = gain / np.float32(factor * factor)
    for i in range(height):
        target = out[i]
        target[:] = 0
        for k in range(factor):
            row = image[i * factor + k]
            for j in range(width):
                total = np.float32(0)
                for m in range(factor):
                    total += np.float32(row[j * factor + m])
                target[j] += total
        for j in range(width):
            target[j] = (target[j] - offset * factor * factor) * scale


def otsu(image: Floats) -> float:
    """Level that parts the grey values best into two classes; Otsu, IEEE TSMC 9:62 (1979)."""
    counts, edges = np.histogram(image, BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    weight = below * (below[-1] - below)
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = weight * (sums / below - (sums[-1] - sums) / (below[-1] - below)) ** 2
    return float(edges[1 + int(np.argmax(np.nan_to_num(between)))])


@njit(nogil=True, cache=True)
def distances(mask, out):  # type: ignore[no-untyped-def]
    """out (H, W): chamfer distance (Borgefors, CVGIP 34:344, 1986; 3-4) to the nearest pixel outside, in pixels.

    Pixels beyond the frame count as inside, so that an object cut by the edge is as deep as a whole one.
    """
    height, width = mask.shape
    far = np.float32(3 * (height + width))
    straight, diagonal = np.float32(3), np.float32(4)
    for i in range(height):
        for j in range(width):
            best = far if mask[i, j] else np.float32(0)
            if best > 0 and j > 0:
                best = min(best, out[i, j - 1] + straight)
            if best > 0 and i > 0:
                best = min(best, out[i - 1, j] + straight)
                if j > 0:
                    best = min(best, out[i - 1, j - 1] + diagonal)
                if j + 1 < width:
                    best = min(best, out[i - 1, j + 1] + diagonal)
            out[i, j] = best
    for i in range(height - 1, -1, -1):
        for j in range(width - 1, -1, -1):
            best = out[i, j]
            if j + 1 < width:
                best = min(best, out[i, j + 1] + straight)
            if i + 1 < height:
                best = min(best, out[i + 1, j] + straight)
                if j > 0:
                    best = min(best, out[i + 1, j - 1] + diagonal)
                if j + 1 < width:
                    best = min(best, out[i + 1, j + 1] + diagonal)
            out[i, j] = best
    out /= straight


@njit(nogil=True, cache=True)
def fill_hollows(picture, mask, out):  # type: ignore[no-untyped-def]
    """out (H, W): ``picture`` with dark parts that are enclosed filled up to the lowest way out of the mask.

    A dark nucleus vanishes, the valley between two cells stays (it is open at its ends). Reconstruction by erosion
    (Vincent, IEEE TIP 2:176, 1993) by sweeps until nothing changes; beyond the frame there is no way out.
    """
    height, width = mask.shape
    for i in range(height):
        for j in range(width):
            out[i, j] = np.float32(np.inf) if mask[i, j] else picture[i, j]
    changed, forward = True, True
    while changed:
        changed = False
        for a in range(height):
            i = a if forward else height - 1 - a
            for b in range(width):
                j = b if forward else width - 1 - b
                if not mask[i, j]:
                    continue
                way_out = out[i, j]
                if i > 0:
                    way_out = min(way_out, out[i - 1, j])
                if i + 1 < height:
                    way_out = min(way_out, out[i + 1, j])
                if j > 0:
                    way_out = min(way_out, out[i, j - 1])
                if j + 1 < width:
                    way_out = min(way_out, out[i, j + 1])
                level = max(way_out, picture[i, j])
                if level < out[i, j]:
                    out[i, j] = level
                    changed = True
        forward = not forward


@njit(nogil=True, cache=True)
def _root(parent, k):  # type: ignore[no-untyped-def]
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


@njit(nogil=True, cache=True)
def _join_if_shallow(parent, top, a, b, level, neck):  # type: ignore[no-untyped-def]
    """Make basins ``a`` and ``b``, which meet at ``level``, one unless it lies below ``neck`` times the lower top."""
    a, b = _root(parent, a), _root(parent, b)
    low, high = (a, b) if top[a] < top[b] else (b, a)
    if low != high and level >= neck * top[low]:
        parent[low] = high


@njit(nogil=True, cache=True)
def flood(height_map, mask, neck, labels):  # type: ignore[no-untyped-def]
    """Watershed from the tops down; labels (H, W) int32 from 1, 0 outside; returns how many.

    Where two basins meet they become one unless the pass lies below ``neck`` times the lower of the two tops.
    """
    rows, columns = height_map.shape
    flat, inside = height_map.ravel(), np.flatnonzero(mask.ravel())
    order = inside[np.argsort(-flat[inside], kind="mergesort")]
    basin = np.full(rows * columns, -1)
    parent, top = np.empty(len(order), np.int64), np.empty(len(order), np.float32)
    basins = 0
    for pixel in order:
        i, j = pixel // columns, pixel % columns
        uphill, steepest = -1, np.float32(-1)
        for di in range(-1, 2):
            for dj in range(-1, 2):
                if not (0 <= i + di < rows and 0 <= j + dj < columns):
                    continue
                neighbour = pixel + di * columns + dj
                if basin[neighbour] < 0:
                    continue
                if uphill >= 0:
                    _join_if_shallow(parent, top, uphill, basin[neighbour], flat[pixel], neck)
                if flat[neighbour] > steepest:
                    uphill, steepest = basin[neighbour], flat[neighbour]
        if uphill < 0:
            uphill = basins
            parent[basins], top[basins] = basins, flat[pixel]
            basins += 1
        basin[pixel] = uphill
    name = np.zeros(basins, np.int32)
    count = 0
    labels[:] = 0
    for pixel in order:
        root = _root(parent, basin[pixel])
        if name[root] == 0:
            count += 1
            name[root] = count
        labels[pixel // columns, pixel % columns] = name[root]
    return count


@njit(nogil=True, cache=True)
def measure(labels, picture, electrons, floor, fraction, count):  # type: ignore[no-untyped-def]
    """(count, 4): mean x, y, number of pixels, sum of electrons above ``floor``², of the bright part of each region.

    A region's bright part is what lies above ``floor`` + ``fraction`` of the way to the region's mean in ``picture``.
    """
    rows, columns = labels.shape
    level, number = np.zeros(count), np.zeros(count)
    for i in range(rows):
        for j in range(columns):
            k = labels[i, j] - 1
            if k >= 0:
                level[k] += picture[i, j]
                number[k] += 1
    out = np.zeros((count, 4))
    for i in range(rows):
        for j in range(columns):
            k = labels[i, j] - 1
            if k >= 0 and picture[i, j] >= floor + fraction * (level[k] / number[k] - floor):
                out[k, 0] += j
                out[k, 1] += i
                out[k, 2] += 1
                out[k, 3] += electrons[i, j] - floor * floor
    for k in range(count):
        if out[k, 2] > 0:
            out[k, 0] /= out[k, 2]
            out[k, 1] /= out[k, 2]
    return out

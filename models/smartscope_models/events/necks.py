"""Where bright tubes are narrow: passes between bright parts, from a flood that comes down from the tops.

A pass is told by its depth, the light there over the highest of the dimmer of its two sides: 0.6 to 0.9 along a tube,
falling while it constricts, near 0 between two that lie apart. Sides too small to be a piece of an organelle are
no sides, so that grains and noise make no passes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope_models.events.following import Doubles

COLUMNS = ("x", "y", "depth", "one_x", "one_y", "other_x", "other_y")
"""Of a neck: its place, its depth, and a place well inside each of its sides."""
MOST_NECKS = 512


class Basins(NamedTuple):
    """Of each basin (B,): what it has become part of, its pixels, its highest light, and where that is."""

    parent: npt.NDArray[np.int64]
    pixels: Doubles
    high: Doubles
    top: npt.NDArray[np.int64]


@njit(nogil=True, cache=True)
def _root(parent, basin):  # type: ignore[no-untyped-def]
    while parent[basin] != basin:
        parent[basin] = parent[parent[basin]]
        basin = parent[basin]
    return basin


@njit(nogil=True, cache=True)
def _meet(basins, one, other, pixel, level, columns, least, apart, pairs, found, count):  # type: ignore[no-untyped-def]
    """Two basins touch at a pixel: they become one, unless the pass is deep; how many necks there are now."""
    if basins.pixels[one] < basins.pixels[other]:
        one, other = other, one
    depth = 1.0
    if basins.pixels[other] >= least:
        for k in range(count):
            a, b = _root(basins.parent, pairs[k, 0]), _root(basins.parent, pairs[k, 1])
            if (a == one and b == other) or (a == other and b == one):
                return count
        depth = level / min(basins.high[one], basins.high[other])
        if count < len(found):
            pairs[count, 0], pairs[count, 1] = one, other
            found[count, 0], found[count, 1], found[count, 2] = pixel % columns, pixel // columns, depth
            found[count, 3], found[count, 4] = basins.top[one] % columns, basins.top[one] // columns
            found[count, 5], found[count, 6] = basins.top[other] % columns, basins.top[other] // columns
            count += 1
    if depth >= apart:
        basins.parent[other] = one
        basins.pixels[one] += basins.pixels[other]
        basins.high[one] = max(basins.high[one], basins.high[other])
    return count


@njit(nogil=True, cache=True)
def flood_necks(light, floor, least, apart, labels, found):  # type: ignore[no-untyped-def]
    """Flood ``light`` (H, W), background taken off, down to ``floor``; how many necks were written to found (K, 7).

    ``least``: pixels of a side; ``apart``: depth below which the sides are two. labels (H, W) int32: objects from 1.
    """
    rows, columns = light.shape
    flat = light.ravel()
    inside = np.flatnonzero(flat > floor)
    order = inside[np.argsort(-flat[inside], kind="mergesort")]
    n = len(order)
    basin = np.full(rows * columns, -1)
    basins = Basins(np.empty(n, np.int64), np.zeros(n), np.zeros(n), np.empty(n, np.int64))
    pairs = np.empty((len(found), 2), np.int64)
    made, count = 0, 0
    for pixel in order:
        i, j = pixel // columns, pixel % columns
        home = -1
        for step in range(8):
            di, dj = (step + (step > 3)) // 3 - 1, (step + (step > 3)) % 3 - 1
            if not (0 <= i + di < rows and 0 <= j + dj < columns):
                continue
            neighbour = basin[pixel + di * columns + dj]
            if neighbour < 0:
                continue
            near = _root(basins.parent, neighbour)
            if home >= 0 and near != home:
                count = _meet(basins, home, near, pixel, flat[pixel], columns, least, apart, pairs, found, count)
                home = _root(basins.parent, home)
            elif home < 0:
                home = near
        if home < 0:
            home, made = made, made + 1
            basins.parent[home], basins.top[home], basins.high[home] = home, pixel, flat[pixel]
        basin[pixel] = home
        basins.pixels[home] += 1
    _name(basins, basin, order, made, columns, least, labels)
    return count


@njit(nogil=True, cache=True)
def _name(basins, basin, order, made, columns, least, labels):  # type: ignore[no-untyped-def]
    """Number the objects that are large enough."""
    name = np.zeros(made, np.int32)
    labels[:] = 0
    count = 0
    for pixel in order:
        root = _root(basins.parent, basin[pixel])
        if basins.pixels[root] < least:
            continue
        if name[root] == 0:
            count += 1
            name[root] = count
        labels[pixel // columns, pixel % columns] = name[root]

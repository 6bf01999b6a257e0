"""Star-convex shapes: distances along rays from labels, and labels from the surest shapes, none of which overlap."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from .star_network import GRID, RAYS

Floats = npt.NDArray[np.float32]
SURE = 0.5
COVERED = 0.4
"""Part of a shape that surer ones have taken above which it is left out; StarDist's default threshold is alike."""


@njit(cache=True)  # type: ignore[untyped-decorator]
def rays_of(labels, grid, rays):  # type: ignore[no-untyped-def]
    """(rays, H / grid, W / grid) float32: how far, in pixels, each point's label goes on in each direction."""
    height, width = labels.shape
    out = np.zeros((rays, height // grid, width // grid), np.float32)
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            name = labels[i * grid, j * grid]
            if name == 0:
                continue
            for k in range(rays):
                dx, dy = math.cos(2 * math.pi * k / rays), math.sin(2 * math.pi * k / rays)
                far = 0.0
                while True:
                    far += 1.0
                    y, x = round(i * grid + far * dy), round(j * grid + far * dx)
                    if y < 0 or x < 0 or y >= height or x >= width or labels[y, x] != name:
                        break
                out[k, i, j] = far - 0.5
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def _paint(chance, rays, order, grid, sure, covered, labels):  # type: ignore[no-untyped-def]
    number, size = len(rays), labels.shape
    count = 0
    for cell in order:
        i, j = cell // chance.shape[1], cell % chance.shape[1]
        if chance[i, j] < sure:
            break
        if labels[min(i * grid, size[0] - 1), min(j * grid, size[1] - 1)]:
            continue
        reach = int(rays[:, i, j].max()) + 1
        for turn in range(2):
            inside, taken = 0, 0
            for y in range(max(i * grid - reach, 0), min(i * grid + reach + 1, size[0])):
                for x in range(max(j * grid - reach, 0), min(j * grid + reach + 1, size[1])):
                    dy, dx = y - i * grid, x - j * grid
                    angle = math.atan2(dy, dx) / (2 * math.pi) * number % number
                    low = int(angle) % number
                    part = angle - int(angle)
                    edge = rays[low, i, j] * (1 - part) + rays[(low + 1) % number, i, j] * part
                    if math.hypot(dx, dy) > edge:
                        continue
                    if turn and labels[y, x] == 0:
                        labels[y, x] = count
                    inside += 1
                    taken += labels[y, x] > 0
            if turn == 0:
                if inside == 0 or taken > covered * inside:
                    break
                count += 1
    return count


def labels_of(chance: Floats, rays: Floats, shape: tuple[int, int]) -> npt.NDArray[np.int32]:
    """(H, W) from probabilities (h, w) and distances (RAYS, h, w)."""
    labels = np.zeros(shape, np.int32)
    rows, columns = -(-shape[0] // GRID), -(-shape[1] // GRID)
    chance, rays = np.ascontiguousarray(chance[:rows, :columns]), np.ascontiguousarray(rays[:RAYS, :rows, :columns])
    _paint(chance, rays, np.argsort(-chance.ravel(), kind="stable"), GRID, SURE, COVERED, labels)
    return labels

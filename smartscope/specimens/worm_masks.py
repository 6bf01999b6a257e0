"""Only this file knows which pixels a worm-like tube covers."""

from __future__ import annotations

import math
from typing import Any

from numba import njit


@njit(nogil=True, cache=True)
def label_worms(
    labels: Any, nearest: Any, pixels: Any, count: Any, radius_px: Any, ids: Any
) -> None:  # fmt: skip
    """Write to ``labels`` (H, W) who covers the centre of each pixel, the nearest one if several.

    ``pixels`` (N, NODES, 2): nodes, of which ``count`` (N,) count; ``radius_px`` (N, NODES): half the tube's width.
    ``nearest`` (H, W), ones before: distance from the middle line over the radius.
    """
    height, width = labels.shape
    for n in range(count.size):
        for i in range(count[n] - 1):
            x, y = pixels[n, i, 0], pixels[n, i, 1]
            dx, dy = pixels[n, i + 1, 0] - x, pixels[n, i + 1, 1] - y
            square = max(dx * dx + dy * dy, 1e-12)
            reach = max(radius_px[n, i], radius_px[n, i + 1])
            top, bottom = math.ceil(min(y, y + dy) - reach), math.floor(max(y, y + dy) + reach)
            left, right = math.ceil(min(x, x + dx) - reach), math.floor(max(x, x + dx) + reach)
            for row in range(max(top, 0), min(bottom, height - 1) + 1):
                for column in range(max(left, 0), min(right, width - 1) + 1):
                    along = min(max(((column - x) * dx + (row - y) * dy) / square, 0.0), 1.0)
                    radius = radius_px[n, i] + along * (radius_px[n, i + 1] - radius_px[n, i])
                    away = math.hypot(column - x - along * dx, row - y - along * dy) / max(radius, 1e-9)
                    if away < nearest[row, column]:
                        nearest[row, column] = away
                        labels[row, column] = ids[n]

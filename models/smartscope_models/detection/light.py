"""What the detecting network is shown: light over its background, in units of noise, its range pressed together.

Noise-stabilised light less the background, y, as asinh(y / SOFT): near the background noise stays what it is, and a
nucleus a hundred times brighter than its noise does not outshine a dim one.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from smartscope_models.calibration import Floats
from smartscope_models.localization.sight import BLOCK_PX

SOFT = 4.0
"""Standard deviations of the noise above which the range is pressed together."""
QUIETEST = 0.2
"""Part of a block's pixels, and of the blocks, below the background that is taken off."""
BELOW = 0.84
"""How far that quantile lies below the mean of noise of standard deviation 1."""


def background_of(stable: Floats) -> float:
    """Stabilised background of a frame (H, W): that of its darker blocks, so that cells may fill most of it."""
    rows, columns = (edge // BLOCK_PX for edge in stable.shape)
    if not rows or not columns:
        return float(np.quantile(stable, QUIETEST)) + BELOW
    # every second row of every second block is enough, and takes a quarter of the time
    shown = stable[: rows * BLOCK_PX, : columns * BLOCK_PX].reshape(rows, BLOCK_PX, columns, BLOCK_PX)
    some = shown[:, ::2].transpose(0, 2, 1, 3).reshape(rows * columns, -1)
    some = some[:: 1 + len(some) // 2048]
    quiet = np.partition(some, round(QUIETEST * some.shape[1]), axis=1)[:, round(QUIETEST * some.shape[1])]
    return float(np.quantile(quiet, QUIETEST)) + BELOW


@njit(nogil=True, cache=True, fastmath=True)
def _cells_of(stable, level, out):  # type: ignore[no-untyped-def]
    height, width = stable.shape
    part = np.float32(1 / SOFT)
    for i in range(out.shape[1] * 2):
        source = stable[i if i < height else max(2 * height - 1 - i, 0)]
        for half in range(2):
            target = out[2 * (i % 2) + half, i // 2]
            for j in range(len(target)):
                column = 2 * j + half
                if column >= width:
                    column = max(2 * width - 1 - column, 0)
                y = abs(source[column] - level) * part
                pressed = np.log(y + np.sqrt(y * y + np.float32(1)))
                target[j] = pressed if source[column] >= level else -pressed


def cells_of(stable: Floats, level: float, out: Floats) -> None:
    """Fill ``out`` (4, h, w) with a frame (H, W), 2h >= H and 2w >= W, mirrored beyond its lower and right edge."""
    _cells_of(stable, np.float32(level), out)

"""Only this file knows how to blur an image widely at a cost that does not depend on the width."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

_PASSES = 3


@njit(nogil=True, cache=True)
def _box_rows(source: Any, target: Any, radius: int) -> None:
    """Running mean over 2 radius + 1 pixels along each row, written transposed; zero beyond the edges."""
    height, width = source.shape
    weight = 1.0 / (2 * radius + 1)
    for row in range(height):
        total = 0.0
        for column in range(min(radius, width)):
            total += source[row, column]
        for column in range(width):
            if column + radius < width:
                total += source[row, column + radius]
            if column - radius - 1 >= 0:
                total -= source[row, column - radius - 1]
            target[column, row] = total * weight


def blurred(image: npt.NDArray[np.float32], sigma_px: float) -> npt.NDArray[np.float32]:
    """``image`` (H, W) after three box blurs of together ``sigma_px``: within 3 % of a Gaussian blur.

    Kovesi, Fast almost-Gaussian filtering (DICTA 2010). Light leaving the image is lost.
    """
    radii = _radii(sigma_px)
    for radius in radii:
        across = np.empty(image.shape[::-1], np.float32)
        _box_rows(image, across, radius)
        image = np.empty(across.shape[::-1], np.float32)
        _box_rows(across, image, radius)
    return image


def _radii(sigma_px: float) -> list[int]:
    """Radii of the boxes whose variances, ((2 r + 1)^2 - 1) / 12, add up to the one wanted as nearly as possible."""
    width = math.sqrt(12 * sigma_px * sigma_px / _PASSES + 1)
    small = max(0, math.floor((width - 1) / 2))
    low, high = 2 * small + 1, 2 * small + 3
    target = 12 * sigma_px * sigma_px
    many = round((_PASSES * (high * high - 1) - target) / (high * high - low * low))
    return [small] * many + [small + 1] * (_PASSES - many)

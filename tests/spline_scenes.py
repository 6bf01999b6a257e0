"""Frames of lone molecules under an astigmatic lens, for tests and figures of fits in three dimensions."""

from __future__ import annotations

import math

import numpy as np

from smartscope.optics.point_spread.astigmatic import Astigmatism
from smartscope.optics.point_spread.gaussian import gaussian_spots
from smartscope.optics.point_spread.spline import SplinePointSpread

LENS = Astigmatism(1.3, 250, 400)
HEIGHTS = np.linspace(-700, 700, 29)
PITCH = 27
READ_E = 1.4
SPLINE = SplinePointSpread.through(
    gaussian_spots(12.0, 12.0, *LENS.widths_px(HEIGHTS), (25, 25)).values, low_nm=-700, step_nm=50, pixel_size_nm=100
)


def scene(
    count: int, photons: float, background: float, seed: int, spline: SplinePointSpread | None = SPLINE
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A frame of lone molecules on a grid: light, read variance, places to start from, truth (count, 5)."""
    rng = np.random.default_rng(seed)
    side = math.isqrt(count)
    rows, columns = np.divmod(np.arange(side * side), side)
    x, y = PITCH // 2 + rng.uniform(-0.5, 0.5, (2, side * side))
    z = rng.uniform(-500, 500, side * side)
    grid = (PITCH, PITCH)
    spots = spline.spots(x, y, z, grid).values if spline else gaussian_spots(x, y, *LENS.widths_px(z), grid).values
    mean = photons * spots.reshape(side, side, PITCH, PITCH).swapaxes(1, 2).reshape(side * PITCH, -1) + background
    light = (rng.poisson(mean) + rng.normal(0, READ_E, mean.shape)).astype(np.float32)
    x, y = x + PITCH * columns, y + PITCH * rows
    truth = np.stack([x, y, np.full_like(x, photons), np.full_like(x, background), z], axis=1)
    return light, np.full_like(light, READ_E**2), truth[:, :2] + rng.uniform(-0.7, 0.7, (len(x), 2)), truth

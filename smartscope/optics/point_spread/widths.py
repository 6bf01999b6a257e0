"""Only this file knows how wide a measured spot is: the Gaussian that a fit of molecules would take it for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from smartscope.optics.point_spread.gaussian import gaussian_spots

Doubles = npt.NDArray[np.float64]
BACKGROUND = 0.1
"""Of a typical molecule, over its brightest pixel: tells how much the faint outskirts of a spot count."""
BOUNDS = (0.3, 8.0)
"""Pixels."""


def gaussian_widths(planes: npt.ArrayLike) -> tuple[Doubles, Doubles]:
    """Widths (Z,) along x and y, pixels, of the spot in the middle of each of ``planes`` (Z, H, W).

    Square roots are compared, which weighs each pixel by its Poisson noise (Anscombe 1948).
    """
    values = np.asarray(planes, float)
    shape = values.shape[1:]
    peak = values.max()
    middle = [(n - 1) / 2 for n in shape[::-1]]
    at, found = np.array([*middle, 1.5, 1.5, values[0].sum(), 0.0]), []
    low = [0.0, 0.0, BOUNDS[0], BOUNDS[0], 0.0, -0.05 * peak]
    high = [shape[1], shape[0], BOUNDS[1], BOUNDS[1], np.inf, np.inf]
    scale = np.array([1.0, 1.0, 1.0, 1.0, max(values.sum(axis=(1, 2)).max(), 1e-12), peak])
    for plane in values:
        measured = np.sqrt(np.maximum(plane + BACKGROUND * peak, 0.0))

        def left(p: Doubles, measured: Doubles = measured) -> Doubles:
            model = p[4] * gaussian_spots(p[0], p[1], p[2], p[3], shape).values[0] + p[5] + BACKGROUND * peak
            return np.asarray((np.sqrt(np.maximum(model, 0.0)) - measured).ravel() / np.sqrt(peak))

        at[4] = max(plane.sum(), 1e-6 * scale[4])
        at = least_squares(left, np.clip(at, low, high), x_scale=scale, bounds=(low, high)).x
        found.append(at[2:4])
    across, down = np.transpose(found)
    return across, down

"""Only this file knows how the light of a Gaussian spot in each pixel changes with its place and its widths.

Smith, Joseph, Rieger, Lidke, Nature Methods 7 (2010) 373, equations 4 and 5 and their derivatives: light in a pixel is
a product of two differences of normal distributions, one per axis. To paint spots into a picture: ``optics.psf``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GaussianSpots:
    """N spots of unit light, alone on a grid each; all arrays (N, H, W) float64, slopes per pixel."""

    values: Doubles
    """Part of the light in each pixel."""
    by_x: Doubles
    by_y: Doubles
    by_sigma_x: Doubles
    by_sigma_y: Doubles


@dataclass(frozen=True, slots=True)
class _Profile:
    """Light between the edges of each column or row, (N, size)."""

    values: Doubles
    by_place: Doubles
    by_sigma: Doubles


def gaussian_spots(
    x_px: npt.ArrayLike,
    y_px: npt.ArrayLike,
    sigma_x_px: npt.ArrayLike,
    sigma_y_px: npt.ArrayLike,
    shape: tuple[int, int],
) -> GaussianSpots:
    """Spots on grids of ``shape`` (H, W); places and widths (N,) or one for all, pixels.

    The centre of the top-left pixel is (0, 0).
    """
    x, y, sigma_x, sigma_y = np.broadcast_arrays(*np.atleast_1d(x_px, y_px, sigma_x_px, sigma_y_px))
    along, down = _profile(x, sigma_x, shape[1]), _profile(y, sigma_y, shape[0])
    return GaussianSpots(
        values=_product(down.values, along.values),
        by_x=_product(down.values, along.by_place),
        by_y=_product(down.by_place, along.values),
        by_sigma_x=_product(down.values, along.by_sigma),
        by_sigma_y=_product(down.by_sigma, along.values),
    )


def _profile(place_px: Doubles, sigma_px: Doubles, size: int) -> _Profile:
    """From the normal distribution P and its density p at the pixels' edges e: P' = p and (with e / sigma) e p."""
    edges = (np.arange(size + 1) - 0.5 - place_px[:, None]) / sigma_px[:, None]
    density = np.exp(-0.5 * edges**2) / (math.sqrt(2 * math.pi) * sigma_px[:, None])
    return _Profile(np.diff(ndtr(edges)), -np.diff(density), -np.diff(edges * density))


def _product(down: Doubles, along: Doubles) -> Doubles:
    return down[:, :, None] * along[:, None, :]

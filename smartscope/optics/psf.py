"""Only this file knows how wide a point of light becomes in the image, and how it spreads over pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

GAUSSIAN_WIDTH = 0.21
"""Standard deviation of the Gaussian that fits the in-focus PSF best, in units of lambda / NA."""
_REACH = 4.5
"""Stamps end so many sigmas from their centre: less than 2e-5 of the light is cut off."""


def sigma_um(emission_nm: float, numerical_aperture: float) -> float:
    """Standard deviation of the Gaussian that fits the in-focus PSF best, 0.21 lambda / NA.

    Zhang, Zerubia, Olivo-Marin, Applied Optics 46 (2007) 1819: least-squares fit to the wide-field PSF.
    """
    return GAUSSIAN_WIDTH * emission_nm * 1e-3 / numerical_aperture


def depth_um(emission_nm: float, numerical_aperture: float, refractive_index: float) -> float:
    """Defocus at which the PSF is sqrt(2) times wider: the Rayleigh range 4 pi n sigma^2 / lambda of that Gaussian.

    Saleh, Teich, Fundamentals of Photonics, chapter 3, with beam waist w = 2 sigma (intensity).
    """
    waist = sigma_um(emission_nm, numerical_aperture)
    return 4 * math.pi * refractive_index * waist * waist / (emission_nm * 1e-3)


def defocused_sigma_um(
    sigma_um: float, depth_um: float, defocus_um: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Standard deviation of each spot (N,) out of focus, sigma sqrt(1 + (z / depth)^2) (Gaussian beam)."""
    return np.asarray(sigma_um * np.hypot(1.0, defocus_um / depth_um))


@njit(nogil=True, cache=True)
def _edge(distance: float, scale: float) -> float:
    """Part of a Gaussian below ``distance``; ``scale`` is 1 / (sqrt(2) sigma)."""
    return 0.5 * math.erf(distance * scale)


@njit(nogil=True, cache=True)
def add_elliptical_stamps(image: Any, x_px: Any, y_px: Any, sigma_x_px: Any, sigma_y_px: Any, amount: Any) -> None:
    """Add upright elliptical Gaussian spots, integrated over each pixel, to ``image`` (H, W) float32.

    ``x_px``, ``y_px``, ``sigma_x_px``, ``sigma_y_px``, ``amount`` are (N,); the centre of the top-left pixel is (0, 0);
    spots may lie beyond the image, then their part inside is added. An amount inside sums to itself within 2e-5.
    """
    height, width = image.shape
    columns = np.empty(width)
    for spot in range(x_px.size):
        x, y, sigma_x, sigma_y = x_px[spot], y_px[spot], sigma_x_px[spot], sigma_y_px[spot]
        reach_x, reach_y = _REACH * sigma_x + 0.5, _REACH * sigma_y + 0.5
        left, right = max(0, math.ceil(x - reach_x)), min(width - 1, math.floor(x + reach_x))
        top, bottom = max(0, math.ceil(y - reach_y)), min(height - 1, math.floor(y + reach_y))
        if left > right or top > bottom:
            continue
        scale_x, scale_y = 1.0 / (math.sqrt(2.0) * sigma_x), 1.0 / (math.sqrt(2.0) * sigma_y)
        before = _edge(left - 0.5 - x, scale_x)
        for column in range(left, right + 1):
            after = _edge(column + 0.5 - x, scale_x)
            columns[column] = after - before
            before = after
        above = _edge(top - 0.5 - y, scale_y)
        for row in range(top, bottom + 1):
            below = _edge(row + 0.5 - y, scale_y)
            down = amount[spot] * (below - above)
            above = below
            for column in range(left, right + 1):
                image[row, column] += down * columns[column]


@njit(nogil=True, cache=True)
def add_stamps(image: Any, x_px: Any, y_px: Any, sigma_px: Any, amount: Any) -> None:
    """Add round Gaussian spots, integrated over each pixel, to ``image`` (H, W) float32; see ``add_elliptical_stamps``.

    ``x_px``, ``y_px``, ``sigma_px``, ``amount`` are (N,).
    """
    add_elliptical_stamps(image, x_px, y_px, sigma_px, sigma_px, amount)

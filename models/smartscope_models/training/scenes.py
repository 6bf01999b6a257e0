"""From structures to what a perfect camera would see: movement, haze, defocus, diffraction and uneven illumination."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import fft

from smartscope_models.training.structures import FIELD_STRUCTURES, POINT_STRUCTURES, Doubles, Points

OVERSAMPLING = 2
"""Points are put on a grid so many times finer than the camera's."""
FRAMES = 3
BORDER_PX = 16
"""Left out around a scene: light that wraps round in the Fourier transform."""
SHARES = {
    "filaments": 0.34,
    "puncta": 0.12,
    "vesicles": 0.06,
    "tubules": 0.12,
    "cells": 0.14,
    "tissue": 0.07,
    "membranes": 0.05,
    "networks": 0.10,
}
"""How often each structure is the first of a scene that is not empty."""
BRIGHTEST = 8.0
"""Largest value in a scene so sparse that its brightest thousandth is dark."""
APERTURES = (0.7, 1.49)
EMISSIONS_NM = (450.0, 700.0)
PIXELS_NM = (40.0, 160.0)
EMPTY_SHARE = 0.15
STILL_SHARE = 0.35


@dataclass(frozen=True, slots=True)
class Scene:
    """Three frames of one specimen, brightest places about 1, darkest about 0, without background."""

    frames: npt.NDArray[np.float32]
    """(FRAMES, H, W), oldest first."""
    psf_sigma_px: float
    empty: bool


@njit(nogil=True, cache=True)
def splat(x, y, amount, image):  # type: ignore[no-untyped-def]
    """Add points (N,) to ``image`` (n, n), shared among the four nearest pixels; what lies outside is left out."""
    n = image.shape[0]
    for k in range(len(x)):
        i, j = int(np.floor(y[k])), int(np.floor(x[k]))
        if 0 <= i < n - 1 and 0 <= j < n - 1:
            v, u = y[k] - i, x[k] - j
            image[i, j] += amount[k] * (1 - v) * (1 - u)
            image[i, j + 1] += amount[k] * (1 - v) * u
            image[i + 1, j] += amount[k] * v * (1 - u)
            image[i + 1, j + 1] += amount[k] * v * u


def draw_scene(seed: tuple[int, ...], size: int) -> Scene:
    """One scene of (FRAMES, size, size); the same seed gives the same scene on one machine and version."""
    rng = np.random.default_rng(seed)
    full = size + 2 * BORDER_PX
    transfer, sigma_px = _transfer(full, rng)
    if rng.random() < EMPTY_SHARE:
        return Scene(np.zeros((FRAMES, size, size), np.float32), sigma_px, empty=True)
    speed = 0.0 if rng.random() < STILL_SHARE else float(np.exp(rng.uniform(np.log(0.05), np.log(3.0))))
    layers = 1 + int(rng.random() < 0.45) + int(rng.random() < 0.2)
    total = np.zeros((FRAMES, full, full))
    for _ in range(layers):
        layer = _layer(full, rng, speed, transfer)
        total += layer / max(np.percentile(layer[0], 99.9), 1e-9) * rng.uniform(0.2, 1.0)
    inner = total[:, BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
    bright = max(np.percentile(inner[-1], 99.9), inner.max() / BRIGHTEST, 1e-9)
    inner = np.clip(inner / bright, 0, None)
    return Scene(inner.astype(np.float32), sigma_px, empty=False)


def _layer(full: int, rng: np.random.Generator, speed: float, transfer: Doubles) -> Doubles:
    """(FRAMES, full, full): one structure through the optics, with haze where it is thick."""
    name = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    fine = full * OVERSAMPLING
    if name in POINT_STRUCTURES:
        drawn = _moving_points(POINT_STRUCTURES[name](full, rng), fine, speed, rng)
    else:
        drawn = _moving_field(FIELD_STRUCTURES[name](fine, rng), speed, rng)
    haze = rng.uniform(0.1, 0.8) if rng.random() < 0.35 else 0.0
    spectrum = fft.rfft2(drawn)
    response = transfer * ((1 - haze) + haze * _gaussian(fine, OVERSAMPLING * np.exp(rng.uniform(1.2, 3.2))))
    seen = fft.irfft2(spectrum * response, s=(fine, fine))
    return np.asarray(seen.reshape(FRAMES, full, OVERSAMPLING, full, OVERSAMPLING).sum((2, 4)))


def _moving_points(points: Points, fine: int, speed: float, rng: np.random.Generator) -> Doubles:
    """(FRAMES, fine, fine); every owner goes its own straight way, ``speed`` px a frame give or take."""
    owners = int(points.owner.max(initial=0)) + 1
    heading = rng.uniform(0, 2 * np.pi, owners)
    step = (speed * rng.uniform(0.3, 1.7, owners))[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    image = np.zeros((FRAMES, fine, fine))
    for k in range(FRAMES):
        xy = (points.xy_px + (k - FRAMES + 1) * step[points.owner] + 0.5) * OVERSAMPLING - 0.5
        splat(xy[:, 0], xy[:, 1], points.amount, image[k])
    return image


def _moving_field(field: Doubles, speed: float, rng: np.random.Generator) -> Doubles:
    """(FRAMES, n, n): the whole field drifts; it is periodic."""
    n = len(field)
    heading, spectrum = rng.uniform(0, 2 * np.pi), fft.rfft2(field)
    along = np.cos(heading) * fft.rfftfreq(n)[None] + np.sin(heading) * fft.fftfreq(n)[:, None]
    phases = [np.exp(-2j * np.pi * along * (k - FRAMES + 1) * speed * OVERSAMPLING) for k in range(FRAMES)]
    moved = fft.irfft2(np.stack([spectrum * phase for phase in phases]), s=(n, n))
    return np.asarray(moved.clip(0))


def _transfer(full: int, rng: np.random.Generator) -> tuple[Doubles, float]:
    """Optical transfer function on the fine grid, and the width of its PSF in camera pixels.

    Widefield OTF (Goodman, Fourier Optics, section 6.3) of cut-off 2 NA p / λ; a Gaussian factor stands for aberration,
    vibration and the confocal pinhole.
    """
    aperture, emission_nm, pixel_nm = (float(rng.uniform(*span)) for span in (APERTURES, EMISSIONS_NM, PIXELS_NM))
    cutoff = min(2 * aperture * pixel_nm / emission_nm, 0.5 * OVERSAMPLING)
    fine = full * OVERSAMPLING
    frequency = OVERSAMPLING * np.hypot(fft.fftfreq(fine)[:, None], fft.rfftfreq(fine)[None])
    s = np.minimum(frequency / cutoff, 1.0)
    otf = 2 / np.pi * (np.arccos(s) - s * np.sqrt(1 - s * s))
    sigma_px = 0.42 / cutoff  # 0.21 λ / NA
    if rng.random() < 0.5:
        extra_px = sigma_px * rng.uniform(0.1, 0.8)
        otf = otf * np.exp(-2 * (np.pi * extra_px * frequency) ** 2)
        sigma_px = float(np.hypot(sigma_px, extra_px))
    return otf, sigma_px


def _gaussian(fine: int, sigma: float) -> Doubles:
    frequency = np.hypot(fft.fftfreq(fine)[:, None], fft.rfftfreq(fine)[None])
    return np.asarray(np.exp(-2 * (np.pi * sigma * frequency) ** 2))

"""Frames of single molecules with known truth, drawn by a code path of their own: plain numpy, whole frame."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf

SIGMA = 1.3
READ_E = 1.4


def share(pixels: np.ndarray, centre: np.ndarray, sigma: np.ndarray | float) -> np.ndarray:
    """(K, P): light of a 1-D Gaussian at each centre (K,) that falls into pixels (P,), whose centres are integers."""
    width = np.broadcast_to(np.asarray(sigma, float), centre.shape)[:, None] * math.sqrt(2)
    apart = pixels[None] - centre[:, None]
    part: np.ndarray = 0.5 * (erf((apart + 0.5) / width) - erf((apart - 0.5) / width))
    return part


def light(
    shape: tuple[int, int], x: np.ndarray, y: np.ndarray, photons: np.ndarray | float, background: float,
    sigma_x: np.ndarray | float = SIGMA, sigma_y: np.ndarray | float | None = None,
) -> np.ndarray:  # fmt: skip
    """(H, W) mean photo-electrons."""
    across = share(np.arange(shape[1]), x, sigma_x)
    down = share(np.arange(shape[0]), y, sigma_x if sigma_y is None else sigma_y)
    bright = np.broadcast_to(np.asarray(photons, float), x.shape)
    total: np.ndarray = (down * bright[:, None]).T @ across + background
    return total


def exposed(
    mean: np.ndarray, seed: int, read_e: float | np.ndarray = READ_E, *, multiplied: bool = False
) -> np.ndarray:
    """(H, W) float32 photo-electrons as a camera sees them; ``multiplied``: through a long multiplication register."""
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(mean).astype(float)
    if multiplied:
        electrons = rng.gamma(np.maximum(electrons, 1e-9), 1.0)
    noisy: np.ndarray = (electrons + rng.normal(0, 1, mean.shape) * read_e).astype(np.float32)
    return noisy


def lattice(per_side: int, pitch: int, seed: int) -> tuple[tuple[int, int], np.ndarray]:
    """Shape of a frame and (K, 2) places in it, apart, anywhere in their middle pixels."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(per_side)] * 2), -1).reshape(-1, 2) * pitch + pitch // 2
    return (per_side * pitch, per_side * pitch), grid + rng.uniform(-0.5, 0.5, grid.shape)


def scattered(density_per_px2: float, size: int, seed: int, rim: float = 4.0) -> np.ndarray:
    """(K, 2) places at random, some outside the frame."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(density_per_px2 * (size + 2 * rim) ** 2)
    places: np.ndarray = rng.uniform(-0.5 - rim, size - 0.5 + rim, (count, 2))
    return places


def bound(
    photons: float, background: float, sigma: float = SIGMA, read_e: float = READ_E, radius: int = 6
) -> np.ndarray:
    """(4,) Cramér-Rao errors of x, y, N, b for a spot in the middle of a pixel, by numerical derivatives."""
    start, size = np.array([radius, radius, photons, background], float), 2 * radius + 1

    def mean(f: np.ndarray) -> np.ndarray:
        return light((size, size), f[:1], f[1:2], f[2], f[3], sigma)

    steps = np.array([1e-4, 1e-4, 1e-2, 1e-4])
    slopes = [(mean(start + step) - mean(start - step)) / (2 * step.sum()) for step in np.diag(steps)]
    weight = 1 / (mean(start) + read_e**2)
    fisher = np.array([[(a * b * weight).sum() for a in slopes] for b in slopes])
    errors: np.ndarray = np.sqrt(np.diag(np.linalg.inv(fisher)))
    return errors

"""Only this file knows how light lies within nuclei and cells, at rest and in mitosis, on a disc of radius 1."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

TILE = 64
REACH = 1.06
"""Half the edge of a tile, in radii: it ends in darkness, also where it is interpolated."""

Tiles = npt.NDArray[np.float32]
"""(tiles, 2, TILE, TILE): at rest and in mitosis; each sums to one over the disc of area pi."""
Field = npt.NDArray[np.float64]


def chromatin(tiles: int, rng: np.random.Generator) -> Tiles:
    """Nuclei: a lens of blotchy chromatin with a few dark nucleoli; in mitosis condensed threads without them."""
    return np.stack([_tile(_nucleus(rng), _threads(rng)) for _ in range(tiles)])


def cytoplasm(tiles: int, rng: np.random.Generator) -> Tiles:
    """Cells: thin at the rim, thick around a dark nucleus, organelles between; in mitosis a smooth ball."""
    return np.stack([_tile(_spread_cell(rng), _ball(rng)) for _ in range(tiles)])


def _tile(rest: Field, mitosis: Field) -> Tiles:
    pixel_area = (2 * REACH / (TILE - 1)) ** 2
    return np.stack([layer / (layer.sum() * pixel_area) for layer in (rest, mitosis)]).astype(np.float32)


def _grid() -> tuple[Field, Field, Field]:
    """x, y and the distance from the centre."""
    at = np.linspace(-REACH, REACH, TILE)
    x, y = np.meshgrid(at, at)
    return x, y, np.hypot(x, y)


def _noise(scale: float, rng: np.random.Generator) -> Field:
    """Gaussian random field of unit variance, correlated over ``scale`` radii."""
    frequency = np.fft.fftfreq(TILE, 2 * REACH / (TILE - 1))
    square = frequency[:, None] ** 2 + frequency[None, : TILE // 2 + 1] ** 2
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE))) * np.exp(-2 * (math.pi * scale) ** 2 * square)
    field = np.fft.irfft2(spectrum, (TILE, TILE))
    return np.asarray(field / field.std())


def _lens(power: float) -> Field:
    """Thickness of a flattened body: 1 in the middle, 0 at the rim."""
    return np.asarray(np.sqrt(np.clip(1 - _grid()[2] ** power, 0, None)))


def _holes(field: Field, holes: int, size: tuple[float, float], depth: float, rng: np.random.Generator) -> None:
    """Darken round places, each by up to ``depth``."""
    x, y, _ = _grid()
    for _ in range(holes):
        radius, angle = 0.6 * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
        from_hole = np.hypot(x - radius * math.cos(angle), y - radius * math.sin(angle)) / rng.uniform(*size)
        field *= 1 - depth / (1 + np.exp(6 * (from_hole - 1)))


def _nucleus(rng: np.random.Generator) -> Field:
    field = _lens(5) * np.exp(0.16 * _noise(0.16, rng) + 0.16 * _noise(0.05, rng))
    _holes(field, int(rng.integers(2, 5)), (0.12, 0.24), 0.55, rng)
    return field


def _threads(rng: np.random.Generator) -> Field:
    return np.asarray(_lens(3) * np.exp(0.22 * _noise(0.08, rng)))


def _spread_cell(rng: np.random.Generator) -> Field:
    x, y, distance = _grid()
    network = np.exp(-((_noise(0.09, rng) / 0.2) ** 2))  # level lines of smooth noise look like threads
    thickness = _lens(8) * (0.3 + 0.7 * np.exp(-((distance / 0.55) ** 2)))
    field = thickness * np.exp(0.15 * _noise(0.12, rng)) * (0.8 + 0.5 * network)
    from_nucleus = np.hypot((x + 0.12) / 1.1, y / 0.9) / 0.36  # it lies a little behind the middle
    return np.asarray(field * (1 - 0.6 / (1 + np.exp(14 * (from_nucleus - 1)))))


def _ball(rng: np.random.Generator) -> Field:
    return np.asarray(_lens(2) * np.exp(0.08 * _noise(0.08, rng)))

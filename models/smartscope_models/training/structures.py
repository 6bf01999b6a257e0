"""What fluorescent things look like before the optics: points of light in groups that move together, and fields.

Coordinates are camera pixels, the top-left one has its centre at (0, 0). Amounts are relative; a scene is scaled later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Points:
    """Points of light; those of one ``owner`` move together. Columns of length N."""

    xy_px: Doubles
    """(N, 2)"""
    amount: Doubles
    owner: npt.NDArray[np.int64]


def filaments(size: int, rng: np.random.Generator) -> Points:
    """Worm-like chains (microtubules, actin): heading is a random walk with a bend; straight to curly."""
    number = _number(rng, 12, 150, size)
    stiffness = 10 ** rng.uniform(-2.6, -0.9)
    parallel = rng.random() < 0.3
    spread, main = (0.25, rng.uniform(0, np.pi)) if parallel else (np.pi, 0.0)
    parts = []
    for _ in range(number):
        steps = int(rng.uniform(0.2, 1.2) * size * 2)
        bend = rng.normal(0, stiffness * 0.15) * np.arange(steps)
        heading = main + rng.uniform(-spread, spread) + np.cumsum(rng.normal(0, stiffness, steps)) + bend
        step = np.stack([np.cos(heading), np.sin(heading)], axis=1)
        xy = rng.uniform(-0.2 * size, 1.2 * size, 2) + 0.5 * np.cumsum(step, axis=0)
        parts.append((xy, np.full(steps, rng.uniform(0.2, 1.0))))
    return _joined(parts)


def puncta(size: int, rng: np.random.Generator) -> Points:
    """Point emitters, brightness log-uniform over up to two decades, sometimes in clusters."""
    number = _number(rng, 60, 2500, size)
    amount = 10 ** rng.uniform(-rng.uniform(0.3, 2.0), 0, number)
    if rng.random() < 0.3:
        centres = rng.uniform(0, size, (max(1, number // 12), 2))
        xy = centres[rng.integers(len(centres), size=number)] + rng.normal(0, rng.uniform(2, 12), (number, 2))
    else:
        xy = rng.uniform(-4, size + 4, (number, 2))
    return Points(xy, 6.0 * amount, np.arange(number))


def vesicles(size: int, rng: np.random.Generator) -> Points:
    """Rings and filled discs of 1.5 to 14 px radius."""
    parts = []
    largest = rng.uniform(3, 14)
    for _ in range(_number(rng, 15, 300, size)):
        radius, brightness = rng.uniform(1.5, largest), rng.uniform(0.2, 1.0)
        angle = rng.uniform(0, 2 * np.pi, int(25 * radius))
        reach = radius * np.sqrt(rng.random(len(angle))) if rng.random() < 0.4 else radius
        squeeze = rng.uniform(0.7, 1.0)
        xy = rng.uniform(-10, size + 10, 2) + np.stack([reach * np.cos(angle), squeeze * reach * np.sin(angle)], axis=1)
        parts.append((xy, np.full(len(angle), 0.3 * brightness)))
    return _joined(parts)


def tubules(size: int, rng: np.random.Generator) -> Points:
    """Thick curly threads (mitochondria, reticulum): chains with a width of 0.7 to 3 px, beaded or smooth."""
    parts = []
    width = rng.uniform(0.7, 3.0)
    for _ in range(_number(rng, 20, 250, size)):
        steps = int(rng.uniform(15, 160) * 4)
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.02, 0.12), steps))
        xy = np.cumsum(0.25 * np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
        bead = 1 + 0.6 * rng.random() * np.sin(np.arange(steps) * rng.uniform(0.02, 0.2))
        amount = np.repeat(bead * rng.uniform(0.2, 1.0) / 3, 3)
        xy = np.repeat(xy, 3, axis=0) + rng.normal(0, width, (3 * steps, 2))
        parts.append((xy + rng.uniform(-20, size + 20, 2), amount))
    return _joined(parts)


def cells(size: int, rng: np.random.Generator) -> Points:
    """Bodies with a wavy outline, smooth texture, sometimes a rim and a nucleus, bright or dark."""
    parts = []
    radius_px = 10 ** rng.uniform(0.8, 1.7)
    crowding = rng.uniform(0.05, 0.9)
    count = int(np.clip(crowding * size**2 / (np.pi * radius_px**2), 2, 400))
    rim, nucleus, grain = rng.uniform(0, 1.5) * (rng.random() < 0.5), rng.uniform(0.2, 2.5), rng.uniform(0, 0.6)
    pitch = 0.5 if radius_px < 24 else 0.75
    for _ in range(count):
        a, b = radius_px * rng.uniform(0.7, 1.3, 2)
        grid = np.arange(-1.25 * max(a, b), 1.25 * max(a, b), pitch)
        u, v = (axis.ravel() for axis in np.meshgrid(grid, grid))
        angle = np.arctan2(v, u)
        waves = 1 + sum(rng.normal(0, 0.06) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in range(2, 6))
        radius = np.hypot(u / a, v / b) / waves
        u, v, radius = u[radius < 1], v[radius < 1], radius[radius < 1]
        scale = rng.uniform(0.1, 0.9)
        texture = sum(
            np.cos(rng.normal(0, scale) * u + rng.normal(0, scale) * v + rng.uniform(0, 6.3)) for _ in range(8)
        )
        amount = np.clip(0.5 + grain * texture / 2, 0.02, None) * np.where(radius < 0.45, nucleus, 1.0)
        amount = (amount + rim * (radius > 0.92)) * (pitch**2 * rng.uniform(0.2, 1.0))
        turn = rng.uniform(0, 2 * np.pi)
        xy = np.stack([u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)], axis=1)
        parts.append((xy + rng.uniform(-0.05 * size, 1.05 * size, 2), amount))
    return _joined(parts)


def tissue(size: int, rng: np.random.Generator) -> Doubles:
    """(size, size) texture with a power spectrum falling as a power of frequency, from smooth to sharply contrasted."""
    field = _random_field(size, rng, rng.uniform(1.0, 2.2))
    return np.asarray(np.exp(rng.uniform(0.4, 1.6) * field))


def membranes(size: int, rng: np.random.Generator) -> Doubles:
    """(size, size) sheets seen edge on: level sets of a smooth random field."""
    field = _band_field(size, rng, rng.uniform(12, 90))
    slope = np.hypot(*np.gradient(field)) + 1e-3
    width = rng.uniform(0.5, 1.5)
    brightness = 0.3 + 0.7 / (1 + np.exp(-2 * _band_field(size, rng, 50.0)))
    return np.asarray(np.exp(-0.5 * (field / (slope * width)) ** 2) * brightness)


def networks(size: int, rng: np.random.Generator) -> Doubles:
    """(size, size) patches and holes: a smooth random field above a threshold, with a fine texture inside."""
    field = _band_field(size, rng, rng.uniform(6, 80))
    inside = 1 / (1 + np.exp(-(field - rng.uniform(-0.5, 1.2)) * rng.uniform(3, 30)))
    texture = np.exp(rng.uniform(0, 0.9) * _random_field(size, rng, rng.uniform(0.6, 1.8)))
    return np.asarray(inside * texture)


POINT_STRUCTURES: dict[str, Callable[[int, np.random.Generator], Points]] = {
    "filaments": filaments,
    "puncta": puncta,
    "vesicles": vesicles,
    "tubules": tubules,
    "cells": cells,
}
FIELD_STRUCTURES: dict[str, Callable[[int, np.random.Generator], Doubles]] = {
    "tissue": tissue,
    "membranes": membranes,
    "networks": networks,
}


def _number(rng: np.random.Generator, low: float, high: float, size: int) -> int:
    """Log-uniform number of objects; ``low`` and ``high`` are for a field of 512 x 512."""
    return max(2, round(float(np.exp(rng.uniform(np.log(low), np.log(high)))) * (size / 512) ** 2))


def _joined(parts: list[tuple[Doubles, Doubles]]) -> Points:
    owner = np.repeat(np.arange(len(parts)), [len(amount) for _, amount in parts])
    return Points(np.concatenate([xy for xy, _ in parts]), np.concatenate([a for _, a in parts]), owner)


def _spectrum(size: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.complex128], Doubles]:
    noise = np.fft.rfft2(rng.normal(size=(size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    return noise, frequency


def _normal(spectrum: npt.NDArray[np.complex128], size: int) -> Doubles:
    field = np.fft.irfft2(spectrum, s=(size, size))
    return np.asarray((field - field.mean()) / (field.std() + 1e-12))


def _random_field(size: int, rng: np.random.Generator, power: float) -> Doubles:
    """Zero mean, unit variance, amplitude spectrum ~ frequency^-power."""
    noise, frequency = _spectrum(size, rng)
    return _normal(noise * np.maximum(frequency, 1 / size) ** -power, size)


def _band_field(size: int, rng: np.random.Generator, length_px: float) -> Doubles:
    """Zero mean, unit variance, correlated over about ``length_px``."""
    noise, frequency = _spectrum(size, rng)
    return _normal(noise * np.exp(-0.5 * (frequency * length_px) ** 2), size)

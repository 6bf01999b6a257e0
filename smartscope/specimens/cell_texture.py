"""Only this file knows what a fluorescent cell looks like: a grainy body with organelles, a darker nucleus, a haze."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope.optics.blur import blurred
from smartscope.specimens.cell_motion import NUCLEUS_RADIUS, NUCLEUS_SHIFT, outline

GRID_UM = 0.2
"""Pitch of a texture; the camera's pixels are interpolated from it."""
MAX_BLUR_UM = 4.0
_REACH = 1.35
"""Textures end so many radii from the centre, plus ``_HAZE_REACH_UM``."""
_HAZE_REACH_UM = 4.0
_HAZE = 0.12
_HAZE_UM = 1.8
"""Light from above and below the focal plane: strength and width."""

Texture = npt.NDArray[np.float32]
"""(T, T), odd T, centred on the cell; about 1 where the cell is thick."""


def half_um(radius_um: float) -> float:
    """Half the edge of a cell's texture."""
    return GRID_UM * math.ceil((_REACH * radius_um + _HAZE_REACH_UM) / GRID_UM)


def grain(radius_um: float, rng: np.random.Generator) -> Texture:
    """What is individual about a cell's body: fine grain times a network of organelles."""
    size = 2 * round(half_um(radius_um) / GRID_UM) + 1
    coarse = _smooth_noise(size, 1.2, rng)
    fine = _smooth_noise(size, 0.25, rng)
    network = np.exp(-((_smooth_noise(size, 0.7, rng) / 0.16) ** 2))  # level lines of smooth noise look like threads
    body = np.exp(0.22 * coarse + 0.12 * fine) * (0.8 + 0.55 * network)
    return np.asarray(body, np.float32)


def _smooth_noise(size: int, scale_um: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Gaussian random field (size, size) of unit variance, correlated over about ``scale_um``."""
    frequency = np.fft.fftfreq(size, GRID_UM)
    square = frequency[:, None] ** 2 + np.fft.rfftfreq(size, GRID_UM)[None] ** 2
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * np.exp(-2 * (math.pi * scale_um) ** 2 * square)
    field = np.fft.irfft2(spectrum, (size, size))
    return np.asarray(field / field.std())


def painted(body: Texture, radius_um: float, pose: npt.NDArray[np.complex128], blur_um: float) -> Texture:
    """The cell (T, T) with the outline of ``pose``, as it appears when defocus blurs it by ``blur_um``."""
    sharp = np.zeros_like(body)
    _paint(sharp, body, radius_um, pose)
    if blur_um > 0:
        return blurred(sharp, min(blur_um, MAX_BLUR_UM) / GRID_UM)
    haze = blurred(sharp, _HAZE_UM / GRID_UM)
    sharp += _HAZE * haze
    return sharp


@njit(nogil=True, cache=True, inline="always")
def _ramp(value: float) -> float:
    """0 below 0, 1 above 1, smooth between."""
    value = min(max(value, 0.0), 1.0)
    return value * value * (3.0 - 2.0 * value)


@njit(nogil=True, cache=True)
def _paint(target: Any, body: Any, radius_um: float, pose: Any) -> None:
    """Thickness of a flat cell with a dome around the nucleus, times its grain."""
    half = target.shape[0] // 2
    shift = NUCLEUS_SHIFT * radius_um
    for row in range(target.shape[0]):
        for column in range(target.shape[1]):
            x, y = (column - half) * GRID_UM, (row - half) * GRID_UM
            r = max(math.hypot(x, y), 1e-9)
            if r > 1.6 * radius_um:
                continue
            edge = radius_um * outline(pose, x, y, r)
            if r >= edge:
                continue
            # along and across the direction of crawling, from the centre of the nucleus
            along = x * pose[0].real + y * pose[0].imag - shift
            across = y * pose[0].real - x * pose[0].imag
            from_nucleus = math.hypot(along / 1.12, across / 0.9) / (NUCLEUS_RADIUS * radius_um)
            dome = math.exp(-0.5 * (from_nucleus / 1.35) ** 2)
            rim = 0.10 * math.exp(-(((edge - r) / 0.5) ** 2)) if along > 0.0 else 0.0
            thickness = (0.30 + 0.70 * dome + rim) * _ramp((edge - r) / 0.7)
            nucleus = 1.0 - 0.62 * _ramp((1.12 - from_nucleus) / 0.2)
            target[row, column] = thickness * nucleus * body[row, column]


def mixed(before: Texture, after: Texture, weight: float, factor: float) -> Texture:
    """``before`` faded into ``after`` by ``weight`` in [0, 1], times ``factor``."""
    out = np.multiply(before, np.float32(factor * (1 - weight)))
    out += np.float32(factor * weight) * after
    return out


@njit(nogil=True, cache=True)
def add_texture(image: Any, texture: Any, x_um: float, y_um: float, affine: Any, box: Any) -> None:
    """Add ``texture`` to the pixels of ``image`` within ``box`` (left, top, right, bottom), bilinearly interpolated.

    (x_um, y_um): the place of pixel (0, 0) relative to the texture's centre; ``affine`` (2, 2): um per pixel.
    """
    last = texture.shape[0] - 1
    scale = 1.0 / GRID_UM
    for row in range(box[1], box[3]):
        for column in range(box[0], box[2]):
            u = (x_um + affine[0, 0] * column + affine[0, 1] * row) * scale + 0.5 * last
            v = (y_um + affine[1, 0] * column + affine[1, 1] * row) * scale + 0.5 * last
            if u < 0.0 or v < 0.0 or u >= last or v >= last:
                continue
            i, j = int(v), int(u)
            fy, fx = v - i, u - j
            above = texture[i, j] + fx * (texture[i, j + 1] - texture[i, j])
            below = texture[i + 1, j] + fx * (texture[i + 1, j + 1] - texture[i + 1, j])
            image[row, column] += above + fy * (below - above)

"""Only this file knows how textured bodies of any outline become a picture, and which pixels each of them covers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope.specimens.body_textures import REACH, TILE, Tiles
from smartscope.specimens.protocol import Points, View

Doubles = npt.NDArray[np.float64]
_RIM = 0.97
"""Where a body ends for its mask, in radii: beyond that it is too thin to be seen."""
_DARK = 1.1
"""Squared distance, in radii, beyond which tiles are dark."""
_SIGMAS = 4.5
"""Bodies beyond the picture are painted so far, for the light that blurs into it."""


@dataclass(frozen=True, slots=True)
class Bodies:
    """How N bodies lie and look at one moment: ellipses, bent, with a wavy outline; all of these keep their area."""

    xy_um: Points
    half_um: Doubles
    """(N, 2) half axes along and across ``heading``."""
    heading: Doubles
    bend: Doubles
    """How far the ends lie off to the left, over the second half axis."""
    waves: npt.NDArray[np.complex128]
    """(N, 3) harmonics 2 to 4 of the outline, relative to its radius."""
    condensed: Doubles
    """0: the texture of rest, 1: that of mitosis."""
    tile: npt.NDArray[np.int64]
    """(N, 2) of rest and of mitosis."""
    molecules: Doubles

    def radius_um(self) -> Doubles:
        """Of the disc of the same area, as masks have it."""
        return np.asarray(_RIM * np.sqrt(self.half_um.prod(axis=1) * _swelling(self.waves)))

    def reach_um(self) -> Doubles:
        """All of a body lies so near to its centre."""
        long, short = self.half_um.max(axis=1), self.half_um[:, 1]
        return np.asarray((long + np.abs(self.bend) * short) * (1 + np.abs(self.waves).sum(axis=1)))


def _swelling(waves: npt.NDArray[np.complex128]) -> Doubles:
    """How much larger waves make the area: the mean of (1 + h)^2 over all directions."""
    return np.asarray(1 + 0.5 * (np.abs(waves) ** 2).sum(axis=1))


def paint(
    expected: npt.NDArray[np.float32],
    view: View,
    bodies: Bodies,
    tiles: Tiles,
    electrons: npt.NDArray[np.float64],
    sigma_px: float,
) -> None:
    """Add bodies with ``electrons`` (N,) each to ``expected`` (H, W), blurred by ``sigma_px``."""
    margin = math.ceil(_SIGMAS * sigma_px) + 1
    height, width = expected.shape
    sharp = np.zeros((height + 2 * margin, width + 2 * margin), np.float32)
    shift, first = np.array([margin, margin]), np.array([-margin, -margin])
    corner_um, affine = _corner(view, first), np.asarray(view.affine_um_per_px)
    scale = electrons * view.pixel_um**2 / (bodies.half_um.prod(axis=1) * _swelling(bodies.waves))
    boxes = _boxes(view, bodies, shift, sharp.shape)
    _paint(sharp, boxes, bodies.xy_um, bodies.half_um, bodies.heading, bodies.bend, bodies.waves, bodies.condensed,
           bodies.tile, scale, tiles, corner_um, affine)  # fmt: skip
    taps = np.exp(-0.5 * (np.arange(-margin, margin + 1) / max(sigma_px, 1e-3)) ** 2)
    _blur_into(expected, sharp, (taps / taps.sum()).astype(np.float32))


def label(view: View, bodies: Bodies, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """(H, W) the number of the body that covers each pixel's centre, the one deepest within it if several; 0: none."""
    labels = np.zeros((view.roi.height, view.roi.width), np.int32)
    nearest = np.full(labels.shape, _RIM)
    boxes = _boxes(view, bodies, np.zeros(2), labels.shape)
    _label(labels, nearest, boxes, ids, bodies.xy_um, bodies.half_um, bodies.heading, bodies.bend, bodies.waves,
           _corner(view, np.zeros(2)), np.asarray(view.affine_um_per_px))  # fmt: skip
    return labels


def _corner(view: View, pixel: npt.NDArray[Any]) -> Doubles:
    """Place of a pixel of the ROI, um."""
    affine = np.asarray(view.affine_um_per_px)
    return np.asarray(np.asarray(view.stage_um) + affine @ (pixel - np.asarray(view.centre_px())))


def _boxes(view: View, bodies: Bodies, shift: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """(N, 4) left, top, right, bottom (exclusive) of each body in a picture displaced by ``shift``; dark ones empty."""
    reach_um = bodies.reach_um()
    reach = np.abs(np.linalg.inv(np.asarray(view.affine_um_per_px))).sum(axis=1) * reach_um[:, None]
    pixels = view.to_pixels(bodies.xy_um) + shift
    first = np.maximum(np.floor(pixels - reach), 0)
    last = np.minimum(np.ceil(pixels + reach) + 1, shape[::-1])
    last[~view.lit(bodies.xy_um, reach_um)] = 0
    return np.concatenate([first, last], axis=1).astype(np.int64)


@njit(nogil=True, cache=True, inline="always")
def _within(dx: float, dy: float, cosine: float, sine: float, a: float, b: float, bend: float, waves: Any) -> Any:
    """Coordinates (u, v) on the unit disc of a place relative to the body's centre; beyond 2 if far outside."""
    u = (dx * cosine + dy * sine) / a
    v = (dy * cosine - dx * sine) / b - bend * (u * u - 0.25)
    square = u * u + v * v
    if square > 2.25 or square < 1e-12:
        return u, v, square
    z2 = complex(u * u - v * v, 2.0 * u * v) / square
    z = complex(u, v) / math.sqrt(square)
    radius = 1.0 + (waves[0] * z2 + waves[1] * z2 * z + waves[2] * z2 * z2).real
    return u / radius, v / radius, square / (radius * radius)


@njit(nogil=True, cache=True)
def _paint(
    image: Any, boxes: Any, xy: Any, half: Any, heading: Any, bend: Any, waves: Any, condensed: Any, tile: Any,
    scale: Any, tiles: Any, corner: Any, affine: Any,
) -> None:  # fmt: skip
    to_tile = 0.5 * (TILE - 1) / REACH
    mixed = np.empty((TILE, TILE), np.float32)
    for n in range(scale.size):
        left, top, right, bottom = boxes[n, 0], boxes[n, 1], boxes[n, 2], boxes[n, 3]
        if left >= right or top >= bottom:
            continue
        share = np.float32(condensed[n])
        for i in range(TILE):
            for j in range(TILE):
                rest, mitosis = tiles[tile[n, 0], 0, i, j], tiles[tile[n, 1], 1, i, j]
                mixed[i, j] = np.float32(scale[n]) * (rest + share * (mitosis - rest))
        cosine, sine = math.cos(heading[n]), math.sin(heading[n])
        for row in range(top, bottom):
            for column in range(left, right):
                dx = corner[0] + affine[0, 0] * column + affine[0, 1] * row - xy[n, 0]
                dy = corner[1] + affine[1, 0] * column + affine[1, 1] * row - xy[n, 1]
                u, v, square = _within(dx, dy, cosine, sine, half[n, 0], half[n, 1], bend[n], waves[n])
                if square >= _DARK:
                    continue
                s, t = np.float32((u + REACH) * to_tile), np.float32((v + REACH) * to_tile)
                j, i = int(s), int(t)
                fx, fy = s - np.float32(j), t - np.float32(i)
                above = mixed[i, j] + fx * (mixed[i, j + 1] - mixed[i, j])
                below = mixed[i + 1, j] + fx * (mixed[i + 1, j + 1] - mixed[i + 1, j])
                image[row, column] += above + fy * (below - above)


@njit(nogil=True, cache=True)
def _label(
    labels: Any, nearest: Any, boxes: Any, ids: Any, xy: Any, half: Any, heading: Any, bend: Any, waves: Any,
    corner: Any, affine: Any,
) -> None:  # fmt: skip
    for n in range(ids.size):
        cosine, sine = math.cos(heading[n]), math.sin(heading[n])
        for row in range(boxes[n, 1], boxes[n, 3]):
            for column in range(boxes[n, 0], boxes[n, 2]):
                dx = corner[0] + affine[0, 0] * column + affine[0, 1] * row - xy[n, 0]
                dy = corner[1] + affine[1, 0] * column + affine[1, 1] * row - xy[n, 1]
                _, _, square = _within(dx, dy, cosine, sine, half[n, 0], half[n, 1], bend[n], waves[n])
                if math.sqrt(square) < nearest[row, column]:
                    nearest[row, column] = math.sqrt(square)
                    labels[row, column] = ids[n]


@njit(nogil=True, cache=True, fastmath=True)
def _blur_into(expected: Any, sharp: Any, taps: Any) -> None:
    """Add ``sharp`` (H + 2 m, W + 2 m), blurred along both axes by 2 m + 1 taps, to ``expected`` (H, W)."""
    height, width = expected.shape
    across = np.empty((sharp.shape[0], width), np.float32)
    for row in range(sharp.shape[0]):
        across[row] = 0.0
        for tap in range(taps.size):
            for column in range(width):
                across[row, column] += taps[tap] * sharp[row, column + tap]
    for row in range(height):
        for tap in range(taps.size):
            for column in range(width):
                expected[row, column] += taps[tap] * across[row + tap, column]

"""Whole objects to learn from: light and outlines of nuclei and organelles that move, divide and fuse; real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, zoom

from smartscope.errors import InputError
from smartscope_models.training.blobs import Blobs, Labels, centres, drawn, scattered
from smartscope_models.training.structures import Doubles

LARGEST, SMALLEST = 45.0, 3.5
"""Radii, pixels."""
ROUND_FROM_PX = 14.0
"""Larger objects are nuclei; smaller ones are nuclei or organelles."""
SEEN_PX2 = 12
"""Objects of fewer pixels in the crop are none."""
ZOOMS = (0.5, 2.5)
"""Of real images."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Two frames of objects, before noise; lengths in pixels from the centre of the top-left pixel."""

    light: npt.NDArray[np.float32]
    """(2, S, S), the earlier first; about 0 to 1."""
    labels: Labels
    """(S, S) of the newest frame, 1 + row of ``objects``."""
    objects: Doubles
    """(E, 8) as of ``answer.COLUMNS`` without probability: place, log radius, motion, events."""
    followed: npt.NDArray[np.bool_]
    """(E,) whether the motion is known."""


def draw_nuclei(size: int, rng: np.random.Generator) -> Scene:
    """A crop of S pixels."""
    radius = math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST)))
    organelles = radius < ROUND_FROM_PX and rng.random() < 0.5
    now = scattered(radius, size, rng)
    if organelles:
        now = replace(now, long=np.minimum(now.long * rng.uniform(1, 2.5), 4.0))
    common = rng.normal(0, rng.uniform(0, 3), 2)
    back = (common + rng.normal(0, rng.uniform(0.0, 0.2) * radius, (len(now), 2))).clip(-12, 12)
    now, before, back, events = _with_events(now, back, organelles, rng)
    labels, depth = drawn(now, size)
    earlier = drawn(before, size)
    style = _Style.draw(radius, rng)
    light = np.stack([style.light(*earlier, before, 1), style.light(labels, depth, now, 0)])
    return _scene(light, labels, np.concatenate([back, events], axis=1), np.ones(len(now), np.bool_))


def _with_events(
    now: Blobs, back: Doubles, organelles: bool, rng: np.random.Generator
) -> tuple[Blobs, Blobs, Doubles, Doubles]:
    """Objects now and before, how they moved back (N, 2), and what happened to them (N, 3)."""
    number = len(now)
    events = np.zeros((number, 3))
    parted = rng.random(number) < rng.choice([0.0, 0.1, 0.3])
    gone = rng.random(number) < 0.02
    calm = ~parted
    before = now.where(calm & ~gone).moved(back[calm & ~gone])
    mothers = now.where(parted)
    pairs, away = _halves(mothers, organelles, rng)
    kind = 1 if organelles else 0
    if organelles and rng.random() < 0.5:  # they fuse: two before, one now
        events[parted, 1] = 1
        return now, before.and_(pairs.moved(np.repeat(back[parted], 2, axis=0))), back, events
    later, told = now.where(calm).and_(pairs), np.zeros((int(2 * parted.sum()), 3))
    told[:, kind] = 1
    home = np.repeat(back[parted], 2, axis=0)
    before = before.and_(mothers.moved(back[parted]))
    return later, before, np.concatenate([back[calm], home - away]), np.concatenate([events[calm], told])


def _halves(mothers: Blobs, organelles: bool, rng: np.random.Generator) -> tuple[Blobs, Doubles]:
    """Two of each, and where they lie from its centre (2 N, 2): a rod in two, or the daughters of a nucleus."""
    number = len(mothers)
    apart = rng.uniform(0.5, 0.7, number) * mothers.radius_px
    apart *= np.sqrt(mothers.long) if organelles else rng.uniform(1.0, 2.2)
    axis = np.stack([np.cos(mothers.turn), np.sin(mothers.turn)], axis=1)
    if not organelles:  # daughters lie across: each is long at right angles to the way they part
        axis = np.stack([-axis[:, 1], axis[:, 0]], axis=1)
    away = np.stack([axis * apart[:, None], -axis * apart[:, None]], axis=1).reshape(-1, 2)
    twice = Blobs(*(np.repeat(getattr(mothers, name), 2, axis=0) for name in mothers.__slots__))
    long = np.maximum(twice.long / 2, 1.0) if organelles else twice.long * rng.uniform(1.0, 1.6)
    bright = twice.brightness * (1.0 if organelles else rng.uniform(0.8, 1.6))
    halves = replace(twice, radius_px=twice.radius_px * 0.7, long=long.clip(1, 4), brightness=bright)
    return halves.moved(away), away


@dataclass(frozen=True, slots=True)
class _Style:
    """How a crop's objects look."""

    dome: float
    texture: float
    grain: int
    holes: float
    hole_grain: int
    blur_px: float
    haze: float
    radius_px: float
    corner: tuple[int, int]

    @classmethod
    def draw(cls, radius_px: float, rng: np.random.Generator) -> _Style:
        corner = (int(rng.integers(FIELD_PX)), int(rng.integers(FIELD_PX)))
        return cls(
            dome=float(rng.uniform(0.0, 0.8)),
            texture=float(rng.uniform(0.0, 0.6)),
            grain=int(rng.integers(len(GRAINS_PX))),
            holes=float(rng.uniform(0.0, 0.9)) if radius_px > 8 and rng.random() < 0.5 else 0.0,
            hole_grain=int(np.argmin(np.abs(np.log(GRAINS_PX) - math.log(radius_px * rng.uniform(0.08, 0.25))))),
            blur_px=float(rng.uniform(0.6, min(1.0 + 0.12 * radius_px, 3.5))),
            haze=float(rng.uniform(0.0, 0.35)) if rng.random() < 0.5 else 0.0,
            radius_px=radius_px,
            corner=corner,
        )

    def light(self, labels: Labels, depth: npt.NDArray[np.float32], blobs: Blobs, back: int) -> npt.NDArray[np.float32]:
        """(S, S), about 0 to 1; the texture of the frame before is nearly that of this one."""
        size = len(labels)
        bright = np.concatenate([[0.0], blobs.brightness.clip(0.2, 4)]).astype(np.float32)[labels]
        light = bright * np.power(depth, np.float32(self.dome), where=labels > 0, out=np.zeros_like(depth))
        rough = _cut(self.grain, self.corner, size)
        light *= np.exp(np.float32(self.texture) * rough)
        if self.holes:
            wide = _cut(self.hole_grain, (self.corner[1] + back, self.corner[0]), size)
            light *= 1 - np.float32(self.holes) * (wide > 1.3)
        soft = np.asarray(gaussian_filter(light, self.blur_px, truncate=2.5), np.float32)
        if self.haze:
            few = soft[::4, ::4]
            wide = zoom(gaussian_filter(few, self.radius_px / 4 + 1, truncate=2.0), size / len(few), order=1)
            soft += np.float32(self.haze) * wide[:size, :size]
        return soft


FIELD_PX = 512
GRAINS_PX = (1.0, 2.0, 3.5, 6.0, 10.0)


@cache
def _field(grain: int) -> npt.NDArray[np.float32]:
    """Smooth noise of standard deviation 1 that repeats at its edges; the same in every process."""
    noise = np.random.default_rng(grain).normal(0, 1, (FIELD_PX, FIELD_PX)).astype(np.float32)
    smooth = gaussian_filter(noise, GRAINS_PX[grain], mode="wrap")
    return np.asarray(smooth / smooth.std(), np.float32)


def _cut(grain: int, corner: tuple[int, int], size: int) -> npt.NDArray[np.float32]:
    rows, columns = (np.arange(begin, begin + size) % FIELD_PX for begin in corner)
    return _field(grain)[rows[:, None], columns]


def _scene(light: npt.NDArray[np.float32], labels: Labels, told: Doubles, followed: npt.NDArray[np.bool_]) -> Scene:
    """With places and sizes as they are seen: of the part of each object that lies in the crop and is not covered."""
    seen = centres(labels, len(told))
    kept = seen[:, 2] >= SEEN_PX2
    names = np.zeros(len(told) + 1, np.int32)
    names[1:][kept] = 1 + np.arange(int(kept.sum()))
    radius = np.sqrt(np.maximum(seen[:, 2:], 1) / math.pi)
    objects = np.concatenate([seen[:, :2], np.log(radius), told], axis=1)[kept]
    return Scene(light, names[labels], objects, followed[kept])


# ------------------------------------------------------------------------------------------------ real images


class RealNuclei:
    """Images and label maps of a file; a crop is scaled, turned, mirrored and moved between its two frames."""

    def __init__(self, path: Path) -> None:
        """An .npz with ``images`` (N, H, W) and ``labels`` (N, H, W).

        Raises:
            InputError: no such file, or not these arrays.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                self._images, self._labels = file["images"], file["labels"].astype(np.int32)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"is no file of nuclei: {error}",
                where=str(path),
                allowed=".npz with images and labels, both (N, H, W)",
                remedy="name another, or leave --images out",
            ) from error
        if self._images.ndim != 3 or self._images.shape != self._labels.shape:
            raise InputError(
                f"images have shape {self._images.shape}, labels {self._labels.shape}",
                where=str(path),
                allowed="both (N, H, W)",
                remedy="name another, or leave --images out",
            )

    def __len__(self) -> int:
        return len(self._images)

    def draw(self, size: int, rng: np.random.Generator) -> Scene:
        """A crop of S pixels."""
        k = int(rng.integers(len(self)))
        # where the crop would be larger than the image, a nucleus and its mirror image would count as one
        least = min(max(ZOOMS[0], (size + 2 * 8 + 2) / min(self._images.shape[1:])), ZOOMS[1])
        factor = math.exp(rng.uniform(math.log(least), math.log(ZOOMS[1])))
        shift = rng.normal(0, rng.uniform(0, 3), 2).round().astype(int).clip(-8, 8)
        edge = math.ceil((size + 2 * 8) / factor) + 1
        top, left = (int(n) for n in rng.integers(0, 2**30, 2))
        image, labels = (_piece(whole[k], edge, top, left) for whole in (self._images, self._labels))
        turns, mirrored = int(rng.integers(4)), bool(rng.random() < 0.5)
        grid = (np.arange(size + 16, dtype=np.float64) + 0.5) / factor - 0.5
        light = _sampled(_turned(image, turns, mirrored).astype(np.float32), grid)
        near = grid.round().astype(int).clip(0, edge - 1)
        whole = _turned(labels, turns, mirrored)[near[:, None], near]
        light = (light - np.quantile(light, 0.02)) / max(float(np.quantile(light, 0.99)) - float(light.min()), 1.0)
        light = np.maximum(light, 0) ** np.float32(rng.uniform(0.7, 1.2))
        earlier = light[8 - shift[1] :, 8 - shift[0] :][:size, :size]
        names, inside = np.unique(whole[8 : 8 + size, 8 : 8 + size], return_inverse=True)
        inside = (inside.reshape(size, size) + (names[0] != 0)).astype(np.int32)
        number = int(inside.max())
        told = np.concatenate([np.tile(shift, (number, 1)), np.zeros((number, 3))], axis=1)
        two = np.stack([earlier, light[8 : 8 + size, 8 : 8 + size]]).astype(np.float32)
        return _scene(two, inside, told, np.ones(number, np.bool_))


def _piece(image: np.ndarray, edge: int, top: int, left: int) -> np.ndarray:
    """(edge, edge) from anywhere in (H, W), mirrored where that is too small."""
    rows, columns = (
        np.pad(np.arange(n), (0, max(edge - n, 0)), mode="symmetric")[begin % max(n - edge + 1, 1) :][:edge]
        for n, begin in zip(image.shape, (top, left), strict=True)
    )
    piece: np.ndarray = image[rows[:, None], columns]
    return piece


def _turned(image: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    turned: np.ndarray = np.rot90(image, turns)
    return turned[:, ::-1] if mirrored else turned


def _sampled(image: npt.NDArray[np.float32], grid: Doubles) -> npt.NDArray[np.float32]:
    """(S, S) by straight lines between pixels, at ``grid`` (S,) along both axes."""
    low = np.floor(grid).astype(int).clip(0, len(image) - 2)
    part = (grid - low).clip(0, 1).astype(np.float32)
    rows = image[low] * (1 - part[:, None]) + image[low + 1] * part[:, None]
    return np.asarray(rows[:, low] * (1 - part) + rows[:, low + 1] * part, np.float32)

"""Outlines of nuclei, cells and organelles: round or long, bent, touching, never overlapping; drawn as label maps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope_models.training.structures import Doubles

WAVES = 4
"""Harmonics of an outline."""
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Blobs:
    """Outlines r(θ) = radius · √(a cos² + sin² / a) … about centres; columns of length N."""

    xy_px: Doubles
    """(N, 2)"""
    radius_px: Doubles
    """Of the disc of about the same area."""
    long: Doubles
    """Length over width, 1 to 4."""
    turn: Doubles
    """Direction of the length, radians."""
    waves: Doubles
    """(N, 2, WAVES) cosines and sines that the outline has beside."""
    brightness: Doubles

    def __len__(self) -> int:
        return len(self.radius_px)

    def where(self, kept: npt.NDArray[np.bool_]) -> Blobs:
        """Some of them."""
        return Blobs(*(getattr(self, name)[kept] for name in self.__slots__))

    def and_(self, others: Blobs) -> Blobs:
        """All together."""
        return Blobs(*(np.concatenate([getattr(self, name), getattr(others, name)]) for name in self.__slots__))

    def moved(self, by: Doubles) -> Blobs:
        """Centres shifted by (N, 2)."""
        return replace(self, xy_px=self.xy_px + by)


@njit(nogil=True, cache=True)
def _draw(xy, radius, long, turn, waves, first, labels, depth):  # type: ignore[no-untyped-def]
    """Into labels (S, S) 1 + number, into depth (S, S) how deep in the outline, 0 at its edge; the deeper one holds."""
    size = labels.shape[0]
    for k in range(len(radius)):
        reach = radius[k] * math.sqrt(long[k]) * 1.5 + 1
        cosine, sine = math.cos(turn[k]), math.sin(turn[k])
        for i in range(max(int(xy[k, 1] - reach), 0), min(int(xy[k, 1] + reach) + 2, size)):
            for j in range(max(int(xy[k, 0] - reach), 0), min(int(xy[k, 0] + reach) + 2, size)):
                dx, dy = j - xy[k, 0], i - xy[k, 1]
                along, across = cosine * dx + sine * dy, cosine * dy - sine * dx
                far = math.sqrt(along * along / long[k] + across * across * long[k])
                if far > 1.6 * radius[k]:
                    continue
                angle = math.atan2(across, along)
                edge = 1.0
                for n in range(waves.shape[2]):
                    edge += waves[k, 0, n] * math.cos((n + 2) * angle) + waves[k, 1, n] * math.sin((n + 2) * angle)
                inside = 1 - far / (radius[k] * edge)
                if inside > depth[i, j]:
                    depth[i, j], labels[i, j] = inside, first + k


def drawn(blobs: Blobs, size: int) -> tuple[Labels, npt.NDArray[np.float32]]:
    """Labels (S, S), 1 + number of the blob, and how deep in it each pixel lies, 0 to 1."""
    labels, depth = np.zeros((size, size), np.int32), np.zeros((size, size), np.float32)
    _draw(blobs.xy_px, blobs.radius_px, blobs.long, blobs.turn, blobs.waves, 1, labels, depth)
    return labels, depth


@njit(nogil=True, cache=True)
def _apart(xy, radius, gap, kept):  # type: ignore[no-untyped-def]
    """Mark those that are at least ``gap`` times the sum of both radii from all marked before."""
    for k in range(len(radius)):
        kept[k] = True
        for other in range(k):
            if kept[other] and math.hypot(xy[k, 0] - xy[other, 0], xy[k, 1] - xy[other, 1]) < gap * (
                radius[k] + radius[other]
            ):
                kept[k] = False
                break


def scattered(radius_px: float, size: int, rng: np.random.Generator) -> Blobs:
    """As many as one lesson holds: from none to a layer in which all touch."""
    most = 2 + int(3 * (size / radius_px + 2) ** 2 / math.pi * rng.random() ** 2)
    many = min(int(rng.integers(0, most)), 400)
    reach = radius_px * 0.8
    rough = rng.uniform(0, 0.12) if rng.random() < 0.7 else 0.25
    falling = np.arange(2, 2 + WAVES) ** -1.0
    blobs = Blobs(
        rng.uniform(-reach, size + reach, (many, 2)),
        radius_px * np.exp(rng.normal(0, rng.uniform(0.03, 0.3), many)),
        np.exp(np.abs(rng.normal(0, rng.uniform(0.05, 0.5), many))).clip(1, 4),
        rng.uniform(0, math.pi, many),
        rng.normal(0, rough, (many, 2, WAVES)) * falling,
        np.exp(rng.normal(0, rng.uniform(0.05, 0.8), many)),
    )
    kept = np.zeros(many, np.bool_)
    _apart(blobs.xy_px, blobs.radius_px, rng.uniform(0.75, 1.15), kept)
    return blobs.where(kept)


@njit(nogil=True, cache=True)
def depths(labels, out):  # type: ignore[no-untyped-def]
    """out (S, S): how deep each pixel of labels (S, S) lies in its own object, over the deepest: 0 outside, 1 at most.

    Chamfer distance (Borgefors, CVGIP 34:344, 1986) to pixels of any other label; beyond the crop all goes on.
    """
    height, width = labels.shape
    far = np.float32(3 * (height + width))
    for sweep in range(2):
        for a in range(height):
            i = a if sweep == 0 else height - 1 - a
            back = -1 if sweep == 0 else 1
            for b in range(width):
                j = b if sweep == 0 else width - 1 - b
                name = labels[i, j]
                best = np.float32(0) if name == 0 else (far if sweep == 0 else out[i, j])
                for di, dj, cost in ((0, back, 3), (back, 0, 3), (back, -1, 4), (back, 1, 4)):
                    y, x = i + di, j + dj
                    if 0 <= y < height and 0 <= x < width:
                        best = min(best, np.float32(cost) + (out[y, x] if labels[y, x] == name else np.float32(0)))
                out[i, j] = best if name else 0
    deepest = np.zeros(labels.max() + 1, np.float32)
    for i in range(height):
        for j in range(width):
            deepest[labels[i, j]] = max(deepest[labels[i, j]], out[i, j])
    for i in range(height):
        for j in range(width):
            if labels[i, j]:
                out[i, j] /= deepest[labels[i, j]]


@njit(nogil=True, cache=True)
def centres(labels, count):  # type: ignore[no-untyped-def]
    """(count, 3): mean x, mean y and number of pixels of each label from 1."""
    out = np.zeros((count, 3))
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            k = labels[i, j] - 1
            if k >= 0:
                out[k, 0] += j
                out[k, 1] += i
                out[k, 2] += 1
    for k in range(count):
        if out[k, 2] > 0:
            out[k, 0] /= out[k, 2]
            out[k, 1] /= out[k, 2]
    return out

"""Only this file knows how any number of frames of one light level become a mean and a variance for each pixel.

Welford's update in float64, one frame in memory. Between frames the light drifts: each frame is brought to the
brightness of the first, by its own mean, before it counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope.errors import InputError
from smartscope.frame import Pixels

Floats = npt.NDArray[np.float32]
COUNTS = 65536
LEAST_DARK, LEAST_LIT = 20, 10
"""Frames below which the variance of a pixel says too little of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """What many frames of one unchanging scene say of each pixel; arrays are (H, W) float32."""

    name: str
    """File, or exposure, for messages."""
    frames: int
    mean_adu: Floats
    variance_adu2: Floats
    histogram: npt.NDArray[np.int64]
    """(65536,): how often each count was read."""
    drift: float
    """Largest deviation of a frame's mean from the first one's: of the light, relative; of a dark level, counts."""
    steadiness: float
    """Variance by successive frames over variance about the mean: 1, or less where the scene changed."""
    exposure_ms: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.mean_adu.shape[0], self.mean_adu.shape[1]

    @property
    def highest_adu(self) -> int:
        """The largest count read."""
        return int(np.flatnonzero(self.histogram)[-1])


class LevelStatistics:
    """Takes frames one by one; memory is that of three frames in float64, however many come."""

    def __init__(self, name: str, *, offset_adu: float | None = None, exposure_ms: float | None = None) -> None:
        """``offset_adu``: mean count without light, for a light level; None makes it a dark one."""
        self._name, self._offset, self._exposure_ms = name, offset_adu, exposure_ms
        self._frames = 0
        self._histogram = np.zeros(COUNTS, np.int64)
        self._means: list[float] = []
        self._inverse = 0.0
        self._successive = 0.0

    @property
    def frames(self) -> int:
        """Frames so far."""
        return self._frames

    def add(self, pixels: Pixels) -> None:
        """Count one more (H, W) frame.

        Raises:
            InputError: its shape is not that of the first, or a light level is no brighter than the dark.
        """
        if not self._frames:
            self._mean, self._squares = np.zeros(pixels.shape), np.zeros(pixels.shape)
            self._before = np.zeros(pixels.shape, np.float32)
        elif pixels.shape != self._mean.shape:
            what = f"frame {self._frames} is {_size(pixels.shape)}, those before {_size(self._mean.shape)}"
            raise InputError(what, where=self._name, remedy="take all frames with the same region of the sensor")
        self._means.append(float(pixels.mean()))
        scale, shift = self._to_first()
        self._frames += 1
        arrays = (np.ascontiguousarray(pixels), self._mean, self._squares, self._before)
        counted, mean, squares, before = (array.reshape(-1) for array in arrays)
        self._successive += _add(counted, mean, squares, before, self._histogram, self._frames, scale, shift)

    def _to_first(self) -> tuple[float, float]:
        """(scale, shift) that bring the newest frame to the brightness of the first."""
        first, last = self._means[0], self._means[-1]
        if self._offset is None:
            return 1.0, first - last
        if min(first, last) <= self._offset:
            raise InputError(
                f"mean {last:.1f} ADU, no brighter than the dark frames' {self._offset:.1f} ADU",
                where=self._name,
                remedy="give light, or do not swap dark and light frames",
            )
        scale = (first - self._offset) / (last - self._offset)
        self._inverse += scale
        return scale, self._offset * (1 - scale)

    def level(self) -> Level:
        """The statistics so far.

        A frame dimmer than the first by c is scaled by 1/c, and its shot noise is then that of a scene brighter by 1/c:
        the mean is given for the brightness to which the variance belongs.

        Raises:
            InputError: too few frames.
        """
        least = LEAST_DARK if self._offset is None else LEAST_LIT
        if self._frames < least:
            remedy = "take more: 1000 dark frames and 100 of each light level make good maps"
            raise InputError(f"{self._frames} frames", where=self._name, allowed=f">= {least} frames", remedy=remedy)
        variance = self._squares / (self._frames - 1)
        mean, drift = self._mean, max(abs(m - self._means[0]) for m in self._means)
        if self._offset is not None:
            mean = self._offset + (mean - self._offset) * (self._inverse / self._frames)
            drift /= self._means[0] - self._offset
        by_frames = self._successive / (2 * (self._frames - 1) * mean.size)
        total = float(variance.mean())
        return Level(
            name=self._name,
            frames=self._frames,
            mean_adu=mean.astype(np.float32),
            variance_adu2=variance.astype(np.float32),
            histogram=self._histogram,
            drift=drift,
            steadiness=by_frames / total if total > 0 else 1.0,
            exposure_ms=self._exposure_ms,
        )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


@njit(nogil=True, cache=True)
def _add(
    pixels: Any, mean: Any, squares: Any, before: Any, histogram: Any, number: int, scale: float, shift: float
) -> float:
    """Welford's update with ``pixels`` (n,) · scale + shift as frame ``number``; sum of squares to the frame before."""
    successive = 0.0
    for i in range(pixels.size):
        histogram[pixels[i]] += 1
        value = pixels[i] * scale + shift
        delta = value - mean[i]
        mean[i] += delta / number
        squares[i] += delta * (value - mean[i])
        if number > 1:
            step = value - before[i]
            successive += step * step
        before[i] = value
    return successive

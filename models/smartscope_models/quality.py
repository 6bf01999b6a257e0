"""Figures of a frame that policies steer by: signal, background, noise, saturation, and whether anything is in view.

All light is measured on means of 4 x 4 pixels, without the brightest and the darkest of the sixteen: hot pixels do not
count, and picking the brightest of many noisy values biases the signal little (by 0.6 of a pixel's noise).

===================  ===================================================================================================
signal_e             what the brightest objects have above background: mean of the 4 x 4 means between their 98 and 99.8
                     percentile, minus ``background_e``; photo-electrons per pixel and frame
background_e         the darkest peak in the histogram of the 4 x 4 means: median of what lies within it, likewise
light_e              mean of all the 4 x 4 means, likewise: what is there whatever a model makes of it
signal_to_noise      signal_e / √(F² (signal_e + background_e) + read noise²): one pixel of a bright object;
                     F² = 2 for an EMCCD, else 1
saturated_fraction   pixels at the saturation level or above
saturation_headroom  1 - (99.99 percentile - offset) / (saturation level - offset): 1 dark, 0 saturated
===================  ===================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from numba import njit
from pydantic import Field

from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Result
from smartscope_models.calibration import Floats

BLOCK = 4
KEPT = BLOCK * BLOCK - 2
BRIGHT = (0.98, 0.998)
DARK = 0.02
HIGHEST = 0.9999
BINS = 96
CLEAR = 0.3
"""Height of a peak, over that of the highest, from which it counts."""
IN_VIEW = 4.0
"""Signal, in standard deviations of a 4 x 4 mean's noise, below which nothing is in view."""
TRUST_EMPTY = 0.3
TRUST_SATURATED = 0.4


@njit(nogil=True, cache=True)
def _survey(pixels, offset, gain, counts, means):  # type: ignore[no-untyped-def]
    """counts (65536,): how often each grey value occurs; means (h, w): electrons, trimmed means over blocks."""
    counts[:] = 0
    height, width = pixels.shape
    for i in range(height):
        row = pixels[i]
        for j in range(width):
            counts[row[j]] += 1
    scale = gain / np.float32(KEPT)
    for i in range(means.shape[0]):
        target = means[i]
        for j in range(len(target)):
            total, most, least = np.uint32(0), np.uint32(0), np.uint32(65535)
            for k in range(BLOCK):
                row = pixels[i * BLOCK + k]
                for m in range(BLOCK):
                    value = np.uint32(row[j * BLOCK + m])
                    total += value
                    most = max(most, value)
                    least = min(least, value)
            target[j] = (np.float32(total - most - least) - offset * np.float32(KEPT)) * scale


@njit(nogil=True, cache=True)
def _level(counts, rank):  # type: ignore[no-untyped-def]
    """Grey value of the pixel of this rank, the darkest being 0."""
    below = 0
    for value in range(len(counts)):
        below += counts[value]
        if below > rank:
            return value
    return len(counts) - 1


class QualityMeter:
    """Measures each raw frame, before any model has changed it; trust falls where a policy should not act on it.

    Trust 0: a setting changed during the exposure. 0.4: saturated. 0.3: nothing in view.
    """

    history = 0
    reads: frozenset[str] = frozenset()

    def __init__(
        self, setup: Instrument, *, max_saturated_fraction: Annotated[float, Field(ge=0, le=1)] = 1e-4
    ) -> None:
        """max_saturated_fraction: of the pixels, above which a frame counts as saturated."""
        camera = setup.camera
        self._max_saturated = max_saturated_fraction
        self._offset = camera.offset_adu
        self._gain = camera.electrons_per_adu / camera.em_gain
        self._read_variance = (camera.read_noise_e / camera.em_gain) ** 2
        self._excess = 2.0 if camera.em_gain > 1 else 1.0
        self._saturation = camera.saturation_adu
        self._counts = np.zeros(65536, np.int64)
        self._means = np.zeros((1, 1), np.float32)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and allocate for frames of this (H, W)."""
        self._measure(np.zeros(shape, np.uint16))

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with the figures above in ``quality``, and its trust lowered where the frame deserves none."""
        frame = frames[-1]
        figures, seen = self._measure(frame.pixels)
        trust, why = so_far.trust, [so_far.why_trust] if so_far.why_trust else []
        if frame.mixed:
            changed = [key for key, certainty in frame.certainty.items() if certainty == "mixed"]
            trust, why = 0.0, [*why, f"{', '.join(changed)} changed during the exposure"]
        if figures["saturated_fraction"] > self._max_saturated:
            trust, why = trust * TRUST_SATURATED, [*why, f"{figures['saturated_fraction']:.2%} of the pixels saturated"]
        elif not seen:
            trust, why = trust * TRUST_EMPTY, [*why, "nothing in view"]
        return replace(so_far, quality={**so_far.quality, **figures}, trust=trust, why_trust="; ".join(why))

    def _measure(self, pixels: np.ndarray) -> tuple[dict[str, float], bool]:
        """The figures, and whether anything is in view."""
        shape = (max(1, pixels.shape[0] // BLOCK), max(1, pixels.shape[1] // BLOCK))
        if min(pixels.shape) < BLOCK:  # too small for means of 4 x 4
            pixels = np.ascontiguousarray(np.pad(pixels, [(0, max(0, BLOCK - n)) for n in pixels.shape], mode="edge"))
        if self._means.shape != shape:
            self._means = np.zeros(shape, np.float32)
        _survey(pixels, np.float32(self._offset), np.float32(self._gain), self._counts, self._means)
        signal, background = _signal_and_background(self._means.ravel())
        variance = self._excess * (max(signal, 0.0) + max(background, 0.0)) + self._read_variance
        quiet = math.sqrt(self._excess * max(background, 0.0) + self._read_variance) / BLOCK
        highest = float(_level(self._counts, int(HIGHEST * (pixels.size - 1))))
        saturated = self._counts[math.ceil(self._saturation) :].sum() / pixels.size
        figures = {
            "signal_e": signal,
            "background_e": background,
            "light_e": float(self._means.mean()),
            "signal_to_noise": signal / math.sqrt(variance) if variance > 0 else 0.0,
            "saturated_fraction": float(saturated),
            "saturation_headroom": 1 - (highest - self._offset) / max(self._saturation - self._offset, 1.0),
        }
        return figures, signal > IN_VIEW * quiet


def _signal_and_background(means: Floats) -> tuple[float, float]:
    """Both in electrons per pixel, from the (N,) block means."""
    count = len(means)
    low, high = int(BRIGHT[0] * count), max(int(BRIGHT[0] * count) + 1, int(BRIGHT[1] * count))
    ranked = np.partition(means, (int(DARK * count), low, high - 1))
    bright = float(ranked[low:high].mean())
    background = _darkest_peak(means, float(ranked[int(DARK * count)]), float(ranked[low]))
    return max(bright - background, 0.0), background


def _darkest_peak(means: Floats, low: float, high: float) -> float:
    """Where the first clear peak of the histogram lies, from the dark side: its own median."""
    if high <= low:
        return low
    bin_width = (high - low) / BINS
    counts, _ = np.histogram(means, BINS + 8, (low - 4 * bin_width, high + 4 * bin_width))
    smooth = np.convolve(counts, [1, 2, 3, 4, 3, 2, 1], mode="same")
    clear = np.flatnonzero(smooth >= CLEAR * smooth.max())
    beyond = np.flatnonzero(smooth[clear[0] :] < 0.5 * smooth[clear[0]])  # where the first hill ends
    hill = smooth[clear[0] : clear[0] + int(beyond[0]) if len(beyond) else None]
    peak = low + (clear[0] + int(np.argmax(hill)) - 3.5) * bin_width
    return float(np.median(means[np.abs(means - peak) <= max(peak - low, bin_width)]))

"""Whether a denoised image could have given the frame that was seen: two maps of what it leaves, and a gate.

Where the image is the truth, squared residuals are 1 on average, smoothed or not; a good denoiser leaves less, for it
keeps a part of the noise (E[χ²] = 1 - 2 div / N + MSE / σ²). So only an excess counts, and only one that noise cannot
explain. Each mean over a block is judged by the gamma distribution that has its first three moments (Hall, JRSS B
45:376, 1983; Buckley & Eagleson, Austral J Stat 30A:150, 1988), read as a normal score (Wilson & Hilferty, PNAS 17:684,
1931). The moments take in the correlation that smoothing makes, and the tails of Poisson and multiplied light.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from smartscope.frame import Frame
from smartscope.ports import Instrument, whole_sensor
from smartscope.result import RESIDUAL_BLOCK_PX, Result
from smartscope_models.calibration import Floats, PixelCalibration, SensorCalibration
from smartscope_models.denoise.residuals import CELL, Residuals, smoothing

BLOCK = RESIDUAL_BLOCK_PX
WINDOW = 8
"""Edge of the windows, half overlapping, in which a single spot stands out, pixels."""
FALSE_ALARMS = 0.01
"""Of frames whose image is the truth, so many get a gate below 1; of a good denoiser's, fewer."""
SIGMA_PX = (0.8, 1.5)
"""The optics' width is taken within this range: seven taps hold no more."""


class Moments(NamedTuple):
    """Moments of the mean of n squared residuals: variance (2 a + k) / n, third (8 b + c k + k²) / n², k = kurtosis."""

    a: float
    b: float
    c: float

    @classmethod
    def of(cls, taps: Floats, edge: int) -> Moments:
        """For residuals smoothed along both axes, in a window of ``edge`` pixels; ``taps`` (1,) of 1: not smoothed.

        a = tr R² / n and b = tr R³ / n for the correlation R within the window; c k bounds what skewness and kurtosis
        of single pixels add.
        """
        kernel = np.concatenate([taps[:0:-1], taps]).astype(float)
        lags = np.correlate(kernel, kernel, "full")
        row = np.zeros(edge)
        kept = min(edge, len(kernel))
        row[:kept] = lags[len(kernel) - 1 :][:kept]
        correlation = row[np.abs(np.subtract.outer(np.arange(edge), np.arange(edge)))]
        a, b = (float(np.trace(np.linalg.matrix_power(correlation, power)) / edge) ** 2 for power in (2, 3))
        return cls(a, b, 12 * a + 4 * float((lags**3).sum()) ** 2 + 6 * float(lags.sum()) ** 2)

    def highest(self, means: Floats, counts: Floats, kurtosis: Floats) -> tuple[float, tuple[int, int]]:
        """The least likely of means (h, w) over ``counts`` pixels: normal score and place; 0 where all are <= 1."""
        above = np.flatnonzero(means > 1)
        if not len(above):
            return 0.0, (0, 0)
        mean, count, tail = means.ravel()[above], counts.ravel()[above], kurtosis.ravel()[above]
        variance = (2 * self.a + tail) / count
        third = (8 * self.b + (self.c + tail) * tail) / count**2
        freedom = 8 * variance**3 / third**2
        spread = 2 / (9 * freedom)
        scores = (np.cbrt(1 + (mean - 1) * np.sqrt(2 / (freedom * variance))) - (1 - spread)) / np.sqrt(spread)
        most = int(scores.argmax())
        row, column = divmod(int(above[most]), means.shape[1])
        return float(scores[most]), (row, column)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one image stands to its frame."""

    gate: float
    """1: noise explains all that the image leaves; halved by each standard deviation beyond that."""
    maps: Floats
    """(2, H / 16, W / 16): means of squared residuals over blocks, plain and smoothed; 1 or less where all is well."""
    x_px: float
    y_px: float
    """Where the image is least likely."""


class TrustMeter:
    """Judges denoised images of one camera against the frames that they come from."""

    def __init__(self, setup: Instrument, calibration: SensorCalibration | None = None) -> None:
        """calibration: the denoiser's own, if it has one, so that maps are read once.

        Raises:
            InputError: a camera map cannot be used.
        """
        optics, camera = setup.optics, setup.camera
        self._calibration = SensorCalibration(camera) if calibration is None else calibration
        sigma_px = 0.21 * optics.emission_nm / optics.numerical_aperture / camera.pixel_size_nm
        self._taps = smoothing(float(np.clip(sigma_px, *SIGMA_PX)))
        self._plain = Moments.of(np.ones(1, np.float32), BLOCK)
        self._smooth, self._narrow = Moments.of(self._taps, BLOCK), Moments.of(self._taps, WINDOW)
        self._rare = 24.0 if camera.em_gain > 1 else 1.0
        """Fourth cumulant of the light per electron: Poisson 1, multiplied exponentially 4!."""
        self._residuals: Residuals | None = None
        self._counts: tuple[Floats, Floats]
        """Pixels in each block, and in each window."""

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and allocate for frames of this (H, W)."""
        known = self._calibration.region(whole_sensor(shape), shape)
        self.compare(np.zeros(shape, np.uint16), np.zeros(shape, np.float32), known)

    def judge(self, frame: Frame, image: Floats, so_far: Result) -> Result:
        """``so_far`` with ``image`` (H, W), counts at the nominal gain and offset, and all that makes it trustworthy.

        ``image_trust`` is the gate, ``residual_map`` the two maps; ``quality`` gets their mean, ``residual_chi2``, and
        the largest of the smoothed one, ``residual_structure``.
        """
        verdict = self.compare(frame.pixels, image, self._calibration.of(frame))
        plain, smooth = verdict.maps
        figures = {"residual_chi2": float(plain.mean()), "residual_structure": float(smooth.max())}
        why = so_far.why_trust
        if verdict.gate < 1:
            place = f"x {verdict.x_px:.0f}, y {verdict.y_px:.0f} px"
            leaves = f"the denoised image leaves more than noise, most at {place}"
            why = f"{why}; {leaves}" if why else leaves
        return replace(
            so_far,
            image=image,
            image_trust=verdict.gate,
            residual_map=verdict.maps,
            quality={**so_far.quality, **figures},
            why_trust=why,
        )

    def compare(self, pixels: np.ndarray, image: Floats, calibration: PixelCalibration) -> Verdict:
        """Judge ``image`` (H, W) by ``pixels`` (H, W) uint16 of the region that ``calibration`` describes."""
        if self._residuals is None or self._residuals.calibration is not calibration:
            self._residuals = Residuals(calibration, self._taps)
            self._counts = _blocks(self._residuals.counts), _windows(self._residuals.counts)
        cells, (in_block, in_window) = self._residuals.survey(pixels, image), self._counts
        plain, smooth, tails = _blocks(cells) / in_block
        narrow, narrow_tails = _windows(cells[1:]) / in_window
        found = (
            (*self._plain.highest(plain, in_block, self._rare * tails), BLOCK, BLOCK),
            (*self._smooth.highest(smooth, in_block, self._rare * tails), BLOCK, BLOCK),
            (*self._narrow.highest(narrow, in_window, self._rare * narrow_tails), CELL, WINDOW),
        )
        score, (row, column), step, edge = max(found)
        tested = 2 * plain.size + narrow.size
        allowed = NormalDist().inv_cdf(1 - FALSE_ALARMS / tested)
        gate = min(1.0, 2.0 ** (allowed - score))
        height, width = pixels.shape
        x_px = min(step * column + (edge - 1) / 2, width - 1.0)
        y_px = min(step * row + (edge - 1) / 2, height - 1.0)
        return Verdict(gate, np.stack([plain, smooth]), x_px, y_px)


def _blocks(cells: Floats) -> Floats:
    """(..., h, w) sums over cells → over blocks, those at the lower and right edge perhaps smaller."""
    rows, columns = (np.arange(0, n, BLOCK // CELL) for n in cells.shape[-2:])
    blocks: Floats = np.add.reduceat(np.add.reduceat(cells, rows, axis=-2), columns, axis=-1)
    return blocks


def _windows(cells: Floats) -> Floats:
    """(..., h, w) sums over cells → over windows of two by two cells, one cell apart."""
    if cells.shape[-2] > 1:
        cells = cells[..., 1:, :] + cells[..., :-1, :]
    return cells[..., 1:] + cells[..., :-1] if cells.shape[-1] > 1 else cells

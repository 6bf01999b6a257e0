"""Only this file knows how variance against mean, level by level, becomes the gain of each pixel and of the sensor.

Photon transfer (Janesick, Photon Transfer, SPIE 2007; per pixel: Huang et al., Nat. Methods 10:653, 2013): a pixel's
variance is that of the dark plus slope · signal, with slope = F² · em_gain / electrons_per_adu and the excess factor
F² = 1, or 2 behind an EM register. The slope is fitted by least squares with weights that are reckoned from the
sensor's slope and not from the pixel's own scatter, which would favour levels that came out low. Mean and variance of
the same frames both err, and not independently: what counts is the scatter of variance - slope · mean (``_scatter``).
The bias by the error of the mean and that by the correlation cancel for Poisson counts: no total least squares is
needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartscope.camera_calibration.levels import Floats, Level
from smartscope.camera_calibration.saturation import saturation_of, usable_pixels
from smartscope.camera_calibration.shrinkage import Shrunk, shrunk
from smartscope.errors import InputError

Doubles = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
ROWS = 256
"""Rows fitted at a time, to bound the memory."""
EXCESS_SCATTER = {1.0: 0.0, 2.0: 8.0}
"""By F²: κ₄ - 2 F² κ₃ + F⁴ κ₂ of one photo-electron's response, in units of (gain)⁴: none, or exponential (n! each)."""
HOT_NOISE, HOT_OFFSET = 4.0, 10.0
"""Hot: read noise above so many times the median, or offset so many standard deviations off."""
ODD_GAIN = 2.0
"""A gain that is off by more than this factor is a defect: such a pixel gets the sensor's."""
BELIEVED = 0.01
USED = 0.5
"""A level counts if at least this part of the pixels can be used."""


@dataclass(frozen=True, slots=True)
class LevelResult:
    """What became of one light level."""

    name: str
    frames: int
    signal_adu: float
    """Mean above the offset, of the pixels used."""
    usable: float
    """Part of the pixels far enough from saturation."""
    slope_adu: float
    """(Variance - dark variance) / signal; nan where the level is left out."""
    slope_error: float
    drift: float
    steadiness: float
    exposure_ms: float | None


@dataclass(frozen=True, slots=True, eq=False)
class PhotonTransfer:
    """What was found; maps are (H, W) float32."""

    offset_adu: float
    electrons_per_adu: float
    """Of the sensor; at the output of the EM register, as in ``CameraCalibration``."""
    electrons_per_adu_error: float
    """Standard error, from the scatter between levels."""
    read_noise_e: float
    """Median pixel; rounding to whole counts and, behind an EM register, clock-induced charge act as read noise too."""
    read_noise_rms_e: float
    em_gain: float
    offset: Shrunk
    read_variance: Shrunk
    """Natural logarithm of ADU²."""
    slope: Shrunk
    """ADU."""
    offset_map: Floats
    gain_map: Floats
    read_noise_map: Floats
    hot: Flags
    odd: Flags
    """Pixels whose gain cannot be: defects, or never in the light."""
    chi2: float
    """Mean squared residual of the levels around the pixels' fits, in units of its expectation."""
    levels: tuple[LevelResult, ...]
    dark: Level
    saturation_adu: float | None
    """Where pixels were seen to saturate, or are known to; None: nowhere."""
    highest_adu: int
    """The largest count read."""


def photon_transfer(
    dark: Level, lights: Sequence[Level], *, em_gain: float = 1.0, saturation_adu: float | None = None
) -> PhotonTransfer:
    """Fit the camera; ``saturation_adu`` if it is known, otherwise it is looked for.

    Raises:
        InputError: shapes differ, frames are all alike, a level is saturated or as dark as the dark, none is left.
    """
    top = saturation_of([dark, *lights], saturation_adu) if lights else None
    _check(dark, lights, top)
    excess = 2.0 if em_gain > 1 else 1.0
    offset = _offset(dark)
    read = _read_variance(dark)
    read_adu2 = np.exp(read.values)
    hot = _hot(offset, read)
    usable = [usable_pixels(level, top) for level in lights]
    offset_map = offset.values.astype(np.float32)
    levels = [_of_level(*item, dark, offset_map, hot, excess) for item in zip(lights, usable, strict=True)]
    slope, error = _sensor_slope(levels)
    used = [k for k, level in enumerate(levels) if np.isfinite(level.slope_adu)]
    fit = _Fit(dark, offset_map, read_adu2, slope, excess)
    own, own_error, chi2 = fit.pixels([(lights[k], usable[k]) for k in used])
    found = shrunk(own, own_error, slope)
    odd = ~np.isfinite(own_error) | (found.values > slope * ODD_GAIN) | (found.values < slope / ODD_GAIN)
    per_electron = excess * em_gain
    read_e = float(np.median(read_adu2)) ** 0.5 * per_electron / slope
    gain_map = per_electron / np.where(odd, slope, found.values)
    return PhotonTransfer(
        offset_adu=float(np.median(offset.values)),
        electrons_per_adu=per_electron / slope,
        electrons_per_adu_error=per_electron / slope**2 * error,
        read_noise_e=read_e,
        read_noise_rms_e=float(np.mean(dark.variance_adu2)) ** 0.5 * per_electron / slope,
        em_gain=em_gain,
        offset=offset,
        read_variance=read,
        slope=found,
        offset_map=offset_map,
        gain_map=gain_map.astype(np.float32),
        read_noise_map=(np.sqrt(read_adu2) * (gain_map if found.good else per_electron / slope)).astype(np.float32),
        hot=hot,
        odd=odd,
        chi2=chi2,
        levels=tuple(levels),
        dark=dark,
        saturation_adu=top,
        highest_adu=max(level.highest_adu for level in lights),
    )


def _check(dark: Level, lights: Sequence[Level], top_adu: float | None) -> None:
    remedy = "give light levels up to 70 % of saturation, ten or more"
    if not lights:
        raise InputError("no light level", where=dark.name, remedy=remedy)
    for level in (dark, *lights):
        if level.shape != dark.shape:
            size, other = (" x ".join(map(str, shape)) for shape in (level.shape, dark.shape))
            remedy = "take all frames with the same region of the sensor"
            raise InputError(f"{size} pixels, the dark frames {other}", where=level.name, remedy=remedy)
        if not level.variance_adu2.any() and level.highest_adu != top_adu:
            what = f"its {level.frames} frames are all alike: no noise"
            remedy = "give single frames as the camera sent them: no averages, no copies, no saturated ones"
            raise InputError(what, where=level.name, remedy=remedy)


def _offset(dark: Level) -> Shrunk:
    mean = dark.mean_adu.astype(np.float64)
    return shrunk(mean, np.sqrt(dark.variance_adu2 / dark.frames).astype(np.float64), float(np.median(mean)))


def _read_variance(dark: Level) -> Shrunk:
    """Logarithm of the dark variance: the sample variance of n frames scatters by √(2 / (n - 1)) whatever its size."""
    dof = dark.frames - 1
    values = np.log(np.maximum(dark.variance_adu2.astype(np.float64), 1 / 12 / dark.frames)) + 1 / dof
    return shrunk(values, (2 / dof) ** 0.5, float(np.median(values)))


def _hot(offset: Shrunk, read: Shrunk) -> Flags:
    noisy = read.values > np.median(read.values) + 2 * np.log(HOT_NOISE)
    off = np.abs(offset.values - np.median(offset.values)) > HOT_OFFSET * max(offset.spread, 0.5)
    return np.asarray(noisy | off)


def _of_level(level: Level, usable: Flags, dark: Level, offset: Floats, hot: Flags, excess: float) -> LevelResult:
    """The sensor's slope at one level: the sum of noise over the sum of signal."""
    chosen = usable & ~hot
    share = float(usable.mean())
    n = int(chosen.sum())
    mean = float((level.mean_adu - offset)[chosen].mean(dtype=np.float64)) if n else 0.0
    slope, error = float("nan"), float("nan")
    if share >= USED and mean > 0:
        lit, unlit = (float(part.variance_adu2[chosen].mean(dtype=np.float64)) for part in (level, dark))
        slope = (lit - unlit) / mean
        scatter = _scatter(mean, unlit, max(slope, 0.0), level.frames, excess) + 2 * unlit**2 / (dark.frames - 1)
        error = float((scatter / n) ** 0.5) / mean
    return LevelResult(
        level.name, level.frames, mean, share, slope, error, level.drift, level.steadiness, level.exposure_ms
    )


def _sensor_slope(levels: Sequence[LevelResult]) -> tuple[float, float]:
    """Slope of the sensor and its standard error, from the levels, each believed to 1 % at best."""
    told = [level for level in levels if np.isfinite(level.slope_adu)]
    slopes, errors = (np.array([getattr(level, name) for level in told]) for name in ("slope_adu", "slope_error"))
    if not len(slopes):
        shares = ", ".join(f"{level.name}: {level.usable:.0%}" for level in levels)
        remedy = "give levels between 1 and 70 % of saturation"
        raise InputError(f"every light level is saturated or dark; pixels below saturation: {shares}", remedy=remedy)
    weight = 1 / (errors**2 + (BELIEVED * np.median(slopes)) ** 2)
    slope = float(np.average(slopes, weights=weight))
    if not slope > 0:
        remedy = "give single frames as the camera sent them: not averaged, not compressed, light steady"
        raise InputError("noise does not grow with light", where=levels[0].name, remedy=remedy)
    counted = float(np.sqrt(np.sum((weight * errors) ** 2))) / float(weight.sum())
    between = float(np.sqrt(np.average((slopes - slope) ** 2, weights=weight) / max(len(slopes) - 1, 1)))
    return slope, max(between, counted)


def _scatter(signal: npt.ArrayLike, read_adu2: npt.ArrayLike, slope: float, frames: int, excess: float) -> Doubles:
    """Variance of (sample variance - slope · sample mean) of ``frames`` frames.

    With V = read noise² + slope · signal: var(s²) = κ₄ / n + 2 V² / (n - 1), cov(mean, s²) = κ₃ / n, var(mean) = V / n.
    """
    lit = np.maximum(np.asarray(signal, np.float64), 0)
    read = np.asarray(read_adu2, np.float64)
    shot = EXCESS_SCATTER[excess] * (slope / excess) ** 3 * lit
    return np.asarray(2 * (read + slope * lit) ** 2 / (frames - 1) + (shot + slope**2 * read) / frames)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Weighted least squares for the slope of each pixel, its dark variance given."""

    dark: Level
    offset: Floats
    read_adu2: Doubles
    slope: float
    """Of the sensor: what the weights are reckoned from."""
    excess: float

    def pixels(self, lit: Sequence[tuple[Level, Flags]]) -> tuple[Doubles, Doubles, float]:
        """(H, W) slopes and their standard errors (inf: never usable), and the χ² of the residuals: 1 is well."""
        slopes, errors = np.empty(self.dark.shape), np.empty(self.dark.shape)
        squares, expected = 0.0, 0.0
        for first in range(0, self.dark.shape[0], ROWS):
            rows = slice(first, first + ROWS)
            points = [self._points(level, usable, rows) for level, usable in lit]
            slopes[rows], errors[rows], left, due = self._line(points, 2 * self.read_adu2[rows] ** 2)
            squares, expected = squares + left, expected + due
        return slopes, errors, squares / expected if expected > 0 else float("nan")

    def _points(self, level: Level, usable: Flags, rows: slice) -> tuple[Doubles, Doubles, Doubles]:
        """Signal, variance above the dark and its weight of some rows at one level."""
        signal = (level.mean_adu[rows] - self.offset[rows]).astype(np.float64)
        variance = (level.variance_adu2[rows] - self.dark.variance_adu2[rows]).astype(np.float64)
        scatter = _scatter(signal, self.read_adu2[rows], self.slope, level.frames, self.excess)
        weight = usable[rows] * (signal > 0) / scatter
        return signal, variance, weight

    def _line(
        self, points: Sequence[tuple[Doubles, Doubles, Doubles]], scatter_of_dark: Doubles
    ) -> tuple[Doubles, Doubles, float, float]:
        """Slopes through the origin, their errors, the sum of squared residuals and its expectation."""
        xx, xy, x1, n = (np.zeros_like(scatter_of_dark) for _ in range(4))
        for x, y, w in points:
            xx, xy, x1, n = xx + w * x * x, xy + w * x * y, x1 + w * x, n + (w > 0)
        known = xx > 0
        slope = np.divide(xy, xx, out=np.full_like(xx, self.slope), where=known)
        own = np.divide(1, xx, out=np.full_like(xx, np.inf), where=known)
        # the dark's scatter moves all points of a pixel together
        share = np.divide(x1, xx, out=np.zeros_like(xx), where=known)
        common = scatter_of_dark / (self.dark.frames - 1)
        squares = sum(float((w * (y - slope * x) ** 2).sum()) for x, y, w in points)
        moved = sum(float((w * (1 - share * x) ** 2 * common).sum()) for x, _, w in points)
        return slope, np.sqrt(own + share**2 * common), squares, float((n - known).sum()) + moved

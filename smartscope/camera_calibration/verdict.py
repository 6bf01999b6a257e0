"""What a calibration is worth, in figures and in words: which maps are good, and what is not good enough."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.camera_calibration.photon_transfer import LevelResult, PhotonTransfer
from smartscope.camera_calibration.shrinkage import Shrunk

ENOUGH_LEVELS = 10
BRIGHT = 0.3
"""The brightest level should reach this part of saturation, or nothing is known above it."""
STEADY = 0.97
DRIFT = 0.1
GAIN_BENDS, RESPONSE_BENDS = 0.05, 0.03
CLIPPED = 1e-3
COARSE_ADU = 0.35
"""With less dark noise, counts are all alike most of the time, and their variance is that of the rounding."""
BAD_PIXELS = 0.01
FITS = (0.9, 1.1)
LISTED = 20_000


def report(found: PhotonTransfer) -> dict[str, Any]:
    """Everything that was found, for report.json; standard errors beside values."""
    return {
        "electrons_per_adu": {"value": found.electrons_per_adu, "standard_error": found.electrons_per_adu_error},
        "offset_adu": {"value": found.offset_adu},
        "read_noise_e": {
            "value": found.read_noise_e,
            "root_mean_square": found.read_noise_rms_e,
            "rounding_to_counts_included": True,
        },
        "maps": {item.name: item.figures() for item in _maps(found)},
        "em_gain": found.em_gain,
        "excess_factor_squared": 2.0 if found.em_gain > 1 else 1.0,
        "saturation_adu": found.saturation_adu,
        "dark_frames": found.dark.frames,
        "dark_drift_adu": found.dark.drift,
        "levels": [_level(level, found) for level in found.levels],
        "chi2_of_fit": _number(found.chi2),
        "gain_nonlinearity": _number(gain_nonlinearity(found)),
        "response_nonlinearity": _number(response_nonlinearity(found)),
        "hot_pixels": _pixels(found.hot),
        "pixels_without_gain": _pixels(found.odd),
        "warnings": list(warnings(found)),
    }


def warnings(found: PhotonTransfer) -> Iterator[str]:
    """What is not good enough, each with what to do."""
    yield from _of_levels(found)
    yield from _of_dark(found)
    yield from (item.words for item in _maps(found) if not item.kept.good)
    if not FITS[0] < found.chi2 < FITS[1]:
        yield f"levels scatter around the fit {found.chi2:.2f} times as much as counting explains: was the scene still?"
    if (bend := gain_nonlinearity(found)) > GAIN_BENDS:
        yield f"the gain changes by {bend:.0%} between levels: the camera is not linear; the mean is used"
    if (bend := response_nonlinearity(found)) > RESPONSE_BENDS:
        yield f"brightness leaves a straight line over exposure by {bend:.1%}: camera or light are not linear"
    for name, flags in (("hot", found.hot), ("without a gain of their own", found.odd)):
        if flags.mean() > BAD_PIXELS:
            yield f"{flags.mean():.1%} of the pixels are {name}"


def _of_levels(found: PhotonTransfer) -> Iterator[str]:
    used = [level for level in found.levels if math.isfinite(level.slope_adu)]
    for level in found.levels:
        if level not in used:
            yield f"{level.name} left out: {1 - level.usable:.0%} of its pixels are near saturation or dead"
        if level.steadiness < STEADY:
            yield f"the scene changed during {level.name}: some of its variance is no noise; use a still, even field"
        if level.drift > DRIFT:
            yield f"the light drifted by {level.drift:.0%} during {level.name} (compensated)"
    if len(used) < ENOUGH_LEVELS:
        yield f"{len(used)} light levels used: {ENOUGH_LEVELS} or more show whether the camera is linear"
    if found.saturation_adu is not None:
        reached = max(level.signal_adu for level in used) / (found.saturation_adu - found.offset_adu)
        if reached < BRIGHT:
            yield f"the brightest level is at {reached:.0%} of saturation: nothing is known above it"


def _of_dark(found: PhotonTransfer) -> Iterator[str]:
    histogram = found.dark.histogram
    if (clipped := histogram[0] / histogram.sum()) > CLIPPED:
        yield f"{clipped:.1%} of the dark counts are 0: the offset is set too low, and cuts the dark noise"
    noise_adu = found.read_noise_e / found.electrons_per_adu
    if noise_adu < COARSE_ADU:
        yield f"the dark noise, {noise_adu:.2f} ADU, is lost in the rounding: read noise is an upper limit"


def gain_nonlinearity(found: PhotonTransfer) -> float:
    """Largest deviation of a level's gain from the sensor's, beyond two standard errors; nan with one level."""
    slopes = [(level.slope_adu, level.slope_error) for level in found.levels if math.isfinite(level.slope_adu)]
    if len(slopes) < 2:
        return math.nan
    slope = _centre(found.slope)
    return max(max(abs(value - slope) - 2 * error, 0.0) / slope for value, error in slopes)


def response_nonlinearity(found: PhotonTransfer) -> float:
    """Largest relative deviation of brightness from a straight line over exposure; nan where exposures are unknown."""
    points = [
        (level.exposure_ms, level.signal_adu)
        for level in found.levels
        if level.exposure_ms is not None and level.usable == 1 and level.signal_adu > 0
    ]
    if len({exposure for exposure, _ in points}) < 4:
        return math.nan
    exposure, signal = np.array(points).T
    line = np.polyfit(exposure, signal, 1, w=1 / signal)
    return float(np.max(np.abs(np.polyval(line, exposure) / signal - 1)))


def _centre(kept: Shrunk) -> float:
    return float(np.median(kept.values))


@dataclass(frozen=True, slots=True)
class _Map:
    name: str
    kept: Shrunk
    scale: float
    """Turns the map's own units into ``unit``."""
    unit: str
    frames: str

    @property
    def words(self) -> str:
        """Why this map is not used."""
        error, spread = (f"{value * self.scale:.2g} {self.unit}" for value in (self.kept.error, self.kept.spread))
        return (
            f"{self.name} map: {error} error of a pixel, spread of the sensor about {spread}: "
            f"using the sensor's {self.name}; more {self.frames} frames would show more"
        )

    def figures(self) -> Mapping[str, Any]:
        """For the report."""
        return {
            "used": self.kept.good,
            "unit": self.unit,
            "error_of_a_pixel": self.kept.error * self.scale,
            "spread_of_pixels": self.kept.spread * self.scale,
            "reliability": self.kept.reliability,
        }


def _maps(found: PhotonTransfer) -> tuple[_Map, ...]:
    return (
        _Map("offset", found.offset, 1.0, "ADU", "dark"),
        _Map("gain", found.slope, 100 / _centre(found.slope), "%", "light"),
        _Map("read noise", found.read_variance, 50.0, "%", "dark"),  # of the logarithm of the variance
    )


def _level(level: LevelResult, found: PhotonTransfer) -> Mapping[str, Any]:
    return {
        "name": level.name,
        "frames": level.frames,
        "exposure_ms": level.exposure_ms,
        "signal_adu": level.signal_adu,
        "signal_e": level.signal_adu * found.electrons_per_adu / found.em_gain,
        "usable_pixels": level.usable,
        "adu2_per_adu": _number(level.slope_adu),
        "standard_error": _number(level.slope_error),
        "light_drift": level.drift,
        "steadiness": level.steadiness,
    }


def _pixels(flags: npt.NDArray[np.bool_]) -> Mapping[str, Any]:
    rows, columns = np.nonzero(flags)
    return {"number": len(rows), "xy_px": np.stack([columns, rows], axis=1)[:LISTED].tolist()}


def _number(value: float) -> float | None:
    """JSON knows no nan."""
    return float(value) if math.isfinite(value) else None

"""Molecules under a measured point spread function, behind the ``Finder`` port: raw counts in, photons and nm out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smartscope.errors import InputError
from smartscope.frame import Frame
from smartscope.optics.point_spread.spline_file import load_spline
from smartscope.result import Localizations
from smartscope_models.calibration import Floats, PixelCalibration
from smartscope_models.localization.counting import glowing
from smartscope_models.localization.finder import FITS, Found
from smartscope_models.localization.saturation import Saturation, inside
from smartscope_models.localization.shots import Shots
from smartscope_models.localization.spline_fit import heights_within
from smartscope_models.localization.spline_frame import SplineFrameFitter

LEAST_RANGE_NM = 100.0


class SplinePath:
    """Fits every frame for itself; nothing is remembered but the camera's calibration."""

    def __init__(
        self,
        file: Path,
        range_nm: float,
        pixel_size_nm: float,
        quantum_efficiency: float,
        *,
        false_alarms_per_megapixel: float,
        max_spots: int,
    ) -> None:
        """range_nm: heights from minus to plus this, and a little beyond, are looked for.

        Raises:
            InputError: the file holds no spline for this camera, or none of the heights that are looked for.
        """
        self._spline, self._range = load_spline(file, pixel_size_nm), range_nm
        low, high = heights_within(self._spline, range_nm)
        if high - low < LEAST_RANGE_NM:
            lowest, highest = self._spline.range_nm
            raise InputError(
                f"tells heights from {lowest:g} to {highest:g} nm, and {range_nm:g} nm around 0 are looked for",
                where=str(file),
                allowed=f"{LEAST_RANGE_NM:g} nm or more in common",
                remedy="correct optics.point_spread.range_nm, or measure around the focus",
            )
        self._efficiency = quantum_efficiency
        self._alarms, self._most = false_alarms_per_megapixel, max_spots
        self._known: tuple[PixelCalibration, Shots] | None = None
        self._fitter: SplineFrameFitter | None = None
        self._light: Floats = np.zeros((1, 1), np.float32)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile on a made-up pair of molecules; allocate for frames of this (H, W)."""
        side = 2 * round(max(self._spline.size_px)) + 24
        middle = self._spline.spots([side / 3, side / 2], side / 2, np.mean(self._spline.range_nm), (side, side))
        light = (10 + 5000 * middle.values.sum(axis=0)).astype(np.float32)
        self._fitter_for(light.shape).fit(light, np.ones_like(light))
        self._light, self._fitter = np.zeros(shape, np.float32), self._fitter_for(shape)

    def _fitter_for(self, shape: tuple[int, int]) -> SplineFrameFitter:
        return SplineFrameFitter(
            shape,
            self._spline,
            self._range,
            false_alarms_per_megapixel=self._alarms,
            max_spots=self._most,
        )

    def find(self, frame: Frame, calibration: PixelCalibration) -> Found:
        """The molecules of the frame."""
        shape = (frame.pixels.shape[0], frame.pixels.shape[1])
        if self._fitter is None or self._light.shape != shape:
            self._light, self._fitter = np.zeros(shape, np.float32), self._fitter_for(shape)
        if self._known is None or self._known[0] is not calibration:
            self._known = calibration, Shots(calibration)
        fitter, shots = self._fitter, self._known[1]
        shots.of(frame.pixels, self._light)
        saturation = Saturation(frame.pixels, calibration)
        fit = fitter.fit(self._light, saturation.blinded(shots.read))
        keep = inside(fit.rows, shape)
        spoilt = keep & saturation.touching(fit.rows, fitter.extent_px)
        found, lost = int(keep.sum()), int(spoilt.sum())
        table = _table(fit.rows[keep & ~spoilt & ~fit.beyond], shots.excess / self._efficiency)
        emitters, error = glowing(fit.rows[keep, 2], fit.rows[keep, 7], float(self._light.size), fitter.sigma_px)
        share = min((found - lost) / emitters, 1.0) if emitters > 0 else 1.0
        agreement = min(max(2.0 - fit.chi2, 0.0), 1.0)
        doubts = saturation.doubts(found, lost)
        return Found(table, emitters, error, FITS, agreement, share * agreement, {}, doubts)


def _table(rows: np.ndarray, photons: float) -> Localizations:
    """Molecules (K, 13) as :class:`SplineFrame` has them; photons: how many there are to a shot. Widths are 0."""
    none = np.zeros(len(rows))
    columns = (
        rows[:, 0], rows[:, 1], rows[:, 4], photons * rows[:, 2], photons * rows[:, 3], none, none,
        rows[:, 5], rows[:, 6], rows[:, 9], photons * rows[:, 7], none + 1, rows[:, 11],
    )  # fmt: skip
    return Localizations(*(column.astype(np.float32) for column in columns))

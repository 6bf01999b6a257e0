"""Molecules by fits alone, behind the ``Finder`` port: raw counts in, photons that reached the sensor out."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import maximum_filter

from smartscope.config import PointSpreadConfig
from smartscope.frame import Frame, Pixels
from smartscope.result import Localizations
from smartscope_models.calibration import Floats, PixelCalibration
from smartscope_models.localization.counting import glowing
from smartscope_models.localization.finder import FITS, Found
from smartscope_models.localization.fitter import FrameFit, FrameFitter
from smartscope_models.localization.noise import NoiseMeter
from smartscope_models.localization.shots import Shots

BLIND = np.float32(1e8)
"""Read variance of a pixel that tells nothing: it is saturated."""
TOUCHING = 2.0
"""Widths from a spot's centre within which a saturated pixel makes it worthless."""
RETRIES, RETRY = 2, 1.2
"""Times that a frame is fitted again, while the noise assumed grows by this factor."""
NOISY_TRUST = 0.5
"""Trust in a frame whose noise is not that of the calibration."""
SATURATED_TRUST = 0.9
"""Trust in a frame with one saturated pixel."""


class FitPath:
    """Fits every frame for itself; width and brightness of spots are remembered from frame to frame."""

    kind = FITS

    def __init__(
        self,
        psf: PointSpreadConfig,
        sigma_px: float,
        quantum_efficiency: float,
        *,
        false_alarms_per_megapixel: float,
        max_spots: int,
        self_calibrating: bool,
        rounds: int,
    ) -> None:
        self._psf, self._sigma, self._efficiency = psf, sigma_px, quantum_efficiency
        self._alarms, self._most, self._learns = false_alarms_per_megapixel, max_spots, self_calibrating
        self._rounds = rounds
        self._known: tuple[PixelCalibration, Shots] | None = None
        self._fitter: FrameFitter | None = None
        self._noise = NoiseMeter()
        self._light: Floats = np.zeros((1, 1), np.float32)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile on a made-up pair of spots; allocate for this size if no frame has come yet."""
        light = np.full((24, 24), 10.0, np.float32)
        light[10:13, 8:16] += 100
        stranger = self._fitter_for(light.shape, None)
        stranger.fit(light, np.ones_like(light))
        stranger.fit(light, np.ones_like(light), np.array([[9.0, 11.0, 500.0], [14.0, 11.0, 500.0]]))
        if self._fitter is None:
            self._light, self._fitter = np.zeros(shape, np.float32), self._fitter_for(shape, None)

    def _fitter_for(self, shape: tuple[int, int], experience: FrameFitter | None) -> FrameFitter:
        return FrameFitter(
            shape,
            self._psf,
            self._sigma,
            false_alarms_per_megapixel=self._alarms,
            max_spots=self._most,
            self_calibrating=self._learns,
            rounds=self._rounds,
            experience=experience,
        )

    def find(self, frame: Frame, calibration: PixelCalibration) -> Found:
        """The molecules of the frame."""
        shape = (frame.pixels.shape[0], frame.pixels.shape[1])
        if self._fitter is None or self._light.shape != shape:
            self._light, self._fitter = np.zeros(shape, np.float32), self._fitter_for(shape, self._fitter)
        if self._known is None or self._known[0] is not calibration:
            self._known = calibration, Shots(calibration)
        fitter, shots = self._fitter, self._known[1]
        saturated = frame.pixels >= calibration.saturation_adu
        blinded = bool(saturated.any())
        fit, excess = self._fit(frame.pixels, saturated if blinded else None, shots)
        keep = _inside(fit, shape)
        spoilt = _touching(fit, saturated, TOUCHING * fitter.sigma_px) if blinded else np.zeros(len(fit), bool)
        table = self._table(fit, fitter, keep & ~spoilt, excess / self._efficiency)
        contrast = float(np.median(fit.values[keep, 2] / fit.errors[keep, 2])) if keep.any() else 1.0
        emitters, error = glowing(int(keep.sum()), float(self._light.size), fitter.sigma_px, contrast)
        health = _health(int((keep & ~spoilt).sum()), emitters, fit.chi2)
        return Found(table, emitters, error, health, self._figures(fitter), self._doubts(saturated, keep, spoilt))

    def _fit(self, pixels: Pixels, saturated: np.ndarray | None, shots: Shots) -> tuple[FrameFit, float]:
        """The fit, begun anew where the frame proves noisier than was assumed; electrons per shot."""
        for _ in range(1 + RETRIES):
            factor = self._noise.factor
            shots.of(pixels, self._light)
            self._light /= np.float32(factor)
            read = shots.read / np.float32(factor)
            if saturated is not None:
                read[saturated] = BLIND
            assert self._fitter is not None
            fit = self._fitter.fit(self._light, read)
            self._noise.learn(factor * fit.variance)
            if self._noise.factor <= RETRY * factor:
                break
        return fit, shots.excess * factor

    def _table(self, fit: FrameFit, fitter: FrameFitter, keep: np.ndarray, photons: float) -> Localizations:
        """The molecules that are kept; photons: how many there are to a shot."""
        values, errors = fit.values[keep], fit.errors[keep]
        tall = self._psf.model == "astigmatic"
        none = np.zeros(len(values))
        sigma_x, sigma_y = fitter.widths_of(values[:, 3])
        columns = (
            values[:, 0], values[:, 1], values[:, 3] if tall else none,
            photons * values[:, 2], photons * fit.background[keep], sigma_x, sigma_y,
            errors[:, 0], errors[:, 1], errors[:, 3] if tall else none, photons * errors[:, 2],
            np.ones(len(values)), fit.misfit[keep],
        )  # fmt: skip
        return Localizations(*(column.astype(np.float32) for column in columns))

    def _doubts(self, saturated: np.ndarray, keep: np.ndarray, spoilt: np.ndarray) -> tuple[tuple[float, str], ...]:
        doubts = _saturation(saturated, keep, spoilt)
        if self._noise.factor == 1:
            return doubts
        why = f"the camera's noise is {self._noise.factor:.1f} times the calibrated variance: calibrate the camera"
        return (*doubts, (NOISY_TRUST, why))

    def _figures(self, fitter: FrameFitter) -> dict[str, float]:
        if not fitter.width.known:
            return {}
        return {"psf_sigma_px": self._sigma * fitter.width.ratio, "psf_sigma_ratio": fitter.width.ratio}


def _inside(fit: FrameFit, shape: tuple[int, int]) -> np.ndarray:
    """Which molecules lie in the frame; light of others may reach into it."""
    x, y = fit.values[:, 0], fit.values[:, 1]
    within: np.ndarray = (x >= -0.5) & (x <= shape[1] - 0.5) & (y >= -0.5) & (y <= shape[0] - 0.5)
    return within


def _touching(fit: FrameFit, saturated: np.ndarray, reach_px: float) -> np.ndarray:
    """Which molecules have a saturated pixel near their centre."""
    near = maximum_filter(saturated, 2 * math.ceil(reach_px) + 1)
    rows, columns = (np.rint(fit.values[:, axis]).astype(int).clip(0, saturated.shape[1 - axis] - 1) for axis in (1, 0))
    touching: np.ndarray = near[rows, columns]
    return touching


def _health(kept: int, emitters: float, chi2: float) -> float:
    """Share of the molecules counted that were found, less what the frame differs from its model by."""
    found = min(kept / emitters, 1.0) if emitters > 0 else 1.0
    return found * min(max(2.0 - chi2, 0.0), 1.0)


def _saturation(saturated: np.ndarray, keep: np.ndarray, spoilt: np.ndarray) -> tuple[tuple[float, str], ...]:
    """Doubt in a frame with saturated pixels."""
    pixels = int(saturated.sum())
    if not pixels:
        return ()
    lost = int((keep & spoilt).sum())
    share = max(lost / max(int(keep.sum()), 1), min(20 * pixels / saturated.size, 1.0))
    return ((SATURATED_TRUST * (1 - share), f"{pixels} pixels are saturated; {lost} molecules on them are left out"),)

"""Molecules by fits alone, behind the ``Finder`` port: raw counts in, photons that reached the sensor out."""

from __future__ import annotations

import math

import numpy as np

from smartscope.config import PointSpreadConfig
from smartscope.frame import Frame, Pixels
from smartscope.result import Localizations
from smartscope_models.calibration import Floats, PixelCalibration
from smartscope_models.localization.counting import glowing
from smartscope_models.localization.finder import FITS, Found
from smartscope_models.localization.fitter import FrameFit, FrameFitter
from smartscope_models.localization.joint import Doubles
from smartscope_models.localization.noise import NoiseMeter
from smartscope_models.localization.saturation import Saturation, inside
from smartscope_models.localization.shots import Shots

CROWD = 5.5
"""What neighbours that nobody found, and the background between molecules, add to the squared error of a place, over
that error and over the molecules per squared width; measured on simulated frames of 0.4 to 2.5 per square micrometre.
"""
RETRIES, RETRY = 2, 1.2
"""Times that a frame is fitted again, while the noise assumed grows by this factor."""
NOISY_TRUST = 0.5
"""Trust in a frame whose noise is not that of the calibration."""


class FitPath:
    """Fits every frame for itself; width and brightness of spots are remembered from frame to frame."""

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
        self._place: tuple[object, ...] = ()

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

    @property
    def sigma_px(self) -> float:
        """Width of a spot in use, in focus."""
        return self._fitter.sigma_px if self._fitter is not None else self._sigma

    def find(self, frame: Frame, calibration: PixelCalibration, starts: Doubles | None = None) -> Found:
        """The molecules of the frame; starts: (K, 3) or (K, 4) x, y, shots, height of those found before."""
        shape = (frame.pixels.shape[0], frame.pixels.shape[1])
        if self._fitter is None or self._light.shape != shape:
            self._light, self._fitter = np.zeros(shape, np.float32), self._fitter_for(shape, self._fitter)
        if self._known is None or self._known[0] is not calibration:
            self._known = calibration, Shots(calibration)
        fitter, shots = self._fitter, self._known[1]
        if (place := _place(frame)) != self._place:
            self._place = place
            fitter.fixed_light.forget()
        saturation = Saturation(frame.pixels, calibration)
        fit, excess = self._fit(frame.pixels, saturation, shots, starts)
        keep = inside(fit.values, shape)
        found, told = int(keep.sum()), keep & ~saturation.touching(fit.values, fitter.sigma_px)
        table = self._table(fit, fitter, told, excess / self._efficiency)
        emitters, error = glowing(fit.values[keep, 2], fit.errors[keep, 2], float(self._light.size), fitter.sigma_px)
        share = min(len(table) / emitters, 1.0) if emitters > 0 else 1.0
        agreement = min(max(2.0 - fit.chi2, 0.0), 1.0)
        doubts = (*saturation.doubts(found, found - len(table)), *self._noisy())
        return Found(table, emitters, error, FITS, agreement, share * agreement, self._figures(fitter), doubts)

    def _fit(
        self, pixels: Pixels, saturation: Saturation, shots: Shots, starts: Doubles | None
    ) -> tuple[FrameFit, float]:
        """The fit, begun anew where the frame proves noisier than was assumed; electrons per shot."""
        assert self._fitter is not None
        for _ in range(1 + RETRIES):
            factor = self._noise.factor
            shots.of(pixels, self._light)
            self._light /= np.float32(factor)
            read = saturation.blinded(shots.read / np.float32(factor))
            begun = None if starts is None else starts / np.array([1, 1, factor, 1])[: starts.shape[1]]
            fit = self._fitter.fit(self._light, read, begun)
            self._noise.learn(factor * fit.variance)
            if self._noise.factor <= RETRY * factor:
                break
        return fit, shots.excess * factor

    def _table(self, fit: FrameFit, fitter: FrameFitter, keep: np.ndarray, photons: float) -> Localizations:
        """The molecules that are kept; photons: how many there are to a shot."""
        values, errors = fit.values[keep], fit.errors[keep].copy()
        errors[:, :2] *= math.sqrt(1 + CROWD * len(fit) / self._light.size * fitter.sigma_px**2)
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

    def _noisy(self) -> tuple[tuple[float, str], ...]:
        """Doubt in a camera that is noisier than calibrated."""
        if self._noise.factor == 1:
            return ()
        why = f"the camera's noise is {self._noise.factor:.1f} times the calibrated variance: calibrate the camera"
        return ((NOISY_TRUST, why),)

    def _figures(self, fitter: FrameFitter) -> dict[str, float]:
        if not fitter.width.known:
            return {}
        return {"psf_sigma_px": self._sigma * fitter.width.ratio, "psf_sigma_ratio": fitter.width.ratio}


def _place(frame: Frame) -> tuple[object, ...]:
    settings = frame.settings
    return settings.roi, settings.x_um, settings.y_um, settings.z_um

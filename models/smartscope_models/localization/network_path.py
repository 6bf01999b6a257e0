"""Molecules by a network that tells crowds apart, then by fits from there on; of two places the surer one is taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from smartscope.config import PointSpreadConfig
from smartscope.frame import Frame, Roi
from smartscope.result import Localizations
from smartscope_models.anscombe import Anscombe
from smartscope_models.calibration import PixelCalibration
from smartscope_models.localization.crowd import Answer, CrowdNetwork
from smartscope_models.localization.finder import NETWORK, Found
from smartscope_models.localization.fit_path import FitPath
from smartscope_models.localization.sight import Z_UNIT_NM

SAME = 3.0
"""Errors, the network's and the fit's together, within which both speak of one molecule."""
LEAST_ERROR = 0.5
"""Of a number of molecules."""
AGREED = 2.0
"""Times what a surer place may differ from a less sure one of the same molecule: beyond, the network took what it saw
in the frames before for the same molecule, and was wrong."""


class NetworkPath:
    """The network says how many there are and where, also from the frames before; fits sharpen and revise that."""

    def __init__(self, network: CrowdNetwork, fits: FitPath, psf: PointSpreadConfig, quantum_efficiency: float) -> None:
        self._network, self._fits, self._psf, self._efficiency = network, fits, psf, quantum_efficiency
        self._known: tuple[PixelCalibration, Anscombe] | None = None
        self._stable = np.zeros((0, 0), np.float32)
        self._last: tuple[int, int, Roi, float, float, float] | None = None

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and allocate for frames of this (H, W)."""
        self._fits.warm_up(shape)
        self._network.warm_up(shape)
        self._stable, self._last = np.zeros(shape, np.float32), None
        self._network.find(self._stable, False, self._fits.sigma_px, self._psf)

    def find(self, frame: Frame, calibration: PixelCalibration) -> Found:
        """The molecules of the frame; where pixels are saturated, by fits alone."""
        if (frame.pixels >= calibration.saturation_adu).any():  # a network has never seen that
            self._last = None
            return self._fits.find(frame, calibration)
        if self._known is None or self._known[0] is not calibration:
            self._known = calibration, Anscombe(calibration)
        if self._stable.shape != frame.pixels.shape:
            self._stable, self._last = np.zeros(frame.pixels.shape, np.float32), None
        self._known[1].forward(frame.pixels, self._stable)
        answer = self._network.find(self._stable, self._follows(frame), self._fits.sigma_px, self._psf)
        rows = answer.rows
        starts = np.column_stack([rows[:, 0], rows[:, 1], np.exp(rows[:, 2]), Z_UNIT_NM * rows[:, 3]])
        found = self._fits.find(frame, calibration, starts if self._psf.model == "astigmatic" else starts[:, :3])
        together = surer(found.localizations, answer, calibration.excess / self._efficiency)
        # molecules that the fits found beside the network's were in none of its probabilities
        emitters = max(answer.number, float(len(together)))
        share = min((len(together) + LEAST_ERROR) / max(emitters, LEAST_ERROR), 1.0)
        return replace(
            found,
            localizations=together,
            emitters=emitters,
            emitters_error=max(answer.number_error, LEAST_ERROR),
            kind=NETWORK,
            recall_health=share * found.agreement,
        )

    def _follows(self, frame: Frame) -> bool:
        """Whether nothing was lost or moved since the frame before."""
        settings = frame.settings
        here = (frame.epoch, frame.index, settings.roi, settings.exposure_ms, settings.x_um, settings.y_um)
        before, self._last = self._last, here
        return before is not None and not frame.lost_before and before == (here[0], here[1] - 1, *here[2:])


def surer(fitted: Localizations, answer: Answer, photons: float) -> Localizations:
    """Each molecule of the fit, at the network's place where the network is surer of it; photons: to a shot.

    The network knows of the frames before, and of what crowds look like; the fit attains the limit where a molecule
    stands alone.
    """
    rows = answer.rows
    if not len(fitted) or not len(rows):
        return fitted
    columns = {name: getattr(fitted, name).copy() for name in fitted.__slots__}
    places = np.column_stack([fitted.x_px, fitted.y_px]).astype(float)
    gap, nearest = cKDTree(rows[:, :2]).query(places)
    theirs = rows[nearest]
    own = 0.5 * (fitted.x_error_px.astype(float) ** 2 + fitted.y_error_px.astype(float) ** 2)
    other = 0.5 * (theirs[:, 4] ** 2 + theirs[:, 5] ** 2)
    same = gap < SAME * np.sqrt(2 * (own + other))
    columns["probability"][same] = np.minimum(theirs[same, 9], 1.0)
    taken = same & (other < own) & (gap < AGREED * np.sqrt(2 * np.maximum(own - other, 0)))
    for name, column in (("x_px", 0), ("y_px", 1), ("x_error_px", 4), ("y_error_px", 5)):
        columns[name][taken] = theirs[taken, column]
    light = photons * np.exp(theirs[taken, 2])
    columns["photons"][taken], columns["photons_error"][taken] = light, light * theirs[taken, 6]
    return Localizations(**columns)

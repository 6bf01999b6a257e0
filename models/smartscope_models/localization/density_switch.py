"""Which finder looks at a frame: fits where molecules stand apart, the network where they crowd."""

from __future__ import annotations

import math

from smartscope.frame import Frame
from smartscope_models.calibration import PixelCalibration
from smartscope_models.localization.finder import Found
from smartscope_models.localization.fit_path import FitPath
from smartscope_models.localization.network_path import NetworkPath

CROWDED = 0.012
"""Molecules per squared width of a spot: 0.7 per square micrometre for a width of 130 nm. At twice that both are as
good, at four times that fits alone lose half of the molecules."""
SPARSE = 0.6 * CROWDED
"""Back to fits below this."""
MEMORY = 0.3
"""Weight of the newest frame in the running density."""


class DensitySwitch:
    """Both finders behind one; the network begins: fits that begin in a crowd do not learn what one molecule is."""

    def __init__(self, fits: FitPath, network: NetworkPath) -> None:
        self._fits, self._network = fits, network
        self._crowded, self._per_area = True, math.nan

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Both, so that nothing compiles once the light is on."""
        self._network.warm_up(shape)

    def find(self, frame: Frame, calibration: PixelCalibration) -> Found:
        """The molecules of the frame, by the finder that suits the frames before."""
        finder = self._network if self._crowded else self._fits
        found = finder.find(frame, calibration)
        per_area = found.emitters / frame.pixels.size * self._fits.sigma_px**2
        if math.isnan(self._per_area):
            self._per_area, self._crowded = per_area, per_area > CROWDED
            return found
        self._per_area += MEMORY * (per_area - self._per_area)
        self._crowded = self._per_area > (SPARSE if self._crowded else CROWDED)
        return found

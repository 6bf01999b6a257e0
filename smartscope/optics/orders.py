"""Only this file knows which orders of a grating on a phase SLM pass the mask in the pupil, and how strong they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from smartscope.config import OpticsConfig, SlmConfig, StructuredIlluminationConfig
from smartscope.optics.fringes import Complexes, Doubles, wanted_beams

HOLE = 0.03
"""Radius of a hole in the mask over that of the pupil."""
FAINT = 0.01
"""Orders weaker than this, over the strongest, are left out."""
MOST = 8
"""Orders taken into account."""

Image = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Orders:
    """What of the light passes."""

    cycles: Whole
    """(n, 2) frequencies in cycles over the SLM, x and y; the strongest first."""
    amplitudes: Complexes
    """(n,) with the phase at the SLM's centre; a flat SLM passes 1."""


class OrderMask:
    """A mask with a hole for each beam of every direction, and one on the axis.

    The hole on the axis lets a flat SLM light the sample evenly; the gratings of two beams leave it dark.
    """

    def __init__(
        self, config: StructuredIlluminationConfig, slm: SlmConfig, optics: OpticsConfig, wavelength_nm: float
    ) -> None:
        self.slm_um = np.array(slm.shape[::-1]) * slm.pixel_size_nm / 1e3
        """Width and height of the SLM in the sample."""
        self._slm = slm
        beams = wanted_beams(config, optics.numerical_aperture, wavelength_nm)
        holes = np.vstack([np.zeros((1, 2)), beams.reshape(-1, 2)])
        radius = HOLE * optics.numerical_aperture / wavelength_nm * 1e3
        self._open = self._bins(holes, radius)

    def _bins(self, holes: Doubles, radius: float) -> Whole:
        """(n, 2) whole cycles over the SLM that lie in a hole."""
        found: set[tuple[int, ...]] = set()
        for hole in holes:
            low, high = np.ceil((hole - radius) * self.slm_um), np.floor((hole + radius) * self.slm_um)
            grid = np.mgrid[int(low[0]) : int(high[0]) + 1, int(low[1]) : int(high[1]) + 1].reshape(2, -1).T
            inside = ((grid / self.slm_um - hole) ** 2).sum(1) <= radius**2
            nearest = np.rint(hole * self.slm_um).astype(int)  # a tiny SLM: the hole is smaller than a frequency step
            found.update(map(tuple, [*grid[inside].tolist(), nearest.tolist()]))
        return np.array(sorted(found), np.int64)

    def passed(self, image: Image) -> Orders:
        """Orders of an SLM image (H, W) of grey values, 0 to ``on_value`` being half a wave."""
        height, width = self._slm.shape
        field = np.exp(1j * np.pi / self._slm.on_value * np.arange(256)).astype(np.complex64)[image]
        spectrum = fft.fft2(field, overwrite_x=True)
        share = self._open / np.array([width, height])
        amplitudes = spectrum[self._open[:, 1], self._open[:, 0]].astype(complex) / image.size
        # a pixel is a square, not a point; and phases count from the SLM's centre
        amplitudes *= np.sinc(share).prod(1) * np.exp(1j * np.pi * (share * (np.array([width, height]) - 1)).sum(1))
        order = np.argsort(-np.abs(amplitudes))[:MOST]
        kept = order[np.abs(amplitudes[order]) > FAINT * max(np.abs(amplitudes[order[0]]), FAINT)]
        return Orders(self._open[kept], amplitudes[kept])

"""Only this file knows what a simulated specimen must offer, and how places of the sample lie on the sensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from smartscope.config import PointSpreadConfig
from smartscope.frame import Roi
from smartscope.optics.psf import GAUSSIAN_WIDTH

Points = npt.NDArray[np.float64]
"""(N, 2): x and y."""
PlaceDose = Callable[[Points], npt.NDArray[np.float64]]
"""Dose in J/cm2 at each of N places of the sample, um in the stage's coordinates."""
PlaceLight = Callable[[Points], npt.NDArray[np.float64]]
"""Relative light (N,) at N places of the sample, um in the stage's coordinates; 1 is full."""

STEP_S = 0.01
"""All motion and bleaching is integrated on this fixed grid of time, whenever frames are taken."""


@dataclass(frozen=True, slots=True)
class View:
    """How the sample is imaged at one moment."""

    stage_um: tuple[float, float]
    """Stage position; the sample point of the same coordinates lies at the sensor's centre."""
    defocus_um: float
    """Height of the focal plane above the specimen's own plane."""
    affine_um_per_px: tuple[tuple[float, float], tuple[float, float]]
    """Stage displacement that brings a point back that lies (dx, dy) pixels off the sensor's centre."""
    sensor_shape: tuple[int, int]
    """(H, W), pixels."""
    roi: Roi
    sigma_um: float
    """Standard deviation of the PSF in focus."""
    depth_um: float
    """Defocus that widens it by sqrt(2)."""
    detected_fraction: float
    """Photo-electrons per photon emitted by the sample."""
    lit_radius_um: float = math.inf
    """Everything farther from the optical axis is dark."""
    point_spread: PointSpreadConfig = field(default_factory=PointSpreadConfig)
    """The image of a single molecule, as it was calibrated."""

    @property
    def pixel_um(self) -> float:
        """Edge of a pixel in the sample."""
        (a, b), (c, d) = self.affine_um_per_px
        return float(np.sqrt(abs(a * d - b * c)))

    @property
    def cutoff_per_um(self) -> float:
        """Finest frequency that the lens passes, 2 NA / lambda, in cycles per um of the sample."""
        return 2 * GAUSSIAN_WIDTH / self.sigma_um

    def centre_px(self) -> tuple[float, float]:
        """(x, y) of the optical axis in the ROI; the centre of its top-left pixel is (0, 0)."""
        height, width = self.sensor_shape
        return (width - 1) / 2 - self.roi.x, (height - 1) / 2 - self.roi.y

    def to_pixels(self, places_um: Points) -> Points:
        """ROI pixels (N, 2) of sample places (N, 2)."""
        inverse = np.linalg.inv(np.asarray(self.affine_um_per_px))
        return np.asarray((places_um - np.asarray(self.stage_um)) @ inverse.T + np.asarray(self.centre_px()))

    def boxes(self, places_um: Points, half_um: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """ROI pixels (N, 4): left, top, right, bottom (exclusive) around squares of the sample; some may be empty."""
        reach = np.abs(np.linalg.inv(np.asarray(self.affine_um_per_px))).sum(axis=1) * half_um[:, None]
        pixels = self.to_pixels(places_um)
        first = np.maximum(np.floor(pixels - reach), 0)
        last = np.minimum(np.ceil(pixels + reach) + 1, (self.roi.width, self.roi.height))
        return np.concatenate([first, last], axis=1).astype(np.int64)

    def lit(self, places_um: Points, margin_um: npt.NDArray[np.float64] | float) -> npt.NDArray[np.bool_]:
        """Which places (N, 2), with a margin, the light reaches."""
        distance = np.hypot(places_um[:, 0] - self.stage_um[0], places_um[:, 1] - self.stage_um[1])
        return np.asarray(distance < self.lit_radius_um + margin_um)


@dataclass(frozen=True, slots=True)
class Light:
    """How bright each place is lit during one exposure; 1 is full."""

    at: PlaceLight
    """Before any blur."""
    pixels: npt.NDArray[np.float32] | None = None
    """(H, W) the same at the centre of each pixel of the ROI; None: full everywhere."""
    haze: npt.NDArray[np.float32] | None = None
    """(H, W) the same far out of focus, where fine fringes are blurred away; None: full everywhere."""


def _full(places_um: Points) -> npt.NDArray[np.float64]:
    return np.ones(len(places_um))


FULL_LIGHT = Light(_full)
"""The same light everywhere."""


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """What is really there at one moment; places in um, in the stage's coordinates."""

    t_s: float
    cells_um: Points
    """(N, 2) centres."""
    radii_um: npt.NDArray[np.float64]
    """(N,) mean radius of each outline."""
    cells_remaining: npt.NDArray[np.float64]
    """(N,) fraction of the fluorophores not yet bleached."""
    spots_um: Points
    """(M, 2) vesicles or beads."""
    spots_z_um: npt.NDArray[np.float64]
    """(M,) height above the specimen's plane."""
    spots_cell: npt.NDArray[np.int64]
    """(M,) index of the cell that a vesicle belongs to; -1: none."""
    spots_remaining: npt.NDArray[np.float64]
    """(M,) fraction of the fluorophores not yet bleached."""
    spots_on: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Which of the spots, single molecules, are on at this moment."""


@dataclass(frozen=True, slots=True)
class Glow:
    """Which single molecules (N,) shone during an exposure."""

    molecule: npt.NDArray[np.int64]
    """Its number among the spots of the ground truth; ascending."""
    places_um: Points
    """(N, 2), in the stage's coordinates."""
    z_um: npt.NDArray[np.float64]
    """Height above the specimen's plane."""
    photons: npt.NDArray[np.float64]
    """Emitted in all directions."""


class Scene(Protocol):
    """What a camera looks at."""

    def render(
        self,
        expected: npt.NDArray[np.float32],
        view: View,
        doses: Mapping[float, float],
        light: Light = FULL_LIGHT,
    ) -> None:
        """Fill ``expected`` (H, W), zeros before, with the photo-electrons expected in each pixel.

        ``doses``: wavelength (nm) to J/cm2 of the exposure where the illumination is full; every place gets the part
        of it that ``light`` says, before the lens blurs what it emits.
        """

    def ground_truth(self) -> GroundTruth:
        """What is really there now."""


class Specimen(Scene, Protocol):
    """Something alive or not, driven by its seed, by time and by light."""

    def advance(self, t_s: float) -> None:
        """Move on to ``t_s``; what happens depends on the seed and the fixed grid alone, not on the calls.

        Raises InputError when asked to go back.
        """

    def expose(self, wavelength_nm: float, dose_at: PlaceDose) -> None:
        """Bleach by a dose delivered about now."""


@runtime_checkable
class SwitchingSpecimen(Scene, Protocol):
    """Something that changes within an exposure: it is told of every piece of constant light, and sums what it emits.

    What happens depends on the seed and on the light, not on how time is cut into pieces.
    """

    def live(self, t_s: float, irradiance: Mapping[float, float], light_at: PlaceLight) -> None:
        """Go on to ``t_s`` in constant light; ``irradiance``: wavelength (nm) to W/cm2 where it is full.

        Raises InputError when asked to go back.
        """

    def begin_exposure(self) -> None:
        """The camera begins to collect now; what is rendered next is what is emitted from now on."""

    def glow(self) -> Glow:
        """Who has shone since the exposure began."""

"""Only this file knows worm-like filaments with emitters along them, rendered with the band limit of a real lens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from smartscope.config import NotNegative, Positive, Section
from smartscope.errors import InputError
from smartscope.optics.incoherent import MARGIN_PX, IncoherentLens
from smartscope.optics.psf import defocused_sigma_um
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope.specimens.protocol import FULL_LIGHT, GroundTruth, Light, PlaceDose, Points, View

_STEP_UM = 0.05
"""Of the walk that a filament is."""


class FilamentsOptions(Section):
    """Filaments spread over a square around the origin."""

    area_um: Positive = 50.0
    filaments: Annotated[int, Field(ge=1, le=10_000)] = 90
    length_um: Positive = 20.0
    persistence_um: Positive = 8.0
    """Arc over which the direction is forgotten (worm-like chain, in the plane)."""
    emitters_per_um: Positive = 20.0
    """At random along the filament, so that they make no pattern of their own."""
    molecules: Positive = 12.0
    """Dye molecules in each emitter."""
    bleaching: bool = True
    background_per_um2: NotNegative = 40.0
    """Molecules far out of focus, in the column over a square micrometre; no fringes reach them."""


class Filaments:
    """Still filaments in one plane.

    Args:
        seed: of everything random.
        options: keyword arguments of ``FilamentsOptions``.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        self._options = FilamentsOptions.model_validate(options)
        self._places = _grown(self._options, np.random.default_rng((seed, 4)))
        self._places.setflags(write=False)
        self._remaining = np.ones(len(self._places))
        self._lens: tuple[tuple[float | int, ...], IncoherentLens] | None = None
        self._t_s = 0.0

    def advance(self, t_s: float) -> None:
        """Move on to ``t_s``: nothing moves.

        Raises:
            InputError: ``t_s`` lies before the time already reached.
        """
        if t_s < self._t_s:
            raise InputError(
                f"a specimen at {self._t_s} s cannot go back to {t_s} s", remedy="make one of the same seed"
            )
        self._t_s = t_s

    def expose(self, wavelength_nm: float, dose_at: PlaceDose) -> None:
        """Bleach each emitter by the dose where it is."""
        if self._options.bleaching:
            GREEN_PROTEIN.bleach(self._remaining, dose_at(self._places), wavelength_nm)

    def render(
        self,
        expected: npt.NDArray[np.float32],
        view: View,
        doses: Mapping[float, float],
        light: Light = FULL_LIGHT,
    ) -> None:
        """Fill ``expected`` (H, W) with photo-electrons: each emitter in the light where it is, on an even haze.

        Out of focus a Gaussian widens the picture as it does that of a bead.

        Raises:
            InputError: pixels too large for the lens.
        """
        emitted = sum(GREEN_PROTEIN.emitted(dose, wavelength_nm) for wavelength_nm, dose in doses.items())
        electrons = emitted * view.detected_fraction
        expected += np.float32(self._options.background_per_um2 * view.pixel_um**2 * electrons)
        if light.haze is not None:
            expected *= light.haze
        pixels = view.to_pixels(self._places)
        near = (np.abs(pixels - _middle(expected)) < np.array(expected.shape[::-1]) / 2 + MARGIN_PX).all(axis=1)
        amounts = electrons * self._options.molecules * (self._remaining * light.at(self._places))[near]
        self._lens_of(view).add(pixels[near, 0], pixels[near, 1], amounts, expected)

    def _lens_of(self, view: View) -> IncoherentLens:
        defocused = float(defocused_sigma_um(view.sigma_um, view.depth_um, np.array(view.defocus_um)))
        extra_px = math.sqrt(max(defocused**2 - view.sigma_um**2, 0.0)) / view.pixel_um
        shape, cutoff = (view.roi.height, view.roi.width), view.cutoff_per_um * view.pixel_um
        if self._lens is None or self._lens[0] != (*shape, cutoff, extra_px):
            self._lens = (*shape, cutoff, extra_px), IncoherentLens(shape, cutoff, extra_px)
        return self._lens[1]

    def ground_truth(self) -> GroundTruth:
        """What is really there now: emitters that belong to no cell."""
        n = len(self._places)
        return GroundTruth(
            t_s=self._t_s,
            cells_um=np.empty((0, 2)),
            radii_um=np.empty(0),
            cells_remaining=np.empty(0),
            spots_um=self._places.copy(),
            spots_z_um=np.zeros(n),
            spots_cell=np.full(n, -1, np.int64),
            spots_remaining=self._remaining.copy(),
        )


def _middle(expected: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    height, width = expected.shape
    return np.array([(width - 1) / 2, (height - 1) / 2])


def _grown(options: FilamentsOptions, rng: np.random.Generator) -> Points:
    """Emitters (N, 2) along all filaments."""
    paths = grown(options.filaments, options.length_um, options.persistence_um, options.area_um, rng)
    emitters = max(1, round(options.filaments * options.length_um * options.emitters_per_um))
    return along(paths, emitters, rng)[0]


def grown(
    filaments: int, length_um: float, persistence_um: float, area_um: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Paths (filaments, steps, 2) over a square around the origin.

    In a plane the direction of a worm-like chain spreads by sqrt(arc / persistence) (Rubinstein, Colby, section 2.3.2,
    for two dimensions).
    """
    half, steps = area_um / 2, max(2, round(length_um / _STEP_UM))
    starts = rng.uniform(-half, half, (filaments, 1, 2))
    bends = rng.normal(0, math.sqrt(_STEP_UM / persistence_um), (filaments, steps))
    bends[:, 0] = rng.uniform(0, 2 * math.pi, filaments)
    directions = np.cumsum(bends, axis=1)
    walked = np.cumsum(_STEP_UM * np.stack([np.cos(directions), np.sin(directions)], axis=-1), axis=1)
    return np.asarray(starts + walked - walked.mean(axis=1, keepdims=True))


def along(
    paths: npt.NDArray[np.float64], emitters: int, rng: np.random.Generator
) -> tuple[Points, npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Emitters (N, 2) at random along the paths, the path (N,) of each, and how far along it lies (N,), 0 to 1."""
    filaments, steps = paths.shape[:2]
    chosen, place = rng.integers(filaments, size=emitters), rng.uniform(0, steps - 1, emitters)
    before = np.minimum(place.astype(int), steps - 2)
    weight = (place - before)[:, None]
    places = (1 - weight) * paths[chosen, before] + weight * paths[chosen, before + 1]
    return np.asarray(places), chosen, place / (steps - 1)

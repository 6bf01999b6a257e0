"""Only this file knows fluorescent beads: points of light of one size, stuck to the glass or in Brownian motion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.config import NotNegative, Positive, Section
from smartscope.errors import InputError
from smartscope.optics.psf import add_stamps, defocused_sigma_um
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope.specimens.protocol import FULL_LIGHT, STEP_S, GroundTruth, Light, PlaceDose, Points, View


class BeadsOptions(Section):
    """Beads spread over a square around the origin; the first lies at the origin."""

    area_um: Positive = 200.0
    beads: int = 400
    diffusion_um2_s: NotNegative = 0.0
    """0: stuck."""
    molecules: Positive = 3000.0
    """Dye molecules in each bead."""
    diameter_um: NotNegative = 0.1
    bleaching: bool = True
    background_per_um2: NotNegative = 40.0
    """Molecules in the column over a square micrometre."""


class Beads:
    """Point sources for calibration and tests.

    Args:
        seed: of everything random.
        options: keyword arguments of ``BeadsOptions``.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        self._options = BeadsOptions.model_validate(options)
        self._rng = np.random.default_rng((seed, 3))
        half = self._options.area_um / 2
        self._after = self._rng.uniform(-half, half, (self._options.beads, 2))
        self._after[:1] = 0.0
        self._before = self._after
        self._remaining = np.ones(self._options.beads)
        self._step = 0
        self._t_s = 0.0

    def advance(self, t_s: float) -> None:
        """Move on to ``t_s``, in fixed steps of ``STEP_S`` with straight lines between them.

        Raises:
            InputError: ``t_s`` lies before the time already reached.
        """
        if t_s < self._t_s:
            raise InputError(
                f"a specimen at {self._t_s} s cannot go back to {t_s} s", remedy="make one of the same seed"
            )
        self._t_s = t_s
        if self._options.diffusion_um2_s == 0:
            return
        spread = math.sqrt(2 * self._options.diffusion_um2_s * STEP_S)
        while self._step * STEP_S < t_s:
            self._before = self._after
            self._after = self._before + spread * self._rng.standard_normal(self._before.shape)
            self._step += 1

    def _now(self) -> Points:
        weight = 1.0 - (self._step - self._t_s / STEP_S)
        return self._before + weight * (self._after - self._before)

    def expose(self, wavelength_nm: float, dose_at: PlaceDose) -> None:
        """Bleach each bead by the dose where it is."""
        if self._options.bleaching:
            GREEN_PROTEIN.bleach(self._remaining, dose_at(self._now()), wavelength_nm)

    def render(
        self,
        expected: npt.NDArray[np.float32],
        view: View,
        doses: Mapping[float, float],
        light: Light = FULL_LIGHT,
    ) -> None:
        """Fill ``expected`` (H, W) with photo-electrons: each bead in the light where it is, on an even haze."""
        emitted = sum(GREEN_PROTEIN.emitted(dose, wavelength_nm) for wavelength_nm, dose in doses.items())
        electrons = emitted * view.detected_fraction
        expected += np.float32(self._options.background_per_um2 * view.pixel_um**2 * electrons)
        if light.haze is not None:
            expected *= light.haze
        places = self._now()
        pixels = view.to_pixels(places)
        defocused = defocused_sigma_um(view.sigma_um, view.depth_um, np.full(len(pixels), -view.defocus_um))
        sigma = np.hypot(defocused, self._options.diameter_um / 4)  # a bead is a disc of radius r: variance r^2 / 4
        amount = electrons * self._options.molecules * self._remaining * light.at(places)
        add_stamps(expected, pixels[:, 0], pixels[:, 1], sigma / view.pixel_um, amount)

    def ground_truth(self) -> GroundTruth:
        """What is really there now: spots that belong to no cell."""
        places = self._now()
        n = len(places)
        return GroundTruth(
            t_s=self._t_s,
            cells_um=np.empty((0, 2)),
            radii_um=np.empty(0),
            cells_remaining=np.empty(0),
            spots_um=places,
            spots_z_um=np.zeros(n),
            spots_cell=np.full(n, -1, np.int64),
            spots_remaining=self._remaining.copy(),
        )

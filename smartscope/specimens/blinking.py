"""Only this file knows single molecules on a labelled structure that switch, glow and bleach in front of a haze."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.specimens.haze import Haze, HazeOptions
from smartscope.specimens.labelling import LabellingOptions, placed
from smartscope.specimens.molecule_images import add_molecules
from smartscope.specimens.photophysics import FAR_RED_DYE
from smartscope.specimens.protocol import FULL_LIGHT, Glow, GroundTruth, Light, PlaceLight, View
from smartscope.specimens.switching import BLEACHED, ON, Ids, Switching, SwitchingOptions


class BlinkingOptions(LabellingOptions):
    """What is labelled, with which dye, in front of what."""

    switching: SwitchingOptions = SwitchingOptions()
    haze: HazeOptions = HazeOptions()


class Blinking:
    """Molecules for localisation microscopy; all are dark until light switches them on.

    Args:
        seed: of everything random.
        options: keyword arguments of ``BlinkingOptions``.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        self._options = BlinkingOptions.model_validate(options)
        self._places = placed(self._options, np.random.default_rng((seed, 6)))
        self._places.setflags(write=False)
        self._molecules = Switching(len(self._places), self._options.switching, seed)
        self._haze = Haze(self._options.haze, self._options.area_um, seed)
        self._t_s = 0.0

    def live(self, t_s: float, irradiance: Mapping[float, float], light_at: PlaceLight) -> None:
        """Switch, glow and bleach until ``t_s`` in constant light.

        Raises:
            InputError: ``t_s`` lies before the time already reached.
        """
        if t_s < self._t_s:
            raise InputError(
                f"a specimen at {self._t_s} s cannot go back to {t_s} s", remedy="make one of the same seed"
            )
        duration_s, self._t_s = t_s - self._t_s, t_s

        def light_of(molecules: Ids) -> npt.NDArray[np.float64]:
            return light_at(self._places[molecules, :2])

        self._molecules.live(duration_s, irradiance, light_of)
        dose = duration_s * sum(irradiance.values())
        if dose > 0:
            self._haze.expose(lambda places: dose * light_at(places))

    def begin_exposure(self) -> None:
        """Collect light from now on."""
        self._molecules.begin_exposure()

    def glow(self) -> Glow:
        """Who has shone since the exposure began, and how much."""
        molecule, photons = self._molecules.glowing()
        places = self._places[molecule]
        return Glow(molecule, places[:, :2], places[:, 2], photons)

    def render(
        self,
        expected: npt.NDArray[np.float32],
        view: View,
        doses: Mapping[float, float],
        light: Light = FULL_LIGHT,
    ) -> None:
        """Fill ``expected`` (H, W) with photo-electrons: the haze of ``doses``, and what molecules have emitted.

        Raises:
            InputError: the point spread function cannot be drawn.
        """
        emitted = sum(FAR_RED_DYE.emitted(dose, wavelength_nm) for wavelength_nm, dose in doses.items())
        self._haze.add(expected, view, emitted * view.detected_fraction)
        if light.haze is not None:
            expected *= light.haze
        glow = self.glow()
        add_molecules(expected, view, glow.places_um, glow.z_um, glow.photons * view.detected_fraction)

    def ground_truth(self) -> GroundTruth:
        """What is really there now: molecules that belong to no cell."""
        states = self._molecules.states
        return GroundTruth(
            t_s=self._t_s,
            cells_um=np.empty((0, 2)),
            radii_um=np.empty(0),
            cells_remaining=np.empty(0),
            spots_um=self._places[:, :2].copy(),
            spots_z_um=self._places[:, 2].copy(),
            spots_cell=np.full(len(states), -1, np.int64),
            spots_remaining=(states != BLEACHED).astype(np.float64),
            spots_on=np.flatnonzero(states == ON),
        )

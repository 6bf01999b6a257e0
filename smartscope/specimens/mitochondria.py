"""Only this file knows what mitochondria look like, with a labelled matrix, and what is true of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.optics.psf import add_stamps, defocused_sigma_um
from smartscope.specimens.living import ORGANELLE, Doubles, Labels, Objects, Occurrences, as_ground_truth
from smartscope.specimens.mitochondria_life import (
    APPROACHING,
    CHANGE,
    CONSTRICTING,
    JOINED,
    RETRACTING,
    RETRACTING_UM_S,
    MitochondriaLife,
)
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope.specimens.protocol import FULL_LIGHT, GroundTruth, Light, PlaceDose, Points, View
from smartscope.specimens.worm_masks import label_worms
from smartscope.specimens.worm_motion import NODES, PITCH_UM

_DEPTH = {CONSTRICTING: 0.95, RETRACTING: 0.95, APPROACHING: 0.5, JOINED: 0.5}
"""Part of the tube that a constriction takes away where it is deepest."""
_SITE_UM = 0.28
"""Standard deviation of a constriction along the tube."""
_LOOK_UM = 0.03
"""An exposure looks again when those that are carried have gone so far."""


class Mitochondria(MitochondriaLife):
    """Tubes.

    Args:
        seed: of everything random.
        options: keyword arguments of ``MitochondriaOptions``.
    """

    phases: tuple[str, ...] = ("free", "constricting", "retracting", "approaching", "joined")

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(seed, **options)
        self._looks: list[tuple[Points, Doubles, Doubles]] = []
        self.look_every_s = _LOOK_UM / max(self._options.carried_um_s, RETRACTING_UM_S)

    def expose(self, wavelength_nm: float, dose_at: PlaceDose) -> None:
        """Bleach each node by the dose where it is."""
        if self._options.bleaching:
            remaining = self._worms["remaining"].reshape(-1)
            GREEN_PROTEIN.bleach(remaining, dose_at(self._places().reshape(-1, 2)), wavelength_nm)
            self._worms["remaining"] = remaining.reshape(-1, NODES)

    # ---------------------------------------------------------------- picture

    def _places(self) -> Points:
        """Nodes (N, NODES, 2) now."""
        return np.asarray(self._before + self._weight * (self._worms["xy_um"] - self._before))

    def _there(self) -> npt.NDArray[np.bool_]:
        """(N, NODES) which nodes there are."""
        return np.asarray(np.arange(NODES) < self._worms["count"][:, None])

    def _narrowed(self) -> Doubles:
        """(N, NODES) cross-section that constrictions leave, 1 elsewhere."""
        worms, event_s = self._worms, self._options.event_s
        since = (self._t_s - worms["since_s"]) / event_s
        before, after = np.clip(since / CHANGE, 0, 1), np.clip((1 - since) / (1 - CHANGE), 0, 1)
        rising = np.isin(worms["phase"], (CONSTRICTING, APPROACHING))
        course = np.where(rising, before, after)
        depth = np.array([0.0, *(_DEPTH[phase] for phase in range(1, 5))])[worms["phase"]]
        depth *= course * course * (3 - 2 * course)
        away = PITCH_UM / _SITE_UM * (np.arange(NODES) - np.nan_to_num(worms["site"])[:, None])
        return np.asarray(1 - depth[:, None] * np.exp(-0.5 * away * away))

    def _amounts(self) -> Doubles:
        """(N, NODES) molecules that shine; what a constriction drives out stays on its side."""
        worms, there = self._worms, self._there()
        load = worms["load"] * worms["remaining"] * there
        narrowed = load * self._narrowed()
        left = np.arange(NODES) < np.nan_to_num(worms["site"])[:, None]
        for side in (left, ~left):
            had, has = (load * side).sum(axis=1), (narrowed * side).sum(axis=1)
            narrowed *= np.where(side, (had / np.maximum(has, 1e-12))[:, None], 1.0)
        return np.asarray(narrowed)

    def begin_exposure(self) -> None:
        """Forget all looks."""
        self._looks = []

    def look(self) -> None:
        """The picture is the mean over all looks."""
        self._looks.append(self._seen())

    def _seen(self) -> tuple[Points, Doubles, Doubles]:
        """Places (M, 2) of all nodes, the molecules that shine there, and the width (M,) of the tube's own spot."""
        there = self._there()
        size_um = 0.25 * self._options.width_um * np.sqrt(self._narrowed()[there])  # a disc of radius r: r^2 / 4
        return self._places()[there], self._amounts()[there], size_um

    def render(
        self,
        expected: npt.NDArray[np.float32],
        view: View,
        doses: Mapping[float, float],
        light: Light = FULL_LIGHT,
    ) -> None:
        """Fill ``expected`` (H, W) with photo-electrons: each node in the light where it is, on an even haze."""
        emitted = sum(GREEN_PROTEIN.emitted(dose, wavelength_nm) for wavelength_nm, dose in doses.items())
        electrons = emitted * view.detected_fraction
        expected += np.float32(self._options.background_per_um2 * view.pixel_um**2 * electrons)
        if light.haze is not None:
            expected *= light.haze
        looks = self._looks or [self._seen()]
        defocused = defocused_sigma_um(view.sigma_um, view.depth_um, np.array(-view.defocus_um))
        for places, amount, size_um in looks:
            pixels = view.to_pixels(places)
            shining = electrons / len(looks) * amount * light.at(places)
            add_stamps(expected, pixels[:, 0], pixels[:, 1], np.hypot(defocused, size_um) / view.pixel_um, shining)

    # ---------------------------------------------------------------- truth

    def objects(self) -> Objects:
        """Who is where now: the middle of each one's light."""
        worms, amounts = self._worms, self._amounts()
        total = amounts.sum(axis=1)
        middle = (amounts[..., None] * self._places()).sum(axis=1) / np.maximum(total, 1e-12)[:, None]
        length_um, width_um = PITCH_UM * (worms["count"] - 1), self._options.width_um
        return Objects(
            object_id=worms["id"].copy(),
            mother_id=worms["mother"].copy(),
            label=np.full(len(worms), ORGANELLE),
            phase=worms["phase"].copy(),
            x_um=middle[:, 0],
            y_um=middle[:, 1],
            radius_um=np.sqrt(length_um * width_um / math.pi + width_um**2 / 4),
            molecules=total,
            remaining=total / np.maximum((worms["load"] * self._there()).sum(axis=1), 1e-12),
        )

    def masks(self, view: View) -> Labels:
        """(H, W) int32: who covers the centre of each pixel now; 0: nobody."""
        labels = np.zeros((view.roi.height, view.roi.width), np.int32)
        pixels = view.to_pixels(self._places().reshape(-1, 2)).reshape(-1, NODES, 2)
        radius_px = 0.5 * self._options.width_um / view.pixel_um * np.sqrt(self._narrowed())
        count, ids = self._worms["count"].copy(), self._worms["id"].copy()
        label_worms(labels, np.ones(labels.shape), pixels, count, radius_px, ids)
        return labels

    def events(self, t0_s: float, t1_s: float) -> Occurrences:
        """Fissions and fusions that go on between two moments."""
        return self._diary.between(t0_s, t1_s)

    def ground_truth(self) -> GroundTruth:
        """What is really there now."""
        return as_ground_truth(self._t_s, self.objects())

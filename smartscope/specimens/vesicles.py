"""Only this file knows vesicles below the membrane: they switch between three ways to move, dock, and fuse in a flash.

Total internal reflection pictures of exocytosis: a vesicle stops at the membrane, waits, opens; its dye, dimmed in the
acid within, lights up and diffuses away in the membrane (Zenisek, Steyer, Almers, Nature 406 (2000) 849; Miesenboeck,
De Angelis, Rothman, Nature 394 (1998) 192).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from smartscope.config import NotNegative, Positive, Section
from smartscope.optics.counter_random import stream
from smartscope.optics.psf import add_stamps, defocused_sigma_um
from smartscope.specimens.living import SPOT, Diary, Doubles, Labels, Objects, Occurrences, as_ground_truth
from smartscope.specimens.paced import Paced
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope.specimens.protocol import FULL_LIGHT, STEP_S, GroundTruth, Light, PlaceDose, Points, View
from smartscope.specimens.vesicle_motion import BROWNIAN, CONFINED, DIRECTED, DOCKED, FUSING, move

_PURPOSE = 0x0E51C1
_MODES = (BROWNIAN, DIRECTED, CONFINED)
_COMING_S = 1.5
"""A new vesicle comes out of the depth so slowly that nobody takes it for a flash."""
_OPENING_S = 0.03
"""The step in the light at the beginning of a flash."""
_FLASH_DECAYS = 5.0
"""A flash is over after so many decay times."""
_SHORTEST_DOCKED = 0.3
"""In mean times docked: none leaves as soon as it has come."""


class VesiclesOptions(Section):
    """Vesicles of one cell, spread over a square around the origin."""

    area_um: Positive = 50.0
    vesicles: Annotated[int, Field(ge=0, le=10_000)] = 60
    """At any time; each that has fused is followed by a new one elsewhere."""
    diffusion_um2_s: Positive = 0.05
    """Of the Brownian mode, and of the confined one over short times."""
    directed_um_s: NotNegative = 0.8
    """Speed along microtubules."""
    confinement_um: Positive = 0.12
    """Standard deviation of a coordinate while confined."""
    mode_s: Positive = 4.0
    """Mean time in a mode before it becomes one of the two others."""
    dockings_per_min: NotNegative = 10.0
    """Of all vesicles together, one of which then stands still."""
    docked_s: Positive = 6.0
    """Mean time docked."""
    fusing_share: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Of the docked ones that fuse with the membrane; the others move on."""
    flash_gain: Annotated[float, Field(ge=1)] = 3.0
    """Light of a flash at its beginning over that of the vesicle."""
    flash_s: Positive = 1.0
    """Time constant at which its light decays."""
    spreading_um2_s: NotNegative = 0.2
    """Diffusion of the dye in the membrane: its variance per axis grows by twice that per second."""
    molecules: Positive = 600.0
    """Median of a log-normal law."""
    molecules_spread: NotNegative = 0.25
    """Standard deviation of the logarithm."""
    diameter_um: NotNegative = 0.12
    bleaching: bool = True
    background_per_um2: NotNegative = 60.0
    """Molecules in the column over a square micrometre, always replaced."""


class Vesicles(Paced):
    """Spots with a mode of motion each.

    Args:
        seed: of everything random.
        options: keyword arguments of ``VesiclesOptions``.
    """

    phases: tuple[str, ...] = ("brownian", "directed", "confined", "docked", "fusing")

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(STEP_S)
        self._seed, self._options = seed, VesiclesOptions.model_validate(options)
        self._rng = np.random.default_rng((seed, 10))
        n = self._options.vesicles
        self._id = np.arange(1, n + 1)
        self._next_id = n + 1
        self._xy = self._places(n)
        self._mode = self._rng.integers(0, len(_MODES), n)
        self._heading = self._rng.uniform(-math.pi, math.pi, n)
        self._anchor = self._xy.copy()
        self._since_s = np.zeros(n)
        self._until_s = self._rng.exponential(self._options.mode_s, n)
        self._born_s = np.full(n, -_COMING_S)
        self._molecules = self._loads(n)
        self._remaining = np.ones(n)
        self._diary = Diary()
        self._docking_s = self._pause_s()
        self._before = self._xy.copy()
        self._looks: list[tuple[Points, Doubles, Doubles]] = []
        self.look_every_s = self._blur_s()

    def _blur_s(self) -> float:
        """Time in which no vesicle goes farther than a third of the smallest spot, but not below a step."""
        third_um = 0.03
        straight_s = third_um / max(self._options.directed_um_s, 1e-9)
        return max(STEP_S, min(straight_s, third_um**2 / (2 * self._options.diffusion_um2_s)))

    def _places(self, n: int) -> Points:
        half = self._options.area_um / 2
        return self._rng.uniform(-half, half, (n, 2))

    def _loads(self, n: int) -> Doubles:
        return self._options.molecules * np.exp(self._options.molecules_spread * self._rng.standard_normal(n))

    def _pause_s(self) -> float:
        """Until the next vesicle docks."""
        rate = self._options.dockings_per_min / 60
        return float(self._rng.exponential(1 / rate)) if rate > 0 else math.inf

    # ---------------------------------------------------------------- life

    def _change(self, number: int) -> None:
        t_s = number * STEP_S
        while self._docking_s <= t_s:
            self._docking_s += self._pause_s()
            self._dock(t_s)
        if len(self._until_s) and self._until_s.min() <= t_s:
            for vesicle in np.flatnonzero(self._until_s <= t_s):
                self._next_phase(int(vesicle), t_s)

    def _dock(self, t_s: float) -> None:
        """One of the moving vesicles stops where it is."""
        moving = np.flatnonzero((self._mode <= CONFINED) & (t_s - self._born_s > _COMING_S))
        if not len(moving):
            return
        vesicle = int(self._rng.choice(moving))
        stay_s = self._options.docked_s
        stay_s *= _SHORTEST_DOCKED + (1 - _SHORTEST_DOCKED) * self._rng.standard_exponential()
        self._enter(vesicle, DOCKED, t_s, stay_s)
        times_s = t_s, t_s, float(self._until_s[vesicle])
        self._diary.note("arrest", times_s, self._xy[vesicle], [int(self._id[vesicle])])

    def _next_phase(self, vesicle: int, t_s: float) -> None:
        mode = int(self._mode[vesicle])
        if mode == FUSING:
            self._replace(vesicle, t_s)
        elif mode == DOCKED and self._rng.random() < self._options.fusing_share:
            self._enter(vesicle, FUSING, t_s, _FLASH_DECAYS * self._options.flash_s)
            times_s = t_s, t_s, float(self._until_s[vesicle])
            self._diary.note("flash", times_s, self._xy[vesicle], [int(self._id[vesicle])])
        else:
            self._set_off(vesicle, [other for other in _MODES if other != mode], t_s)

    def _enter(self, vesicle: int, mode: int, t_s: float, stay_s: float) -> None:
        self._mode[vesicle], self._since_s[vesicle] = mode, t_s
        self._until_s[vesicle] = t_s + max(stay_s, STEP_S)

    def _set_off(self, vesicle: int, modes: list[int], t_s: float) -> None:
        self._enter(vesicle, int(self._rng.choice(modes)), t_s, self._rng.exponential(self._options.mode_s))
        self._heading[vesicle] = self._rng.uniform(-math.pi, math.pi)
        self._anchor[vesicle] = self._xy[vesicle]

    def _replace(self, vesicle: int, t_s: float) -> None:
        """One that has fused is gone; another comes up elsewhere."""
        self._id[vesicle], self._next_id = self._next_id, self._next_id + 1
        self._xy[vesicle] = self._places(1)[0]
        self._molecules[vesicle], self._remaining[vesicle] = self._loads(1)[0], 1.0
        self._born_s[vesicle] = t_s
        self._set_off(vesicle, list(_MODES), t_s)

    def _move(self, number: int) -> None:
        options = self._options
        self._before, key = self._xy.copy(), np.uint64(stream(self._seed, _PURPOSE, number))
        move(self._xy, self._mode, self._heading, self._anchor, options.diffusion_um2_s, options.directed_um_s,
             options.confinement_um, options.area_um / 2, STEP_S, key)  # fmt: skip

    def expose(self, wavelength_nm: float, dose_at: PlaceDose) -> None:
        """Bleach each vesicle by the dose where it is."""
        if self._options.bleaching:
            GREEN_PROTEIN.bleach(self._remaining, dose_at(self._places_now()), wavelength_nm)

    # ---------------------------------------------------------------- picture

    def _places_now(self) -> Points:
        return np.asarray(self._before + self._weight * (self._xy - self._before))

    def _shining(self) -> tuple[Doubles, Doubles]:
        """Molecules (N,) that shine now, and the standard deviation (N,) of their places, um."""
        amount = self._molecules * np.clip((self._t_s - self._born_s) / _COMING_S, 0, 1)
        variance = np.full(len(amount), self._options.diameter_um**2 / 16)  # a disc of radius r: r^2 / 4
        fusing = self._mode == FUSING
        since_s = np.maximum(self._t_s - self._since_s[fusing], 0)
        jump = 1 + (self._options.flash_gain - 1) * np.minimum(since_s / _OPENING_S, 1)
        amount[fusing] *= jump * np.exp(-since_s / self._options.flash_s)
        variance[fusing] += 2 * self._options.spreading_um2_s * since_s
        return amount, np.sqrt(variance)

    def begin_exposure(self) -> None:
        """Forget all looks."""
        self._looks = []

    def look(self) -> None:
        """The picture is the mean over all looks."""
        self._looks.append((self._places_now(), *self._shining()))

    def render(
        self,
        expected: npt.NDArray[np.float32],
        view: View,
        doses: Mapping[float, float],
        light: Light = FULL_LIGHT,
    ) -> None:
        """Fill ``expected`` (H, W) with photo-electrons: each vesicle in the light where it is, on an even haze."""
        emitted = sum(GREEN_PROTEIN.emitted(dose, wavelength_nm) for wavelength_nm, dose in doses.items())
        electrons = emitted * view.detected_fraction
        expected += np.float32(self._options.background_per_um2 * view.pixel_um**2 * electrons)
        if light.haze is not None:
            expected *= light.haze
        looks = self._looks or [(self._places_now(), *self._shining())]
        defocused = defocused_sigma_um(view.sigma_um, view.depth_um, np.array(-view.defocus_um))
        for places, amount, size_um in looks:
            pixels = view.to_pixels(places)
            shining = electrons / len(looks) * amount * self._remaining * light.at(places)
            add_stamps(expected, pixels[:, 0], pixels[:, 1], np.hypot(defocused, size_um) / view.pixel_um, shining)

    # ---------------------------------------------------------------- truth

    def objects(self) -> Objects:
        """Who is where now."""
        order = np.argsort(self._id)
        places, (amount, size_um) = self._places_now()[order], self._shining()
        return Objects(
            object_id=self._id[order],
            mother_id=np.full(len(order), -1),
            label=np.full(len(order), SPOT),
            phase=self._mode[order],
            x_um=places[:, 0],
            y_um=places[:, 1],
            radius_um=size_um[order],
            molecules=(amount * self._remaining)[order],
            remaining=self._remaining[order],
        )

    def masks(self, view: View) -> Labels:
        """(H, W) zeros: spots cover no pixels."""
        return np.zeros((view.roi.height, view.roi.width), np.int32)

    def events(self, t0_s: float, t1_s: float) -> Occurrences:
        """Arrests and flashes that go on between two moments."""
        return self._diary.between(t0_s, t1_s)

    def ground_truth(self) -> GroundTruth:
        """What is really there now: spots that belong to no cell."""
        return as_ground_truth(self._t_s, self.objects())

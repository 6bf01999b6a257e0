"""Only this file knows how a crowd of bodies lives: it wanders, grows, divides, bleaches, and tells who is who."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from smartscope.config import NotNegative, Positive, Section
from smartscope.optics.counter_random import stream
from smartscope.optics.psf import defocused_sigma_um
from smartscope.specimens.body_painting import Bodies, label, paint
from smartscope.specimens.body_textures import Tiles
from smartscope.specimens.crowd_motion import BODY, HARMONICS, move
from smartscope.specimens.division import PARTING, RESTING, SPLIT, Age, Course, age, parted, shaped
from smartscope.specimens.living import CELL, Diary, Labels, Objects, Occurrences, as_ground_truth
from smartscope.specimens.paced import Paced
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope.specimens.placing import apart
from smartscope.specimens.protocol import FULL_LIGHT, GroundTruth, Light, PlaceDose, View

_LIFE_STEP_S = 30.0
_PURPOSE = 0xD1F1DE
_WAIT = 0.05
"""Where there is no room, a division waits for so much of a cycle."""
_LOOK_UM = 0.15
"""An exposure looks again when the wandering ones have gone so far."""
TILES = 24
"""Different textures; bodies share them."""


class DividingOptions(Section):
    """What nuclei and cells have in common; a square around the origin."""

    area_um: Positive
    time_lapse: Positive
    """Seconds of life that pass in a second: 300 makes a frame per second one of every five minutes."""
    cycle_h: Positive
    """Mean time from one division to the next."""
    cycle_spread: Annotated[float, Field(ge=0, le=0.4)] = 0.15
    """Standard deviation of that over the mean."""
    mitosis_min: Positive = 50.0
    radius_um: Positive
    """Mean, when it is about to divide; half that area after it."""
    radius_spread: Annotated[float, Field(ge=0, le=0.3)] = 0.08
    """Standard deviation of that over the mean."""
    size_split: Annotated[float, Field(ge=0, le=0.2)] = 0.04
    """Standard deviation of the first daughter's part, 0.5 on average, of area and molecules."""
    speed_um_h: NotNegative
    """Root mean square."""
    persistence_min: Positive
    """Time in which the direction is forgotten."""
    most: Annotated[int, Field(ge=1, le=5000)] = 400
    """No division begins while there are so many (contact inhibition)."""
    molecules: Positive
    """Mean, when it is about to divide."""
    bleaching: bool = True
    background_per_um2: NotNegative = 40.0
    """Molecules in the column over a square micrometre, always replaced."""


@dataclass(frozen=True, slots=True)
class Habit:
    """What sets one kind of body apart from another."""

    course: Course
    contact: float
    """Radius, over its own, that keeps neighbours off."""
    turning_rad2_s: float
    follow_per_s: float
    """How fast the heading takes the direction of motion."""
    waves: float
    """Standard deviation of the outline's second harmonic."""
    waves_s: float
    aspects: tuple[float, float]
    """Least and greatest ratio of the axes."""


class Dividing(Paced):
    """A crowd.

    Args:
        seed: of everything random.
        options: of the crowd.
        number: how many there are in the beginning.
        habit: what they are.
        tiles: their textures.
    """

    phases: tuple[str, ...]

    def __init__(self, seed: int, options: DividingOptions, number: int, habit: Habit, tiles: Tiles) -> None:
        super().__init__(_LIFE_STEP_S / options.time_lapse)
        self._seed, self._habit, self._common, self._tiles = seed, habit, options, tiles
        self._rng = np.random.default_rng((seed, 11))
        steps = max(round(60 * options.mitosis_min / _LIFE_STEP_S), 5)
        self._mitosis_s, self._split_s = steps * _LIFE_STEP_S, round(SPLIT * steps) * _LIFE_STEP_S
        self._bodies = self._first(number)
        self._before = self._bodies
        self._next_id = number + 1
        self._expected: dict[int, tuple[int, int]] = {}
        self._diary = Diary()
        self._looks: list[Bodies] = []
        self.look_every_s = _LOOK_UM / max(options.speed_um_h / 3600 * options.time_lapse, 1e-9)

    def _first(self, number: int) -> npt.NDArray[np.void]:
        """The crowd as a steady one: twice as many have just divided as are about to."""
        rng, options = self._rng, self._common
        bodies = np.zeros(number, BODY)
        bodies["id"], bodies["mother"] = np.arange(1, number + 1), -1
        bodies["xy_um"] = apart(number, max(options.area_um / 2 - options.radius_um, 0.1), rng)
        self._endow(bodies)
        for body in bodies:
            body["molecules_born"] = 0.5 * options.molecules
            body["radius_born_um"] = options.radius_um * math.sqrt(0.5)
        cycle_s = self._cycles_s(number)
        part = 1 - np.log2(1 + rng.random(number))
        bodies["born_s"] = -part * cycle_s - self._mitosis_s
        bodies["divides_s"] = _on_grid(np.maximum(bodies["born_s"] + self._mitosis_s + cycle_s, _LIFE_STEP_S))
        return bodies

    def _endow(self, bodies: npt.NDArray[np.void]) -> None:
        """Give each what is its own from birth on."""
        rng, options, n = self._rng, self._common, len(bodies)
        size = np.clip(1 + options.radius_spread * rng.standard_normal(n), 0.6, 1.4)
        bodies["radius_full_um"] = bodies["radius_mother_um"] = options.radius_um * size
        bodies["molecules_full"] = options.molecules * size**2
        bodies["remaining"] = 1.0
        bodies["tile"] = rng.integers(0, len(self._tiles), (n, 2))
        bodies["aspect"] = rng.uniform(*self._habit.aspects, n)
        bodies["heading"] = rng.uniform(-math.pi, math.pi, n)
        bodies["velocity"] = options.speed_um_h / 3600 * math.sqrt(0.5) * rng.standard_normal((n, 2))
        waves = rng.standard_normal((n, HARMONICS)) + 1j * rng.standard_normal((n, HARMONICS))
        bodies["waves"] = self._habit.waves / math.sqrt(2) / np.arange(1, HARMONICS + 1) * waves

    def _cycles_s(self, number: int) -> npt.NDArray[np.float64]:
        spread = 1 + self._common.cycle_spread * self._rng.standard_normal(number)
        return 3600 * self._common.cycle_h * np.clip(spread, 0.3, 2.0) - self._mitosis_s

    # ---------------------------------------------------------------- life

    def _change(self, number: int) -> None:
        t_s = number * _LIFE_STEP_S
        for place in np.flatnonzero(self._bodies["divides_s"] <= t_s):
            body = self._bodies[place]
            if int(body["id"]) not in self._expected:
                self._begin_mitosis(body, number)
        due = self._bodies["divides_s"] + self._split_s <= t_s
        if due.any():
            born = [self._daughters(body) for body in self._bodies[due]]
            self._bodies = np.concatenate([self._bodies[~due], *born])

    def _begin_mitosis(self, body: np.void, number: int) -> None:
        t_s = number * _LIFE_STEP_S
        if len(self._bodies) + len(self._expected) >= self._common.most:
            body["divides_s"] = _on_grid(t_s + _WAIT * 3600 * self._common.cycle_h)
            body["radius_born_um"], body["molecules_born"] = (
                body["radius_full_um"],
                body["molecules_full"],
            )  # full-grown
            return
        body["divides_s"] = t_s
        daughters = self._next_id, self._next_id + 1
        self._next_id += 2
        self._expected[int(body["id"])] = daughters
        lapse = self._common.time_lapse
        times_s = t_s / lapse, (t_s + self._split_s) / lapse, (t_s + self._mitosis_s) / lapse
        self._diary.note("division", times_s, body["xy_um"], [int(body["id"]), *daughters])

    def _daughters(self, mother: np.void) -> npt.NDArray[np.void]:
        """Two where there was one, at the same place, with all its molecules."""
        pair = np.repeat(np.array([mother]), 2)
        share = np.clip(0.5 + self._common.size_split * self._rng.standard_normal(), 0.2, 0.8)
        shares, side = np.array([share, 1 - share]), np.array([1.0, -1.0])
        self._endow(pair)
        for name in ("heading", "waves", "remaining"):
            pair[name] = mother[name]
        pair["tile"][:, 1] = mother["tile"][1]
        pair["id"], pair["mother"], pair["side"] = self._expected.pop(int(mother["id"])), mother["id"], side
        towards_sister = side * (pair["velocity"] @ _left(mother["heading"])) < 0
        pair["velocity"][towards_sister] *= -1
        pair["radius_mother_um"] = mother["radius_full_um"]
        pair["radius_born_um"] = mother["radius_full_um"] * np.sqrt(shares)
        pair["molecules_born"] = mother["molecules_full"] * shares
        pair["born_s"] = mother["divides_s"]
        pair["divides_s"] = _on_grid(pair["born_s"] + self._mitosis_s + self._cycles_s(2))
        return pair

    def _move(self, number: int) -> None:
        t_s, habit, options = number * _LIFE_STEP_S, self._habit, self._common
        self._before, self._bodies = self._bodies, self._bodies.copy()
        now, then = (age(self._bodies, moment, self._mitosis_s) for moment in (t_s, t_s + _LIFE_STEP_S))
        way = parted(habit.course, then.daughter) - parted(habit.course, now.daughter)
        way *= 0.5 * self._bodies["side"] * self._bodies["radius_mother_um"]
        shapes, phase = shaped(self._bodies, now, habit.course), now.phase()
        move(self._bodies, habit.contact * shapes.half_um.max(axis=1), phase != RESTING,
             way[:, None] * _left(self._bodies["heading"]), phase == PARTING, options.speed_um_h / 3600,
             60 * options.persistence_min, habit.turning_rad2_s, habit.follow_per_s, habit.waves, habit.waves_s,
             options.area_um / 2, _LIFE_STEP_S, np.uint64(stream(self._seed, _PURPOSE, number)))  # fmt: skip

    def expose(self, wavelength_nm: float, dose_at: PlaceDose) -> None:
        """Bleach each by the dose at its centre."""
        if self._common.bleaching:
            GREEN_PROTEIN.bleach(self._bodies["remaining"], dose_at(self._now()[0]["xy_um"]), wavelength_nm)
            self._before["remaining"] = self._bodies["remaining"]

    # ---------------------------------------------------------------- picture

    def _now(self) -> tuple[npt.NDArray[np.void], Age]:
        """The crowd at this moment, between the two steps around it."""
        between = self._bodies.copy()
        for name in ("xy_um", "heading", "waves"):
            between[name] = self._before[name] + self._weight * (self._bodies[name] - self._before[name])
        return between, age(between, self._t_s * self._common.time_lapse, self._mitosis_s)

    def _shapes(self) -> Bodies:
        return shaped(*self._now(), self._habit.course)

    def begin_exposure(self) -> None:
        """Forget all looks."""
        self._looks = []

    def look(self) -> None:
        """The picture is the mean over all looks."""
        self._looks.append(self._shapes())

    def render(
        self,
        expected: npt.NDArray[np.float32],
        view: View,
        doses: Mapping[float, float],
        light: Light = FULL_LIGHT,
    ) -> None:
        """Fill ``expected`` (H, W) with photo-electrons; the light of each pixel multiplies the whole picture."""
        emitted = sum(GREEN_PROTEIN.emitted(dose, wavelength_nm) for wavelength_nm, dose in doses.items())
        electrons = emitted * view.detected_fraction
        if electrons <= 0:
            return
        expected += np.float32(self._common.background_per_um2 * view.pixel_um**2 * electrons)
        looks = self._looks or [self._shapes()]
        sigma = float(defocused_sigma_um(view.sigma_um, view.depth_um, np.array(view.defocus_um))) / view.pixel_um
        for bodies in looks:
            paint(expected, view, bodies, self._tiles, electrons / len(looks) * bodies.molecules, sigma)
        if light.pixels is not None:
            expected *= light.pixels

    # ---------------------------------------------------------------- truth

    def objects(self) -> Objects:
        """Who is where now."""
        bodies, now = self._now()
        shapes = shaped(bodies, now, self._habit.course)
        return Objects(
            object_id=bodies["id"].copy(),
            mother_id=bodies["mother"].copy(),
            label=np.full(len(bodies), CELL),
            phase=now.phase(),
            x_um=bodies["xy_um"][:, 0],
            y_um=bodies["xy_um"][:, 1],
            radius_um=shapes.radius_um(),
            molecules=shapes.molecules,
            remaining=bodies["remaining"].copy(),
        )

    def masks(self, view: View) -> Labels:
        """(H, W) int32: who covers the centre of each pixel now; 0: nobody."""
        return label(view, self._shapes(), self._bodies["id"].copy())

    def events(self, t0_s: float, t1_s: float) -> Occurrences:
        """Divisions that go on between two moments."""
        return self._diary.between(t0_s, t1_s)

    def ground_truth(self) -> GroundTruth:
        """What is really there now."""
        return as_ground_truth(self._t_s, self.objects())


def _on_grid(t_s: Any) -> Any:
    """The beginning of the next step."""
    return _LIFE_STEP_S * np.ceil(t_s / _LIFE_STEP_S)


def _left(heading: Any) -> npt.NDArray[np.float64]:
    """(…, 2) unit vector to the left of a heading."""
    return np.stack([-np.sin(heading), np.cos(heading)], axis=-1)

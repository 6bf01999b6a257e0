"""Only this file knows the course of a division: rounding up, a plate, two halves that part, two daughters that spread.

Times are fractions of the whole; those of a human cell line: prophase a quarter, up to metaphase another third, then
the sisters part at about 1 um/min (Meraldi, Draviam, Sorger, Dev. Cell 7 (2004) 45 for the times).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartscope.specimens.body_painting import Bodies
from smartscope.specimens.crowd_motion import BODY

Doubles = npt.NDArray[np.float64]
PROPHASE, SPLIT, TELOPHASE = 0.25, 0.6, 0.75
"""Where metaphase, anaphase and telophase begin."""
_PLATE_FORMED = 0.38
RESTING, ROUNDING, PLATE, PARTING, SPREADING = range(5)
_CALM = 0.3
"""Part of the outline's waves that is left in mitosis."""


@dataclass(frozen=True, slots=True)
class Course:
    """What sets nuclei and cells apart; lengths over the radius of the mother."""

    rounded: float
    """Radius when prophase is over."""
    plate: tuple[float, float]
    """Half axes in metaphase."""
    half: tuple[float, float]
    """Half axes of either sister at the end of anaphase."""
    bend: float
    distance: float
    """Between the daughters in the end."""


@dataclass(frozen=True, slots=True)
class Age:
    """How far each of N bodies is, at one moment of life."""

    mitosis: Doubles
    """0 to ``SPLIT`` of a mother in mitosis; below 0 before."""
    daughter: Doubles
    """From ``SPLIT`` on, of a daughter; 1 and more when it is over."""
    growth: Doubles
    """0 to 1 from birth to the next division."""

    def phase(self) -> npt.NDArray[np.int64]:
        """Of the five, for each."""
        mother = np.where(self.mitosis < PROPHASE, ROUNDING, PLATE)
        daughter = np.where(self.daughter < TELOPHASE, PARTING, SPREADING)
        resting = np.where(self.daughter < 1, daughter, RESTING)
        return np.where(self.mitosis >= 0, mother, resting)


def age(bodies: npt.NDArray[np.void], t_s: float, mitosis_s: float) -> Age:
    """Of bodies (N,) at ``t_s`` of life, if mitosis lasts ``mitosis_s``."""
    ready_s = bodies["born_s"] + mitosis_s
    growth = (t_s - ready_s) / np.maximum(bodies["divides_s"] - ready_s, 1e-9)
    return Age(
        mitosis=(t_s - bodies["divides_s"]) / mitosis_s,
        daughter=(t_s - bodies["born_s"]) / mitosis_s,
        growth=np.clip(growth, 0, 1),
    )


def _smooth(value: Doubles) -> Doubles:
    """0 below 0, 1 above 1, smooth between."""
    value = np.clip(value, 0, 1)
    return np.asarray(value * value * (3 - 2 * value))


def parted(course: Course, daughter: Doubles) -> Doubles:
    """Distance between daughters over the radius of the mother."""
    left = 1 - np.clip((daughter - SPLIT) / (1 - SPLIT), 0, 1)
    return np.asarray(course.distance * (1 - left * left))


def molecules(bodies: npt.NDArray[np.void], now: Age) -> Doubles:
    """That each would have without bleaching: doubled from birth to division."""
    return np.asarray(bodies["molecules_born"] + now.growth * (bodies["molecules_full"] - bodies["molecules_born"]))


def resting_radius_um(bodies: npt.NDArray[np.void], now: Age) -> Doubles:
    """Of each between divisions: its area grows evenly."""
    born, full = bodies["radius_born_um"] ** 2, bodies["radius_full_um"] ** 2
    return np.asarray(np.sqrt(born + now.growth * (full - born)))


def shaped(bodies: npt.NDArray[np.void], now: Age, course: Course) -> Bodies:
    """How each looks at its age."""
    assert bodies.dtype == BODY
    stretch = np.stack([bodies["aspect"], 1 / bodies["aspect"]], axis=1) ** 0.5
    resting = resting_radius_um(bodies, now)[:, None] * stretch
    rounding = _smooth(now.mitosis / PROPHASE)[:, None]
    forming = _smooth((now.mitosis - PROPHASE) / (_PLATE_FORMED - PROPHASE))[:, None]
    full, mother = bodies["radius_full_um"][:, None], bodies["radius_mother_um"][:, None]
    before = resting + rounding * (course.rounded * full - resting)
    before += forming * (np.array(course.plate) * full - before)
    parting = _smooth((now.daughter - SPLIT) / (0.7 * (TELOPHASE - SPLIT)))[:, None]
    spreading = _smooth((now.daughter - TELOPHASE) / (1 - TELOPHASE))[:, None]
    after = mother * (np.array(course.plate) + parting * (np.array(course.half) - np.array(course.plate)))
    after += spreading * (resting - after)
    daughter = now.daughter < 1
    apart = np.where(daughter, 1 - spreading[:, 0], 0.0)
    condensed = np.where(daughter, apart, rounding[:, 0])
    return Bodies(
        xy_um=bodies["xy_um"].copy(),
        half_um=np.where(daughter[:, None], after, before),
        heading=bodies["heading"].copy(),
        bend=course.bend * bodies["side"] * np.where(daughter, parting[:, 0], 0.0) * apart,
        waves=np.asarray(bodies["waves"] * (1 - (1 - _CALM) * condensed)[:, None], complex),
        condensed=condensed,
        tile=bodies["tile"].copy(),
        molecules=molecules(bodies, now) * bodies["remaining"],
    )

"""Only this file knows the nuclei of a cell culture with labelled chromatin, which grow, wander and divide."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from smartscope.config import NotNegative, Positive
from smartscope.specimens.body_textures import chromatin
from smartscope.specimens.dividing import TILES, Dividing, DividingOptions, Habit
from smartscope.specimens.division import Course

_HABIT = Habit(
    course=Course(rounded=0.88, plate=(0.85, 0.30), half=(0.72, 0.22), bend=0.8, distance=2.3),
    contact=1.08,
    turning_rad2_s=1.5e-5,
    follow_per_s=0.0,
    waves=0.035,
    waves_s=1800.0,
    aspects=(1.05, 1.5),
)


class DividingNucleiOptions(DividingOptions):
    """Nuclei of a human cell line whose histones are labelled."""

    nuclei: Annotated[int, Field(ge=0, le=5000)] = 30
    """In the beginning."""
    area_um: Positive = 150.0
    time_lapse: Positive = 300.0
    cycle_h: Positive = 20.0
    radius_um: Positive = 8.0
    speed_um_h: NotNegative = 12.0
    persistence_min: Positive = 20.0
    molecules: Positive = 150_000.0


class DividingNuclei(Dividing):
    """Nuclei.

    Args:
        seed: of everything random.
        options: keyword arguments of ``DividingNucleiOptions``.
    """

    phases: tuple[str, ...] = ("interphase", "prophase", "metaphase", "anaphase", "telophase")

    def __init__(self, seed: int, **options: Any) -> None:
        told = DividingNucleiOptions.model_validate(options)
        super().__init__(seed, told, told.nuclei, _HABIT, chromatin(TILES, np.random.default_rng((seed, 12))))

"""Only this file knows cells that migrate: they keep their direction, change shape, collide, and divide seldom."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from smartscope.config import NotNegative, Positive
from smartscope.specimens.body_textures import cytoplasm
from smartscope.specimens.dividing import TILES, Dividing, DividingOptions, Habit
from smartscope.specimens.division import Course

_HABIT = Habit(
    course=Course(rounded=0.62, plate=(0.60, 0.62), half=(0.52, 0.36), bend=0.0, distance=1.9),
    contact=0.92,
    turning_rad2_s=2e-5,
    follow_per_s=2e-3,
    waves=0.12,
    waves_s=900.0,
    aspects=(1.1, 1.6),
)


class MigratingCellsOptions(DividingOptions):
    """Crawling cells of a culture whose cytoplasm is labelled."""

    cells: Annotated[int, Field(ge=0, le=5000)] = 40
    """In the beginning."""
    area_um: Positive = 250.0
    time_lapse: Positive = 60.0
    cycle_h: Positive = 24.0
    radius_um: Positive = 14.0
    speed_um_h: NotNegative = 40.0
    persistence_min: Positive = 40.0
    molecules: Positive = 400_000.0


class MigratingCells(Dividing):
    """Cells.

    Args:
        seed: of everything random.
        options: keyword arguments of ``MigratingCellsOptions``.
    """

    phases: tuple[str, ...] = ("migrating", "rounding", "rounded", "cleaving", "spreading")

    def __init__(self, seed: int, **options: Any) -> None:
        told = MigratingCellsOptions.model_validate(options)
        super().__init__(seed, told, told.cells, _HABIT, cytoplasm(TILES, np.random.default_rng((seed, 13))))

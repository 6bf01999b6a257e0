"""What is true beside the result when a decision is made; recorded with each, so that it can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from smartscope.frame import Settings
from smartscope.ports import Delay, DoseState
from smartscope.recorder.rows import (
    Row,
    delay_from_row,
    delay_to_row,
    dose_from_row,
    dose_to_row,
    settings_from_row,
    settings_to_row,
)


@dataclass(frozen=True, slots=True)
class Moment:
    """The circumstances of one decision."""

    t_ns: int
    elapsed_s: float
    remaining_s: float | None
    settings: Settings
    delay: Delay
    dose: DoseState

    def to_row(self) -> Row:
        """As JSON."""
        return {
            "t_ns": self.t_ns,
            "elapsed_s": self.elapsed_s,
            "remaining_s": self.remaining_s,
            "settings": settings_to_row(self.settings),
            "delay": delay_to_row(self.delay),
            "dose": dose_to_row(self.dose),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The very same moment."""
        return cls(
            t_ns=row["t_ns"],
            elapsed_s=row["elapsed_s"],
            remaining_s=row["remaining_s"],
            settings=settings_from_row(row["settings"]),
            delay=delay_from_row(row["delay"]),
            dose=dose_from_row(row["dose"]),
        )

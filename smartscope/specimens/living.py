"""Only this file knows what a living specimen must tell: who is where, whose daughter it is, and what happens to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from smartscope.result import EVENT_KINDS
from smartscope.specimens.protocol import GroundTruth, Specimen, View

Doubles = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int32]
"""(H, W) number of the object that a pixel belongs to; 0: none."""

SPOT, CELL, ORGANELLE = range(3)
"""As in ``Detections.label``."""


@dataclass(frozen=True, slots=True)
class Objects:
    """Who is there at one moment; columns of length N, ascending numbers, places in um of the stage's coordinates."""

    object_id: Numbers
    """1, 2, 3 …, never given twice."""
    mother_id: Numbers
    """-1 where there is none. What two fused into has the larger of them."""
    label: Numbers
    """Kind of object: 0 spot, 1 cell or nucleus, 2 organelle."""
    phase: Numbers
    """What it does; index into the specimen's ``phases``."""
    x_um: Doubles
    y_um: Doubles
    """Of a spot or the outline of a cell its centre, of an organelle the middle of its light."""
    radius_um: Doubles
    """Of the disc of the same area; of a spot, its own standard deviation."""
    molecules: Doubles
    """Fluorophores that shine, those of a flash multiplied."""
    remaining: Doubles
    """Fraction of the fluorophores not yet bleached."""

    def __len__(self) -> int:
        return len(self.object_id)


@dataclass(frozen=True, slots=True)
class Occurrences:
    """What happens; columns of length N in the order of their onset, seconds since the specimen's beginning."""

    kind: Numbers
    """Index into ``EVENT_KINDS``."""
    onset_s: Doubles
    """When it can first be seen, if the microscope were perfect."""
    change_s: Doubles
    """When one becomes two, two become one, or the light jumps; without such a moment, the onset."""
    end_s: Doubles
    x_um: Doubles
    y_um: Doubles
    """Where it begins."""
    ids: Numbers
    """(N, 3) objects: mother and daughters, partners and what they become, or one alone; the rest is -1."""

    def __len__(self) -> int:
        return len(self.kind)


@runtime_checkable
class LivingSpecimen(Specimen, Protocol):
    """Objects that move, divide, fuse and flash, and what is true of them.

    An exposure sees them where they are at moments ``look_every_s`` apart, or once if it is shorter.
    """

    phases: tuple[str, ...]
    """Names of ``Objects.phase``."""
    look_every_s: float

    def begin_exposure(self) -> None:
        """Forget all looks."""

    def look(self) -> None:
        """What is rendered next is the mean of how everything is at all looks since the exposure began."""

    def objects(self) -> Objects:
        """Who is where now."""

    def masks(self, view: View) -> Labels:
        """(H, W) int32: who covers the centre of each pixel now; 0: nobody. Zeros everywhere for spots."""

    def events(self, t0_s: float, t1_s: float) -> Occurrences:
        """What goes on between two moments, those that begin before or end after them included, as far as is known now.

        What has not begun by now is not known.
        """


class Diary:
    """What has happened so far."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []

    def note(
        self, kind: str, times_s: tuple[float, float, float], place_um: Sequence[float], ids: Sequence[int]
    ) -> None:
        """Add an event: its onset, change and end, where it begins, and up to three objects."""
        three = (*ids, -1, -1)[:3]
        self._rows.append((EVENT_KINDS.index(kind), *times_s, place_um[0], place_um[1], *three))

    def between(self, t0_s: float, t1_s: float) -> Occurrences:
        """Those that are not over before ``t0_s`` and begin by ``t1_s``."""
        rows = np.array(sorted(row for row in self._rows if row[1] <= t1_s and row[3] > t0_s), float).reshape(-1, 9)
        rows = rows[np.argsort(rows[:, 1], kind="stable")]
        onset_s, change_s, end_s, x_um, y_um = rows[:, 1:6].T
        return Occurrences(rows[:, 0].astype(int), onset_s, change_s, end_s, x_um, y_um, rows[:, 6:].astype(int))


def as_ground_truth(t_s: float, objects: Objects) -> GroundTruth:
    """The same as told of any specimen: spots, and the others as cells."""
    places = np.stack([objects.x_um, objects.y_um], axis=1)
    spot = objects.label == SPOT
    return GroundTruth(
        t_s=t_s,
        cells_um=places[~spot],
        radii_um=objects.radius_um[~spot],
        cells_remaining=objects.remaining[~spot],
        spots_um=places[spot],
        spots_z_um=np.zeros(int(spot.sum())),
        spots_cell=np.full(int(spot.sum()), -1, np.int64),
        spots_remaining=objects.remaining[spot],
    )

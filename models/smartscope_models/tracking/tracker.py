"""The live model ``track``: from frames and detections to identities, divisions and second thoughts.

It keeps the time, one pair of linkers for each kind of object, and the frames that are not settled.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from smartscope.frame import Certainty, Frame
from smartscope.ports import Instrument
from smartscope.result import Detections, Events, Result, Revisions, Settled, Tracks
from smartscope_models.tracking.following import Kind, Names
from smartscope_models.tracking.places import SpecimenPlaces
from smartscope_models.tracking.published import published
from smartscope_models.tracking.sightings import Outcome
from smartscope_models.tracking.telling import DivisionTeller

LONGEST_COAST = 25
"""Frames without any detections (stage on its way, detector late) after which all objects are given up."""
WIDEST_GATE = 4.0
"""Times the gate, however long ago the last frame was."""
LONGEST_STEP = 1000.0
"""Frame periods that objects are carried on at once."""
SPOT, ORGANELLE = 0, 2
"""Labels of what divides only where asked, and of that whose fission other models tell."""
Gate = Annotated[float, Field(gt=0, le=4096)]


@dataclass(frozen=True, slots=True)
class Finally:
    """What is settled of one frame, its identities in the order of its detections."""

    index: int
    named: Outcome
    tracks: Tracks


@dataclass(frozen=True, slots=True)
class _Open:
    """A frame whose identities are not settled."""

    frame: Frame
    rows: dict[int, npt.NDArray[np.int64]]
    """Detections of each kind."""
    count: int


class KalmanTracker:
    """Online tracking: interacting motion models, optimal assignment with divisions, rates and noise learned.

    ``tracks`` are live; ``settled`` are those of ``lag_frames`` before, linked again with what came after, and never
    change; ``revisions`` name the live identities that this takes back; ``events`` are divisions, told at once and
    confirmed or withdrawn when settled. A frame during which the stage moved (``xy`` mixed), and one without
    ``detections``, only carries the objects on.
    """

    history = 0
    reads = frozenset({"detections"})

    def __init__(
        self,
        setup: Instrument,
        *,
        spot_gate_px: Gate = 8.0,
        cell_gate_px: Gate = 40.0,
        memory_frames: Annotated[int, Field(ge=0, le=1000)] = 3,
        lag_frames: Annotated[int, Field(ge=0, le=100)] = 3,
        division_probability: Annotated[float, Field(ge=0.5, lt=1)] = 0.5,
        spots_divide: bool = False,
    ) -> None:
        """Gates: the farthest an object may be from where it is expected, pixels; memory: most misses it survives.

        lag_frames: 0 for live identities alone; division_probability: from which on a division is told as an event;
        spots_divide: a spot may have daughters; else two where one was are two that met and part again.
        """
        self._places = SpecimenPlaces(setup)
        self._gates = (spot_gate_px, cell_gate_px)
        self._memory, self._lag = memory_frames, lag_frames
        self._kinds: dict[int, Kind] = {}
        self._names = Names()
        self._spots_divide = spots_divide
        self._divisions = DivisionTeller(division_probability, settles=lag_frames > 0)
        self._open: deque[_Open] = deque()
        self._last: Frame | None = None
        self._linked: Frame | None = None
        self._period_ns = 0.0
        self._coasted = 0

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile; what is being followed is not touched."""
        rehearsal, names = Kind(8.0, 2, 1), Names()
        places, ones = np.random.default_rng(0).uniform(0, max(shape), (8, 2)), np.ones(8)
        for t in range(5):
            rehearsal.advance(1.0)
            rehearsal.link(places[t:], ones[t:], ones[t:], float(shape[0] * shape[1]), 1.0, names)
            if t:
                rehearsal.settle(names)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with ``tracks`` for ``frames[-1]``, ``settled`` and ``revisions`` where there are any."""
        frame = frames[-1]
        elapsed = self._pass_time(frame)
        if so_far.detections is None or frame.certainty.get("xy") is Certainty.MIXED:
            self._coast()
            return replace(so_far, tracks=self._tracks(frame), events=self._events(frame, so_far.events))
        self._link(frame, so_far.detections, elapsed)
        finally_, revisions = self._settle()
        settled = Settled(finally_.index, finally_.tracks) if finally_ else None
        events = self._events(frame, so_far.events)
        return replace(so_far, tracks=self._tracks(frame), settled=settled, revisions=revisions, events=events)

    def follow(self, frame: Frame, detections: Detections) -> tuple[Outcome, Finally | None]:
        """As ``step``, in the order of the detections: live identities (N,), and what became settled."""
        named = self._link(frame, detections, self._pass_time(frame))
        return named, self._settle()[0]

    def finish(self) -> Iterator[Finally]:
        """Settle what is still open, with as many later frames as there are."""
        while self._open:
            yield self._settle_oldest()[0]

    def _pass_time(self, frame: Frame) -> float:
        """Move everything on to ``frame``; frame periods since the last. The period is that of the first two frames."""
        last, self._last = self._last, frame
        elapsed = 1.0
        if last is not None:
            elapsed_ns = max(frame.t_mid_ns - last.t_mid_ns, 0)
            if not self._period_ns:
                self._period_ns = float(elapsed_ns) / max(frame.index - last.index, 1)
            elapsed = max(elapsed_ns / self._period_ns, 1e-3) if self._period_ns else 1.0
        for kind in self._kinds.values():
            kind.advance(min(elapsed, LONGEST_STEP))
        return elapsed

    def _coast(self) -> None:
        self._coasted += 1
        if self._coasted > LONGEST_COAST:
            self._kinds.clear()
            self._open.clear()
            self._divisions.close()

    def _link(self, frame: Frame, detections: Detections, elapsed: float) -> Outcome:
        self._coasted = 0
        seen, self._linked = self._places.seen(frame, detections, self._linked), frame
        for label in np.unique(detections.label[seen.good]).tolist():
            if label not in self._kinds:
                gate, divides = self._gates[min(max(label, 0), 1)], label != SPOT or self._spots_divide
                self._kinds[label] = Kind(gate, self._memory, self._lag, divides)
        area = float(frame.pixels.shape[0] * frame.pixels.shape[1])
        widening = math.sqrt(min(max(elapsed, 1.0), WIDEST_GATE**2))
        named = Outcome(np.full(len(detections), -1), np.full(len(detections), -1))
        rows = {label: np.flatnonzero((detections.label == label) & seen.good) for label in self._kinds}
        for label, kind in self._kinds.items():
            some = rows[label]
            columns = seen.places[some], seen.size[some], seen.intensity[some]
            outcome = kind.link(*columns, area, widening, self._names, seen.back[some])
            named.track_id[some], named.parent_id[some] = outcome.track_id, outcome.parent_id
            if label != ORGANELLE:
                self._divisions.tell(frame.index, outcome.families)
        if self._lag:
            self._open.append(_Open(frame, rows, len(detections)))
        return named

    def _settle(self) -> tuple[Finally | None, Revisions | None]:
        return self._settle_oldest() if len(self._open) > self._lag else (None, None)

    def _settle_oldest(self) -> tuple[Finally, Revisions | None]:
        oldest = self._open.popleft()
        named = Outcome(np.full(oldest.count, -1), np.full(oldest.count, -1))
        wrong = []
        for label, rows in oldest.rows.items():
            outcome, correction = self._kinds[label].settle(self._names)
            named.track_id[rows], named.parent_id[rows] = outcome.track_id, outcome.parent_id
            wrong.append((correction.old, correction.new, correction.mother))
            if label != ORGANELLE:
                self._divisions.settle(oldest.frame.index, outcome.families, correction)
        self._divisions.give_up(oldest.frame.index)
        linkers = {label: s.linker for label in oldest.rows if (s := self._kinds[label].settler) is not None}
        tracks = published(linkers, self._places.origin(oldest.frame), self._per_second(), 0)
        settled = Finally(oldest.frame.index, named, tracks)
        old, new, mother = (np.concatenate(c).astype(np.int32) for c in zip(*wrong, strict=True)) if wrong else _NONE
        since = np.full(len(old), oldest.frame.index, np.int32)
        return settled, Revisions(since, old, new, mother) if len(old) else None

    def _events(self, frame: Frame, before: Events | None) -> Events | None:
        """``before`` and what became known of divisions."""
        news = self._divisions.news(self._places.origin(frame))
        if before is None or news is None:
            return before if news is None else news
        return Events(*(np.concatenate([getattr(before, f.name), getattr(news, f.name)]) for f in fields(Events)))

    def _tracks(self, frame: Frame) -> Tracks:
        """All objects as they stand live, in ROI pixels of ``frame``."""
        live = {label: kind.live for label, kind in self._kinds.items()}
        return published(live, self._places.origin(frame), self._per_second(), self._coasted)

    def _per_second(self) -> float:
        return 1e9 / self._period_ns if self._period_ns else 0.0


_NONE = (np.empty(0, np.int32),) * 3

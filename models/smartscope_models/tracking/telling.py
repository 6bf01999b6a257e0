"""Divisions as events: told with the frame in which the daughters are first seen, then confirmed or withdrawn.

What was told live waits until its frame is settled. The same mother, or one of the same daughters, in a division that
is settled then or up to ``PATIENCE`` frames later, confirms it; else it is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from smartscope.result import EVENT_KINDS, EVENT_STATUS, Events
from smartscope_models.tracking.motion import Doubles
from smartscope_models.tracking.settling import Correction, apply
from smartscope_models.tracking.sightings import Families

PATIENCE = 2
"""Settled frames after its onset that a division may still be confirmed in."""
DIVISION = EVENT_KINDS.index("division")
PROVISIONAL, CONFIRMED, WITHDRAWN = (EVENT_STATUS.index(name) for name in ("provisional", "confirmed", "withdrawn"))


@dataclass(frozen=True, slots=True)
class _Event:
    event_id: int
    status: int
    onset: int
    place: tuple[float, float]
    """Specimen coordinates, px."""
    probability: float
    family: tuple[int, int, int]
    """Mother, daughters."""

    def same(self, family: tuple[int, int, int]) -> bool:
        """The same mother or one of the daughters."""
        return self.family[0] == family[0] or bool({*self.family[1:]} & {*family[1:]})


class DivisionTeller:
    """Remembers what was told of divisions and is not decided."""

    def __init__(self, least_probability: float, settles: bool) -> None:
        """least_probability: of a division that is told; settles: there will be second thoughts."""
        self._least, self._settles = least_probability, settles
        self._open: dict[int, _Event] = {}
        self._news: dict[int, _Event] = {}
        self._told = 0

    def tell(self, index: int, families: Families) -> None:
        """Divisions as they are seen live in frame ``index``."""
        status = PROVISIONAL if self._settles else CONFIRMED
        for event in self._events(index, families):
            self._say(replace(event, event_id=self._next_id(), status=status))

    def settle(self, index: int, families: Families, correction: Correction) -> None:
        """Divisions of frame ``index`` for good, of one kind of objects, and the identities that it took back."""
        self._rename(correction)
        for event in self._events(index, families):
            known = (old for old in self._open.values() if old.same(event.family))
            told = min(known, key=lambda old: abs(old.onset - index), default=None)
            self._say(replace(event, event_id=self._next_id() if told is None else told.event_id, status=CONFIRMED))

    def give_up(self, index: int) -> None:
        """Take back what was not confirmed up to frame ``index``."""
        for old in [*self._open.values()]:
            if index - old.onset >= PATIENCE:
                self._say(replace(old, status=WITHDRAWN))

    def close(self) -> None:
        """Nothing more will be known: what is open stands."""
        for old in [*self._open.values()]:
            self._say(replace(old, status=CONFIRMED))

    def news(self, origin: Doubles) -> Events | None:
        """What became known since the last call; origin (2,): of the frame's top-left pixel."""
        said, self._news = [*self._news.values()], {}
        if not said:
            return None
        places = np.array([event.place for event in said]) - origin
        numbers = [(e.event_id, DIVISION, e.status, e.onset, e.family[0], e.family[1]) for e in said]
        ids, kind, status, onset, mother, daughter = np.array(numbers, np.int32).T.copy()
        probability = np.array([event.probability for event in said], np.float32)
        x, y = places.astype(np.float32).T.copy()
        return Events(ids, kind, status, onset, x, y, probability, mother, daughter)

    def _events(self, index: int, families: Families) -> list[_Event]:
        found = zip(
            families.places.tolist(),
            families.probability.tolist(),
            families.mother.tolist(),
            families.daughters.tolist(),
            strict=True,
        )
        return [
            _Event(-1, PROVISIONAL, index, (x, y), probability, (mother, one, other))
            for (x, y), probability, mother, (one, other) in found
            if probability >= self._least
        ]

    def _next_id(self) -> int:
        """Identities of events leave room for those of other kinds, which other models tell."""
        self._told += 1
        return (self._told - 1) * len(EVENT_KINDS) + DIVISION

    def _say(self, event: _Event) -> None:
        """A frame tells an event once; what is taken back before anybody heard of it is not told at all."""
        unheard = event.event_id in self._news
        self._news[event.event_id] = event
        if event.status == PROVISIONAL:
            self._open[event.event_id] = event
            return
        self._open.pop(event.event_id, None)
        if event.status == WITHDRAWN and unheard:
            del self._news[event.event_id]

    def _rename(self, correction: Correction) -> None:
        if not len(correction.old) or not self._open:
            return
        names = np.array([event.family for event in self._open.values()])
        renamed = names.copy().ravel()
        apply(correction, renamed, np.full(renamed.shape, -1))
        for event, family in zip([*self._open.values()], renamed.reshape(-1, 3).tolist(), strict=True):
            self._open[event.event_id] = replace(event, family=(family[0], family[1], family[2]))

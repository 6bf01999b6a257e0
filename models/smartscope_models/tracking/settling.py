"""Second thoughts: a frame is linked again when some more frames are known, and then its identities stand for good.

Fixed-lag smoothing of the association: the window's frames, as linked live, are cut at the oldest of them, and its
objects are assigned anew to what follows: whole chains of sightings, some of which begin a few frames later (a gap, or
a daughter missed at first). Where the answer differs from what was told live, that is taken back by name.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from smartscope_models.tracking.linker import Linker
from smartscope_models.tracking.motion import Doubles
from smartscope_models.tracking.objects import Integers
from smartscope_models.tracking.sightings import Flags, Outcome, Sightings


@dataclass(slots=True)
class Moment:
    """What was seen of one kind of object in one frame, D detections, and how it was named live."""

    places: Doubles
    size: Doubles
    intensity: Doubles
    named: Outcome
    elapsed: float
    """Frame periods since the moment before."""
    area_px2: float
    widening: float
    back: Doubles
    """As of ``Sightings``."""


@dataclass(frozen=True, slots=True)
class Correction:
    """Identities taken back, from the settled frame on: old name, new name, mother's name; columns (K,)."""

    old: Integers
    new: Integers
    mother: Integers


class Settler:
    """The linker that lags ``lag`` frames behind."""

    def __init__(self, gate_px: float, memory_frames: float, lag: int, divides: bool = True) -> None:
        self.linker = Linker(gate_px, memory_frames, divides)
        self._lag = lag
        self._window: deque[Moment] = deque()
        self._gone = np.empty((2, 0), np.int64)
        """Names of objects that ended, and for how many more frames they must not be given again."""

    def push(self, moment: Moment) -> None:
        """Take in one more frame."""
        self._window.append(moment)

    def settle(self, next_id: int, live: Integers) -> tuple[Outcome, Correction]:
        """The final identities of the oldest frame, and what they correct; new names count from ``next_id``.

        live: names of the objects that are followed live.
        """
        oldest = self._window[0]
        chains, chain_of = self._chains()
        taken = np.concatenate([self.linker.objects.track_id, self._gone[0]])
        chains.names[_among(chains.names, np.sort(taken))] = -1
        self.linker.advance(oldest.elapsed)
        outcome = self.linker.link(chains, oldest.area_px2, next_id, oldest.widening)
        self._retire()
        final = Outcome(outcome.track_id[chain_of], outcome.parent_id[chain_of], outcome.families)
        fresh = max(next_id, int(self.linker.objects.track_id.max(initial=0)) + 1)
        bearers = np.concatenate([live, *(moment.named.track_id for moment in self._window)])
        correction = _corrected(oldest.named, final, bearers, max(fresh, int(final.track_id.max(initial=0)) + 1))
        self._window.popleft()
        for moment in self._window:
            apply(correction, moment.named.track_id, moment.named.parent_id)
        return final, correction

    def _chains(self) -> tuple[Sightings, Integers]:
        """All that is in the window by live identity, and the chain of each detection of the oldest frame."""
        window = self._window
        frame = np.repeat(np.arange(len(window)), [len(moment.places) for moment in window])
        names, chain = np.unique(np.concatenate([moment.named.track_id for moment in window]), return_inverse=True)
        shape = (len(names), len(window))
        places, size, intensity = np.full((*shape, 2), np.nan), np.ones(shape), np.ones(shape)
        places[chain, frame] = np.concatenate([moment.places for moment in window])
        size[chain, frame] = np.concatenate([moment.size for moment in window])
        intensity[chain, frame] = np.concatenate([moment.intensity for moment in window])
        seen = ~np.isnan(places[:, :, 0])
        begin, later = seen.argmax(1), seen.sum(1) - 1
        parent = np.full(len(names), -1)
        parent[chain] = np.concatenate([moment.named.parent_id for moment in window])
        divides = _among(names, np.sort(parent[begin > 0]))
        later[divides] = np.maximum(later[divides], 1)
        offered = (begin == 0) | ~_among(parent, names)  # daughters of a division yet to come wait for its frame
        elapsed = np.array([moment.elapsed for moment in window])
        kept = (places[offered], size[offered], intensity[offered], begin[offered])
        back = np.full((len(names), 2), np.nan)
        back[chain[: len(window[0].back)]] = window[0].back
        found = Sightings(*kept, elapsed, names[offered], later[offered], back[offered])
        return found, (np.cumsum(offered) - 1)[chain[: len(window[0].places)]]

    def _retire(self) -> None:
        """Names whose objects ended with this frame are not given again while live tracks may still bear them."""
        ended = self.linker.ended
        wait = np.full(len(ended), self._lag + 30)
        self._gone[1] -= 1
        self._gone = np.hstack([self._gone[:, self._gone[1] > 0], np.stack([ended, wait])])


def _among(values: Integers, known: Integers) -> Flags:
    """Which values are among the known, which are sorted."""
    if not len(known):
        return np.zeros(len(values), bool)
    return np.asarray(known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values)


def _corrected(live: Outcome, final: Outcome, bearers: Integers, next_id: int) -> Correction:
    """What was told live and is not so; another live track that bears a name now taken gets a fresh one."""
    wrong = (live.track_id != final.track_id) | (live.parent_id != final.parent_id)
    old, new, mother = live.track_id[wrong], final.track_id[wrong], final.parent_id[wrong]
    double = np.setdiff1d(new, old)
    double = double[_among(double, np.sort(bearers))] if len(double) else double
    return Correction(
        np.concatenate([old, double]),
        np.concatenate([new, next_id + np.arange(len(double))]),
        np.concatenate([mother, np.full(len(double), -1)]),
    )


def apply(correction: Correction, track_id: Integers, parent_id: Integers) -> None:
    """Correct identities (N,) and mothers (N,), in place."""
    if not len(correction.old):
        return
    order = np.argsort(correction.old)
    old, new, mother = correction.old[order], correction.new[order], correction.mother[order]
    at = np.minimum(np.searchsorted(old, track_id), len(old) - 1)
    mother_at = np.minimum(np.searchsorted(old, parent_id), len(old) - 1)
    renamed, adopted = old[at] == track_id, old[mother_at] == parent_id
    parent_id[adopted] = new[mother_at[adopted]]
    track_id[renamed] = new[at[renamed]]
    parent_id[renamed] = mother[at[renamed]]

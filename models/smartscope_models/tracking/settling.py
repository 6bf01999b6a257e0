"""Second thoughts: a frame is linked again when some more frames are known, and then its identities stand for good.

Fixed-lag smoothing of the association: the window's frames, as linked live, are cut at the oldest of them, and its
objects are assigned anew to what follows: whole chains of sightings, some of which begin a few frames later (a gap, or
a daughter missed at first). Where the answer differs from what was told live, that is taken back by name.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from smartscope_models.tracking.linker import Linker, Outcome, Sightings
from smartscope_models.tracking.motion import Doubles
from smartscope_models.tracking.objects import Integers


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


@dataclass(frozen=True, slots=True)
class Correction:
    """Identities taken back, from the settled frame on: old name, new name, mother's name; columns (K,)."""

    old: Integers
    new: Integers
    mother: Integers


class Settler:
    """The linker that lags ``lag`` frames behind."""

    def __init__(self, gate_px: float, memory_frames: float, lag: int) -> None:
        self.linker = Linker(gate_px, memory_frames)
        self._lag = lag
        self._window: deque[Moment] = deque()
        self._gone = np.empty((2, 0), np.int64)
        """Names of objects that ended, and for how many more frames they must not be given again."""

    def push(self, moment: Moment) -> bool:
        """Take in one more frame; true where the oldest can be settled."""
        self._window.append(moment)
        return len(self._window) > self._lag

    def __len__(self) -> int:
        return len(self._window)

    def settle(self, next_id: int) -> tuple[Outcome, Correction]:
        """The final identities of the oldest frame, and what they correct; new names count from ``next_id``."""
        oldest = self._window[0]
        chains, chain_of = self._chains()
        before = self.linker.objects.track_id
        chains.names[np.isin(chains.names, before) | np.isin(chains.names, self._gone[0])] = -1
        self.linker.advance(oldest.elapsed)
        outcome = self.linker.link(chains, oldest.area_px2, next_id, oldest.widening)
        self._retire(before)
        final = Outcome(outcome.track_id[chain_of], outcome.parent_id[chain_of])
        correction = self._correct(oldest.named, final, max(next_id, int(outcome.track_id.max(initial=0)) + 1))
        self._window.popleft()
        for moment in self._window:
            correction_of(moment.named, correction)
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
        elapsed = np.array([moment.elapsed for moment in window])
        found = Sightings(places, size, intensity, seen.argmax(1), elapsed, names, seen.sum(1) - 1)
        return found, chain[: len(window[0].places)]

    def _retire(self, before: Integers) -> None:
        """Names whose objects ended with this frame are not given again while live tracks may still bear them."""
        ended = np.setdiff1d(before, self.linker.objects.track_id)
        wait = np.full(len(ended), self._lag + 30)
        self._gone[1] -= 1
        self._gone = np.hstack([self._gone[:, self._gone[1] > 0], np.stack([ended, wait])])

    def _correct(self, live: Outcome, final: Outcome, next_id: int) -> Correction:
        """What was told live and is not so; another live track that bears a name now taken gets a fresh one."""
        wrong = (live.track_id != final.track_id) | (live.parent_id != final.parent_id)
        old, new, mother = live.track_id[wrong], final.track_id[wrong], final.parent_id[wrong]
        bearers = np.setdiff1d(new, old)
        return Correction(
            np.concatenate([old, bearers]),
            np.concatenate([new, next_id + np.arange(len(bearers))]),
            np.concatenate([mother, np.full(len(bearers), -1)]),
        )


def correction_of(named: Outcome, correction: Correction) -> None:
    """Apply a correction to identities and mothers, in place."""
    if not len(correction.old):
        return
    order = np.argsort(correction.old)
    old, new, mother = correction.old[order], correction.new[order], correction.mother[order]
    at = np.minimum(np.searchsorted(old, named.track_id), len(old) - 1)
    parent_at = np.minimum(np.searchsorted(old, named.parent_id), len(old) - 1)
    renamed = old[at] == named.track_id
    adopted = old[parent_at] == named.parent_id
    named.parent_id[adopted] = new[parent_at[adopted]]
    named.track_id[renamed] = new[at[renamed]]
    named.parent_id[renamed] = mother[at[renamed]]

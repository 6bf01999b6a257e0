"""One kind of object followed twice: live, and again with some frames of hindsight, under one set of names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartscope_models.tracking.linker import Linker
from smartscope_models.tracking.motion import Doubles
from smartscope_models.tracking.settling import Correction, Moment, Settler, apply
from smartscope_models.tracking.sightings import Outcome, Sightings


@dataclass(slots=True)
class Names:
    """Identities are given once, over all kinds of objects."""

    next_id: int = 1

    def used(self, *ids: np.ndarray) -> None:
        """Never give these again."""
        self.next_id = max(self.next_id, *(int(some.max(initial=0)) + 1 for some in ids))


class Kind:
    """The objects of one label."""

    def __init__(self, gate_px: float, memory_frames: int, lag_frames: int, divides: bool = True) -> None:
        self.live = Linker(gate_px, memory_frames, divides)
        self.settler = Settler(gate_px, memory_frames, lag_frames, divides) if lag_frames else None
        self._elapsed = 0.0

    def advance(self, frames: float) -> None:
        """Let time pass, in frame periods."""
        self.live.advance(frames)
        self._elapsed += frames

    def link(
        self,
        places: Doubles,
        size: Doubles,
        intensity: Doubles,
        area_px2: float,
        widening: float,
        names: Names,
        back: Doubles | None = None,
    ) -> Outcome:
        """Live identities of D detections; back: as of ``Sightings``."""
        found = Sightings.of_one_frame(places, size, intensity, back)
        outcome = self.live.link(found, area_px2, names.next_id, widening)
        names.used(outcome.track_id)
        if self.settler is not None:
            named = Outcome(outcome.track_id.copy(), outcome.parent_id.copy())
            moment = Moment(places, size, intensity, named, self._elapsed, area_px2, widening, found.back)
            self.settler.push(moment)
        self._elapsed = 0.0
        return outcome

    def settle(self, names: Names) -> tuple[Outcome, Correction]:
        """Final identities of the oldest open frame; the live objects take their corrected names."""
        assert self.settler is not None
        objects = self.live.objects
        final, correction = self.settler.settle(names.next_id, objects.track_id)
        names.used(final.track_id, correction.new, self.settler.linker.objects.track_id)
        apply(correction, objects.track_id, objects.parent_id)
        return final, correction

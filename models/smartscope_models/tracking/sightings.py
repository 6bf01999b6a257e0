"""What comes into the linker and out of it: chains of sightings, and the names they get."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from smartscope_models.tracking.motion import Doubles
from smartscope_models.tracking.objects import Integers

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sightings:
    """D chains of sightings over M frames, from this one on; M is 1 where nothing is known of later frames."""

    places: Doubles
    """(D, M, 2) px; NaN where not seen."""
    size: Doubles
    """(D, M)"""
    intensity: Doubles
    """(D, M)"""
    begin: Integers
    """(D,) index of the frame with the first sighting."""
    elapsed: Doubles
    """(M,) frame periods from the frame before to each; the first is not used."""
    names: Integers
    """(D,) identities for those that turn out to be new objects; -1: any."""
    later: Integers
    """(D,) sightings after the first."""
    back: Doubles
    """(D, 2) where the detector says that it was in the frame before this one, px; NaN where it says nothing."""
    described: Doubles = field(init=False)
    """(D, M, 2) log size and log brightness."""
    head: Doubles = field(init=False)
    """(D, 2) px, first sighting."""
    look: Doubles = field(init=False)
    """(D, 2) log size and log brightness of the first sighting."""
    here: Flags = field(init=False)
    """(D,) seen in this very frame."""

    def __post_init__(self) -> None:
        rows = np.arange(len(self.begin))
        described = np.log(np.maximum(np.stack([self.size, self.intensity], axis=2), 1e-6))
        object.__setattr__(self, "described", described)
        object.__setattr__(self, "head", self.places[rows, self.begin])
        object.__setattr__(self, "look", described[rows, self.begin])
        object.__setattr__(self, "here", self.begin == 0)

    def __len__(self) -> int:
        return len(self.begin)

    @classmethod
    def of_one_frame(cls, places: Doubles, size: Doubles, intensity: Doubles, back: Doubles | None = None) -> Sightings:
        """D detections."""
        none = np.zeros(len(places), np.int64)
        back = np.full((len(places), 2), np.nan) if back is None else back
        return cls(places[:, None], size[:, None], intensity[:, None], none, np.ones(1), none - 1, none, back)


@dataclass(frozen=True, slots=True)
class Families:
    """K divisions."""

    mother: Integers
    """(K,) identities."""
    daughters: Integers
    """(K, 2) identities."""
    places: Doubles
    """(K, 2) midpoint of the daughters, px."""
    probability: Doubles
    """(K,)"""

    def __len__(self) -> int:
        return len(self.mother)


def no_families() -> Families:
    """Nothing divided."""
    return Families(np.empty(0, np.int64), np.empty((0, 2), np.int64), np.empty((0, 2)), np.empty(0))


@dataclass(slots=True)
class Outcome:
    """Of one frame: object of each detection and its mother, both as identities, -1 for none; and who divided."""

    track_id: Integers
    parent_id: Integers
    families: Families = field(default_factory=no_families)

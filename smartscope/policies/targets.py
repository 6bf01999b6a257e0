"""Whom to follow: the same track while it lasts, the nearest one where it got lost, else a new choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from smartscope.policies.motion import Sighting, Trail

How = Literal["nearest", "largest", "brightest"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A track of the wanted kind, seen in this frame."""

    track_id: int
    place_um: tuple[float, float]
    age_frames: int
    size_px: float
    intensity: float


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a policy follows, and where it was."""

    track_id: int
    trail: Trail
    chosen: str
    """How it was chosen, for the diary."""

    def seen(self, candidate: Candidate, t_ns: int, chosen: str | None = None) -> Target:
        """The target after one more sighting, perhaps under another identity."""
        trail = self.trail.extended(Sighting(t_ns, *candidate.place_um))
        return Target(candidate.track_id, trail, self.chosen if chosen is None else chosen)


def follow(target: Target, seen: Sequence[Candidate], coasting: bool, t_ns: int, gate_um: float) -> Target:
    """The target as it stands after a frame exposed at ``t_ns``; unchanged where it was not seen.

    When its identity is gone from the tracks (not merely ``coasting``), a candidate within ``gate_um`` of the place
    where it should be takes over.
    """
    for candidate in seen:
        if candidate.track_id == target.track_id:
            return target.seen(candidate, t_ns)
    if coasting or not seen:
        return target
    expected = target.trail.predicted(t_ns)
    near = min(seen, key=lambda candidate: math.dist(candidate.place_um, expected))
    if math.dist(near.place_um, expected) > gate_um:
        return target
    return target.seen(near, t_ns, f"found again, was {target.track_id}")


def choose(
    seen: Sequence[Candidate], how: How, centre_um: tuple[float, float], min_age_frames: int, t_ns: int
) -> Target | None:
    """A new target among the candidates that have lived long enough; None where there are none."""
    old_enough = [candidate for candidate in seen if candidate.age_frames >= min_age_frames]
    if not old_enough:
        return None
    rank = {
        "nearest": lambda candidate: -math.dist(candidate.place_um, centre_um),
        "largest": lambda candidate: candidate.size_px,
        "brightest": lambda candidate: candidate.intensity,
    }[how]
    best = max(old_enough, key=rank)
    return Target(best.track_id, Trail((Sighting(t_ns, *best.place_um),)), f"{how} of {len(old_enough)}")

"""Whom to follow: the same track while it lasts, the nearest one where it got lost, else a new choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from smartscope.policies.motion import Motion, Sighting

How = Literal["nearest", "largest", "brightest"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A track of the wanted kind, seen in this frame."""

    track_id: int
    sighting: Sighting
    age_frames: int
    size_px: float
    intensity: float

    @property
    def place_um(self) -> tuple[float, float]:
        """(x, y)."""
        return self.sighting.x_um, self.sighting.y_um


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a policy follows, and how it moves."""

    track_id: int
    motion: Motion
    chosen: str
    """How it was chosen, for the diary."""
    size_px: float = 0.0

    def seen(self, candidate: Candidate, chosen: str | None = None) -> Target:
        """The target after one more sighting, perhaps under another identity."""
        said = self.chosen if chosen is None else chosen
        return Target(candidate.track_id, self.motion.seen(candidate.sighting), said, candidate.size_px)


def follow(
    target: Target, seen: Sequence[Candidate], coasting: bool, t_ns: int, gate_um: float, sigmas: float = 0.0
) -> Target:
    """The target as it stands after a frame exposed at ``t_ns``; unchanged where it was not seen.

    When its identity is gone from the tracks (not merely ``coasting``), the nearest candidate takes over, within
    ``gate_um``, or ``sigmas`` of the forecast where that is more, of the place where the target should be.
    """
    for candidate in seen:
        if candidate.track_id == target.track_id:
            return target.seen(candidate)
    if coasting or not seen:
        return target
    expected = target.motion.forecast(t_ns)
    near = min(seen, key=lambda candidate: math.dist(candidate.place_um, expected.place_um))
    if math.dist(near.place_um, expected.place_um) > max(gate_um, sigmas * expected.sigma_um):
        return target
    return target.seen(near, f"found again, was {target.track_id}")


def choose(seen: Sequence[Candidate], how: How, centre_um: tuple[float, float], min_age_frames: int) -> Target | None:
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
    return Target(best.track_id, Motion.begun(best.sighting), f"{how} of {len(old_enough)}", best.size_px)

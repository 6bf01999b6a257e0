"""Only this file knows where a stage that takes its time is at each moment."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smartscope_drivers.simulated.timeline import Timeline

Place = tuple[float, ...]
NEVER_NS = 2**62


@dataclass(frozen=True, slots=True)
class Move:
    """A straight way at constant speed."""

    t_start_ns: int
    start: Place
    t_end_ns: int
    end: Place

    def at(self, t_ns: int) -> Place:
        """Place at ``t_ns``, between start and end."""
        if t_ns >= self.t_end_ns:
            return self.end
        part = max(0.0, (t_ns - self.t_start_ns) / (self.t_end_ns - self.t_start_ns))
        return tuple(a + part * (b - a) for a, b in zip(self.start, self.end, strict=True))


class Trajectory:
    """The way of one stage (um): finite speed, then settling, during which it is at rest but still busy."""

    def __init__(self, start: Place, um_per_s: float, settling_ms: float) -> None:
        self._um_per_s, self._settling_ns = um_per_s, round(settling_ms * 1e6)
        self._moves = Timeline(Move(0, start, 0, start))
        self._busy_until_ns = 0

    def at(self, t_ns: int) -> Place:
        """Where it is, or was, at ``t_ns``."""
        return self._moves.at(t_ns).at(t_ns)

    def move_to(self, target: Place, t_ns: int, stalls: bool = False) -> None:
        """Set off for ``target``; a move under way is given up. One that stalls ends half-way and never settles."""
        start = self.at(t_ns)
        end = tuple((a + b) / 2 for a, b in zip(start, target, strict=True)) if stalls else target
        t_end_ns = t_ns + round(math.dist(start, end) / self._um_per_s * 1e9)
        self._moves.set(t_ns, Move(t_ns, start, t_end_ns, end))
        self._busy_until_ns = NEVER_NS if stalls else t_end_ns + self._settling_ns

    def stop(self, t_ns: int) -> None:
        """Stay here."""
        here = self.at(t_ns)
        self._moves.set(t_ns, Move(t_ns, here, t_ns, here))
        self._busy_until_ns = t_ns

    def busy(self, t_ns: int) -> bool:
        """Whether it still moves or settles."""
        return t_ns < self._busy_until_ns

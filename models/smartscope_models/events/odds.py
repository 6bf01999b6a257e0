"""How probable it is that what passes the level is an event: such scores by chance, against how often events happen."""

from __future__ import annotations

from smartscope_models.events.level import AlarmLevel

PRIOR_EVENTS = 1.0
PRIOR_RATIO = 3.0
"""Belief before any data: events are so many times as frequent as the false alarms that were allowed."""


class Odds:
    """Counts what was told."""

    def __init__(self, level: AlarmLevel) -> None:
        self._level = level
        self._told = 0.0
        self._hours = 0.0

    def pass_time(self, elapsed_s: float) -> None:
        """So much later."""
        self._hours += elapsed_s / 3600

    def count(self) -> None:
        """One was told."""
        self._told += 1

    def probability(self, score: float) -> float:
        """That a score comes of an event."""
        allowed = self._level.per_hour
        true = max(self._told - allowed * self._hours, 0.0) + PRIOR_EVENTS
        per_hour = true / (self._hours + PRIOR_EVENTS / (PRIOR_RATIO * allowed))
        return per_hour / (per_hour + self._level.false_per_hour(score))

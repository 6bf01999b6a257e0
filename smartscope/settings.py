"""Which frame had which setting: a timeline of changes, each an interval from call to confirmed effect."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from smartscope.frame import Certainty


@dataclass(frozen=True, slots=True)
class Change:
    """One setting changed from its old value somewhere within [t_called_ns, t_effect_ns]."""

    setting: str
    value: Any
    t_called_ns: int
    t_effect_ns: int


class SettingsTimeline:
    """Remembers the recent changes of each setting; loop thread writes, grabber thread asks."""

    def __init__(self, calibrated: frozenset[str] = frozenset(), keep: int = 256) -> None:
        self._lock = threading.Lock()
        self._changes: dict[str, deque[Change]] = {}
        self._calibrated = calibrated
        self._keep = keep

    def record(self, change: Change) -> None:
        """Note a change (also the initial value, with both times in the past)."""
        with self._lock:
            self._changes.setdefault(change.setting, deque(maxlen=self._keep)).append(change)

    def latest(self, setting: str) -> Any:
        """The value in force after the last change."""
        with self._lock:
            return self._changes[setting][-1].value

    def during(self, setting: str, t_start_ns: int, t_end_ns: int) -> tuple[Any, Certainty]:
        """Value and certainty of a setting for an exposure; for a mixed one, the value at its end."""
        with self._lock:
            changes = self._changes[setting]
            value: Any = changes[0].value
            mixed = False
            for change in changes:
                if change.t_called_ns >= t_end_ns:
                    break
                value = change.value
                mixed = change.t_effect_ns > t_start_ns
            if mixed:
                return value, Certainty.MIXED
            return value, Certainty.EXACT if setting in self._calibrated else Certainty.ASSUMED

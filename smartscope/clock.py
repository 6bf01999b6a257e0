"""The two clocks a run can live on: the machine's, and one that only the event heap moves."""

from __future__ import annotations

import time


class LiveClock:
    """Monotonic machine time; the same on all threads and processes of one machine."""

    virtual = False

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary start."""
        return time.perf_counter_ns()

    def sleep(self, seconds: float) -> None:
        """Let this thread rest."""
        time.sleep(max(0.0, seconds))


class VirtualClock:
    """Time that stands still until the event heap moves it; sleeping is a mistake on it."""

    virtual = True

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Nanoseconds since the run began."""
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        """Move time on, for code that waits for a device in a run where one participant runs at a time."""
        self.advance_to(self._now_ns + round(max(0.0, seconds) * 1e9))

    def advance_to(self, t_ns: int) -> None:
        """Move time forward to ``t_ns``; never backward."""
        self._now_ns = max(self._now_ns, t_ns)

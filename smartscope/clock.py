"""The two clocks a run can live on: the machine's, and one that only the event heap moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


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
    """Time that stands still until the event heap moves it."""

    virtual = True

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns
        self._guests: dict[int, Callable[[int], None]] = {}

    def now_ns(self) -> int:
        """Nanoseconds since the run began."""
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        """A guest (see ``guests.py``) gives way until then; without a heap, time just moves on."""
        wake_ns = self._now_ns + round(max(0.0, seconds) * 1e9)
        give_way = self._guests.get(threading.get_ident())
        if give_way is not None:
            give_way(wake_ns)
        else:
            self.advance_to(wake_ns)

    def advance_to(self, t_ns: int) -> None:
        """Move time forward to ``t_ns``; never backward."""
        self._now_ns = max(self._now_ns, t_ns)

    def welcome(self, give_way: Callable[[int], None]) -> None:
        """The calling thread is a guest from now on: its sleeps call ``give_way`` with the time to wake at."""
        self._guests[threading.get_ident()] = give_way

    def farewell(self) -> None:
        """The calling thread is no guest any more."""
        self._guests.pop(threading.get_ident(), None)

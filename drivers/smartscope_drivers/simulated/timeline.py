"""Only this file knows what a piecewise constant quantity was at each moment of the past."""

from __future__ import annotations

import bisect
import threading
from typing import Generic, TypeVar

T = TypeVar("T")

_KEEP = 100_000


class Timeline(Generic[T]):
    """Values and the moments from which they hold; any thread may write and ask.

    Remembers the last 50,000 changes at least; a moment before that gets the oldest value known.
    """

    def __init__(self, initial: T) -> None:
        self._lock = threading.Lock()
        self._times: list[int] = []
        self._values: list[T] = [initial]

    def set(self, t_ns: int, value: T) -> None:
        """From ``t_ns`` on it is ``value``, whatever was noted for later."""
        with self._lock:
            place = bisect.bisect_left(self._times, t_ns)
            self._times[place:] = [t_ns]
            self._values[place + 1 :] = [value]
            if place >= _KEEP:
                del self._times[: _KEEP // 2], self._values[: _KEEP // 2]

    def at(self, t_ns: int) -> T:
        """The value that holds at ``t_ns``."""
        with self._lock:
            return self._values[bisect.bisect_right(self._times, t_ns)]

    def pieces(self, t0_ns: int, t1_ns: int) -> list[tuple[int, int, T]]:
        """(from, to, value) of the constant pieces that together cover [t0, t1]."""
        with self._lock:
            first, last = bisect.bisect_right(self._times, t0_ns), bisect.bisect_left(self._times, t1_ns)
            edges = [t0_ns, *self._times[first:last], t1_ns]
            return list(zip(edges, edges[1:], self._values[first : last + 1], strict=False))

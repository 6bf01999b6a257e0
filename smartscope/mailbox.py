"""Bounded hand-overs between threads: the newest wins, or overflow is refused; both count what they do."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """What went through one mailbox."""

    put: int
    taken: int
    displaced: int
    waiting: int


class NewestWins(Generic[T]):
    """Holds one item; a newer one displaces it. The camera never waits for whoever reads."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._put = self._taken = self._displaced = 0
        self._closed = False

    def put(self, item: T) -> T | None:
        """Leave an item; returns the one that it displaced."""
        with self._condition:
            displaced, self._item = self._item, item
            self._put += 1
            self._displaced += displaced is not None
            self._condition.notify()
            return displaced

    def take(self, timeout_s: float = 0.0) -> T | None:
        """The newest item, or None when none came in time or the mailbox is closed."""
        with self._condition:
            if self._item is None and not self._closed and timeout_s > 0:
                self._condition.wait(timeout_s)
            item, self._item = self._item, None
            self._taken += item is not None
            self._condition.notify_all()
            return item

    def wait_until_taken(self, timeout_s: float) -> bool:
        """Give the reader time to take what was put; whether nothing waits any more."""
        with self._condition:
            return self._condition.wait_for(lambda: self._item is None or self._closed, timeout_s)

    def close(self) -> None:
        """Wake whoever waits; nothing more will come."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def statistics(self) -> MailboxStatistics:
        """Counts so far."""
        with self._condition:
            return MailboxStatistics(self._put, self._taken, self._displaced, int(self._item is not None))


class NewestOfEach(NewestWins[T]):
    """Newest wins among items of one kind; the last one of an earlier kind waits for its turn, the oldest first."""

    def __init__(self, kind: Callable[[T], object], kept: int = 4) -> None:
        """``kept``: earlier kinds that wait at most."""
        super().__init__()
        self._kind, self._kept = kind, kept
        self._earlier: deque[T] = deque()

    def put(self, item: T) -> T | None:
        """Leave an item; returns the one that it displaced."""
        with self._condition:
            waiting = self._item
            if waiting is None or self._kind(waiting) == self._kind(item):
                return super().put(item)
            self._earlier.append(waiting)
            self._item = None
            super().put(item)
            if len(self._earlier) <= self._kept:
                return None
            self._displaced += 1
            return self._earlier.popleft()

    def take(self, timeout_s: float = 0.0) -> T | None:
        """The last item of the earliest kind that waits, or None when none came in time."""
        with self._condition:
            if not self._earlier:
                return super().take(timeout_s)
            self._taken += 1
            return self._earlier.popleft()

    def statistics(self) -> MailboxStatistics:
        """Counts so far."""
        with self._condition:
            newest = super().statistics()
            return replace(newest, waiting=newest.waiting + len(self._earlier))


class BoundedQueue(Generic[T]):
    """First in, first out, up to a total weight (bytes, say); ``offer`` says no when full, and never blocks."""

    def __init__(self, capacity: float) -> None:
        self._capacity = capacity
        self._condition = threading.Condition()
        self._items: deque[tuple[T, float]] = deque()
        self._weight = 0.0
        self._put = self._taken = self._refused = 0
        self._closed = False

    def offer(self, item: T, weight: float = 1.0) -> bool:
        """Append an item if its weight still fits; an empty queue takes any single item."""
        with self._condition:
            if self._items and self._weight + weight > self._capacity:
                self._refused += 1
                return False
            self._items.append((item, weight))
            self._weight += weight
            self._put += 1
            self._condition.notify()
            return True

    def take(self, timeout_s: float = 0.0) -> T | None:
        """The oldest item, or None when none came in time, or when closed and empty."""
        with self._condition:
            if not self._items and not self._closed and timeout_s > 0:
                self._condition.wait(timeout_s)
            if not self._items:
                return None
            item, weight = self._items.popleft()
            self._weight -= weight
            self._taken += 1
            return item

    def close(self) -> None:
        """Wake whoever waits; what is inside can still be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def fullness(self) -> float:
        """0 (empty) to 1 (full)."""
        with self._condition:
            return self._weight / self._capacity

    def statistics(self) -> MailboxStatistics:
        """Counts so far; ``displaced`` are the refused."""
        with self._condition:
            return MailboxStatistics(self._put, self._taken, self._refused, len(self._items))

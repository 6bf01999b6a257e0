"""Device calls that wait, in virtual time: each on a thread of its own, but only one thread ever runs at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from smartscope.clock import VirtualClock

T = TypeVar("T")


class Guest(Generic[T]):
    """A call that may sleep on the virtual clock. ``resume`` runs it until it sleeps again or ends."""

    def __init__(self, clock: VirtualClock, call: Callable[[], T]) -> None:
        self._clock, self._call = clock, call
        self._mine, self._theirs = threading.Semaphore(0), threading.Semaphore(0)
        self._wake_ns: int | None = None
        self.future: Future[T] = Future()
        self._thread = threading.Thread(target=self._live, name="virtual device call", daemon=True)
        self._thread.start()

    def resume(self) -> int | None:
        """Let the call run; returns when it wants to wake again, None when it has ended (``future`` is done)."""
        self._mine.release()
        self._theirs.acquire()
        if self.future.done():
            self._thread.join()
            return None
        return self._wake_ns

    def _live(self) -> None:
        self._mine.acquire()
        self._clock.welcome(self._give_way)
        try:
            self.future.set_result(self._call())
        except Exception as error:
            self.future.set_exception(error)
        finally:
            self._clock.farewell()
            self._theirs.release()

    def _give_way(self, wake_ns: int) -> None:
        self._wake_ns = wake_ns
        self._theirs.release()
        self._mine.acquire()

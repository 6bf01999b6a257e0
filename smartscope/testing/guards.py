"""What a test may leave behind: nothing. Threads, ZMQ sockets and contexts are found and named."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Finder = Callable[[], set[str]]
"""Describes the things of one kind that are open now, each by a text of its own."""
GRACE_S = 2.0
"""A thread that was told to end may take so long."""
POOLS = ("zarr_", "asyncio_", "ThreadPoolExecutor-")
"""Names of the pools that zarr and dask keep for the life of the process; our own executors bear names of their own."""

_contexts: weakref.WeakSet[Any] = weakref.WeakSet()


@contextmanager
def nothing_left_behind(*more: Finder, grace_s: float = GRACE_S) -> Iterator[None]:
    """Raise AssertionError if the body leaves more open than it found; ``more`` find further kinds of things.

    ZMQ is watched only where it is imported before the body runs, so that tests without it do not pay for it.
    """
    _watch_zmq()
    finders = (threads, sockets, *more)
    before = [find() for find in finders]
    yield
    deadline = time.monotonic() + grace_s
    while True:
        left = [item for find, known in zip(finders, before, strict=True) for item in sorted(find() - known)]
        if not left:
            return
        if time.monotonic() > deadline:
            raise AssertionError("left behind: " + "; ".join(left))
        time.sleep(0.01)


def threads() -> set[str]:
    """Python threads that run; pools and foreign threads that called into Python (``_DummyThread``) do not count."""
    running = (t for t in threading.enumerate() if not isinstance(t, threading._DummyThread))
    running = (t for t in running if not t.name.startswith(POOLS))
    return {f"thread {t.name} ({t.ident})" for t in running}


def sockets() -> set[str]:
    """ZMQ contexts that are not terminated and their open sockets."""
    found = set()
    for context in list(_contexts):
        if not context.closed:
            found.add(f"ZMQ context {id(context):#x}")
            found |= {f"ZMQ socket {socket!r}" for socket in list(context._sockets) if not socket.closed}
    return found


def _watch_zmq() -> None:
    """From now on remember each ZMQ context that is made."""
    zmq: Any = sys.modules.get("zmq")
    if zmq is None or hasattr(zmq.Context.__init__, "remembers"):
        return
    original = zmq.Context.__init__

    def remembering(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _contexts.add(self)

    remembering.remembers = True  # type: ignore[attr-defined]
    zmq.Context.__init__ = remembering

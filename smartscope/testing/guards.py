"""What a test may leave behind: nothing. Threads, ZMQ sockets and contexts, Micro-Manager cores: found and named."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

GRACE_S = 2.0
"""A thread that was told to end may take so long."""
POOLS = ("zarr_", "asyncio_", "ThreadPoolExecutor-")
"""Names of the pools that zarr and dask keep for the life of the process; our own executors bear names of their own."""

_cores: weakref.WeakSet[Any] = weakref.WeakSet()
_contexts: weakref.WeakSet[Any] = weakref.WeakSet()
_watched: set[str] = set()


@contextmanager
def nothing_left_behind(grace_s: float = GRACE_S) -> Iterator[None]:
    """Raise AssertionError if the body leaves more open than it found.

    Only what is imported before the body runs is watched, so that a test that needs neither ZMQ nor Micro-Manager does
    not pay for them.
    """
    _watch()
    finders: tuple[Callable[[], set[str]], ...] = (threads, sockets, cores)
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


def cores() -> set[str]:
    """Micro-Manager cores with devices in them."""
    return {
        f"Micro-Manager core {id(core):#x} with {len(core.getLoadedDevices()) - 1} devices"
        for core in list(_cores)
        if len(core.getLoadedDevices()) > 1
    }


def _watch() -> None:
    """From now on remember each context and core that is made, once their modules are there."""
    for module, owner, made in (("zmq", "Context", _contexts), ("pymmcore_plus", "CMMCorePlus", _cores)):
        if module in sys.modules and module not in _watched:
            _watched.add(module)
            _remember(getattr(sys.modules[module], owner), made)


def _remember(cls: type[Any], made: weakref.WeakSet[Any]) -> None:
    original = cls.__init__

    def remembering(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        made.add(self)

    cls.__init__ = remembering

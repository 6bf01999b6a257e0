"""Light off however the program ends: by itself, by an exception, by Ctrl-C or by a request to terminate."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP")


class StopFlag:
    """Whether the run shall end, and why; a plain attribute, since signal handlers must not wait for a lock."""

    def __init__(self) -> None:
        self.why = ""

    def __bool__(self) -> bool:
        return bool(self.why)

    def set(self, why: str) -> None:
        """Ask the loop to end in order; the first reason stays."""
        self.why = self.why or why


@contextlib.contextmanager
def light_guard(*darken: Callable[[], None]) -> Iterator[StopFlag]:
    """Call every ``darken`` (``lights.dark``, ``microscope.dark``) on the way out, whatever the way.

    The first signal sets the flag that is yielded, for the loop to end in order; the second darkens at once and ends
    the process with code 128 + signal. Signals are caught on the main thread only, as Python demands; elsewhere only
    the way out counts. Every ``darken`` is called even if others raise; the first error is raised then.
    """
    stop = StopFlag()
    caught: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if len(caught) > 1:
            for switch_off in darken:
                with contextlib.suppress(Exception):
                    switch_off()
            os._exit(128 + number)
        stop.set(signal.Signals(number).name)

    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                if number := getattr(signal, name, None):
                    stack.callback(signal.signal, number, signal.signal(number, handle))
        for switch_off in darken:  # after the signals, and so undone before them: nothing interrupts the darkening
            atexit.register(switch_off)
            stack.callback(atexit.unregister, switch_off)
            stack.callback(switch_off)
        yield stop

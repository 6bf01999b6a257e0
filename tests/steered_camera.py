"""A Python camera that exposes when the test says so, and CoreCamera over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.experimental.unicore import CameraDevice, UniMMCore

from smartscope.clock import LiveClock
from smartscope_drivers.core_camera import CoreCamera
from smartscope_drivers.core_tools import close_core, open_core

DEADLINE_S = 10.0


class SteeredCamera(CameraDevice):
    """One frame for each ``expose``; each pixel holds the frame's number."""

    def __init__(self, shape: tuple[int, int], pixel: np.dtype[Any] | type = np.uint16, colours: int = 0) -> None:
        super().__init__()
        self.size, self.pixel, self.colours = shape, pixel, colours
        self.tags: dict[str, str] = {}
        self.stopped = threading.Event()
        self.drawing = threading.Event()
        """Set while it has begun a frame and may not finish it."""
        self.may_finish = threading.Event()
        self.may_finish.set()
        self._exposure_ms = 1.0
        self._wanted = threading.Semaphore(0)

    def expose(self, frames: int = 1) -> None:
        """Let so many frames come."""
        self._wanted.release(frames)

    def get_exposure(self) -> float:
        return self._exposure_ms

    def set_exposure(self, exposure: float) -> None:
        self._exposure_ms = exposure

    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return (*self.size, self.colours) if self.colours else self.size

    def dtype(self) -> Any:
        return self.pixel

    def start_sequence(
        self, n: int | None, get_buffer: Callable[[Sequence[int], Any], np.ndarray[Any, Any]]
    ) -> Iterator[Mapping[str, str]]:
        for number in range(n or 0):
            while not self._wanted.acquire(timeout=0.01):
                if self.stopped.is_set():
                    return
            buffer = get_buffer(self.shape(), self.pixel)
            self.drawing.set()
            self.may_finish.wait(DEADLINE_S)
            buffer[:] = number % 256
            self.drawing.clear()
            yield dict(self.tags)


@contextmanager
def steered(
    shape: tuple[int, int] = (40, 50), ring_mb: float = 0.001, **options: Any
) -> Iterator[tuple[CoreCamera, SteeredCamera, CMMCorePlus]]:
    """The driver's camera, the device behind it, and their core."""
    core = open_core(UniMMCore, str(Path(__file__).parent))
    device = SteeredCamera(shape, **options)
    try:
        core.loadPyDevice("Camera", device)
        core.initializeAllDevices()
        device.stopped = core._stop_event
        yield CoreCamera(core, "Camera", LiveClock(), ring_mb), device, core
    finally:
        device.stopped.set()
        close_core(core)


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once it holds; fail after a long while."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.001)

"""Handling a Micro-Manager core: opening one unseen, closing it so that Python can exit, ring size, waiting."""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from typing import TypeVar

import pymmcore
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.core import _mmcore_plus
from pymmcore_plus.experimental.unicore import UniMMCore
from pymmcore_plus.experimental.unicore.core._sequence_buffer import SequenceBuffer

from smartscope.errors import DeviceError, DeviceTimeout, SmartscopeError
from smartscope.ports import Clock

Core = TypeVar("Core", bound=CMMCorePlus)

POLL_S = 0.001
"""How often a busy device is asked; the core's own ``waitForDevice`` asks every 10 ms."""
_SLICE_S = 0.05
SMALLEST_RING = 8
"""Frames that a ring holds at least, however large they are."""

_open: weakref.WeakSet[CMMCorePlus] = weakref.WeakSet()
_opening = threading.Lock()


def open_core(kind: type[Core], adapter_path: str) -> Core:
    """A core of our own, which ``CMMCorePlus.instance()`` hands to nobody: every command shall pass the safety gate."""
    _leave_home_alone()
    with _opening:
        # the constructor offers the first core of the process to all; 0.18.1 has no public way around it
        offered = _mmcore_plus._instance
        core = kind(mm_path=adapter_path, adapter_paths=(adapter_path,))
        _mmcore_plus._instance = offered
    core.setAutoShutter(False)
    _open.add(core)
    return core


def _leave_home_alone() -> None:
    """No log file of pymmcore-plus in the user's home: on a full disk its complaints would bury our own words."""
    logger = logging.getLogger("pymmcore-plus")
    for handler in [handler for handler in logger.handlers if isinstance(handler, RotatingFileHandler)]:
        logger.removeHandler(handler)
        handler.close()


def close_core(core: CMMCorePlus) -> None:
    """Leave no thread that can call into Python after this returns; harmless the second time.

    MMCore 12 delivers callbacks on a thread of its own, which aborts the process when it meets a finalising
    interpreter (mmCoreAndDevices #873): the callback is detached first. pymmcore-plus refuses ``registerCallback`` on
    its own class, hence the base class.
    """
    if core not in _open:
        return
    try:
        if core.isSequenceRunning():
            core.stopSequenceAcquisition()
    finally:
        pymmcore.CMMCore.registerCallback(core, None)
        core.reset()
        _open.discard(core)


def open_cores() -> set[str]:
    """The cores that this process has not closed, described."""
    return {repr(core) for core in _open}


def size_ring(core: CMMCorePlus, ring_mb: float) -> int:
    """Give the core's ring about ``ring_mb``; returns the frames that fit. No sequence may run.

    Call again after every change of ROI, binning or pixel type: the Python ring of ``UniMMCore`` loses one frame per
    wrap unless it holds a whole number of frames. The C++ ring counts in frames itself.
    """
    frame_bytes = core.getImageWidth() * core.getImageHeight() * core.getBytesPerPixel()
    frames = max(SMALLEST_RING, int(ring_mb * 2**20 / frame_bytes))
    if isinstance(core, UniMMCore) and core.isPyDevice(core.getCameraDevice()):
        core._seq_buffer = SequenceBuffer(size_mb=frames * frame_bytes / 2**20)  # private in 0.18.1
        return frames
    wanted_mb = max(math.ceil(ring_mb), math.ceil(SMALLEST_RING * frame_bytes / 2**20))
    if core.getCircularBufferMemoryFootprint() != wanted_mb:
        # allocates: 0.1 s for 256 MB, so the footprint stays the same whatever the ROI
        core.setCircularBufferMemoryFootprint(wanted_mb)
    core.initializeCircularBuffer()
    return int(core.getBufferTotalCapacity())


def sequence_thread(core: CMMCorePlus) -> threading.Thread | None:
    """The thread in which a Python camera exposes a sequence just started; None for a C++ camera."""
    thread: threading.Thread | None = getattr(core, "_acquisition_thread", None)  # private in 0.18.1
    return thread


def await_sequence_end(thread: threading.Thread, label: str, patience_s: float) -> None:
    """Return once the thread of a Python camera's sequence is over.

    ``UniMMCore`` waits 2 s for it and then forgets it. A thread that draws its last frame later than that, because the
    exposure is long or the process was held up, would hand over the next sequence's unfinished frame as its own, and
    the next sequence would die of "No pending slot to finalize".

    Raises:
        DeviceTimeout: it still lives after ``patience_s`` in which this process ran.
    """
    for _ in range(math.ceil(patience_s / _SLICE_S)):
        thread.join(_SLICE_S)  # a pause of the whole process costs one slice, not all patience
        if not thread.is_alive():
            return
    raise DeviceTimeout(
        "the sequence has been stopped and does not end",
        where=label,
        allowed=f"{patience_s:g} s",
        remedy="check the camera's driver: something blocks it",
    )


def wait_until_idle(core: CMMCorePlus, label: str, timeout_s: float, clock: Clock) -> None:
    """Return once the device is no longer busy.

    Raises:
        DeviceTimeout: it still is after ``timeout_s``.
    """
    deadline_ns = clock.now_ns() + round(timeout_s * 1e9)
    while core.deviceBusy(label):
        if clock.now_ns() >= deadline_ns:
            raise DeviceTimeout(
                "still busy",
                where=label,
                allowed=f"{timeout_s:g} s",
                remedy="check that the device is free to move, or raise move_timeout_s",
            )
        clock.sleep(POLL_S)


@contextmanager
def device_errors(what: str, where: str = "") -> Iterator[None]:
    """Whatever a core or an adapter raises (RuntimeError, but Python devices raise anything), as DeviceError."""
    try:
        yield
    except SmartscopeError:
        raise
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise DeviceError(f"{what} failed: {message}", where=where, remedy="check the device and its cable") from error

"""Recorded movies as light levels: whatever ``smartscope replay`` can read, one frame in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from smartscope import plugins
from smartscope.camera_calibration.levels import Level, LevelStatistics
from smartscope.clock import VirtualClock
from smartscope.config import MicroscopeConfig
from smartscope.errors import InputError
from smartscope.frame import Pixels
from smartscope.ports import Microscope, MicroscopeSetup


def level_of(movies: Sequence[Path], offset_adu: float | None = None) -> Level:
    """The statistics of all frames of these movies together; ``offset_adu`` as for ``LevelStatistics``.

    Raises:
        InputError: no such movie, one that cannot be read, or too few frames.
    """
    name = ", ".join(path.name for path in movies)
    statistics = LevelStatistics(name, offset_adu=offset_adu)
    for path in movies:
        for pixels in frames_of(path):
            statistics.add(pixels)
    return statistics.level()


def frames_of(path: Path) -> Iterator[Pixels]:
    """A movie is a camera that replays: the driver knows the formats, the core need not.

    Raises:
        InputError: no such movie, or one that cannot be read.
    """
    if not path.exists():
        raise InputError("no such movie", where=str(path), remedy="correct the path")
    clock = VirtualClock()
    setup = MicroscopeSetup(MicroscopeConfig(driver="replay"), clock, None)
    microscope: Microscope = plugins.build("microscopes", "replay", {"movie": str(path)}, setup)
    try:
        microscope.start(0)
        while not microscope.exhausted():
            clock.advance_to(microscope.frame_due_ns())
            frame = microscope.next_frame(0.0)
            assert frame is not None
            yield frame.pixels
    finally:
        microscope.close()

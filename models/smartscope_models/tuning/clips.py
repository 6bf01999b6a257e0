"""Which recorded frames are looked at: clips of consecutive ones under equal settings, spread over run or movie."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.config import MicroscopeConfig
from smartscope.errors import InputError
from smartscope.frame import Frame, Roi
from smartscope.ports import Instrument
from smartscope.recorder.folder import RUN
from smartscope.recorder.reader import RunReader
from smartscope_models.movies import TiffMovie, as_frame


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Consecutive frames of one scene."""

    pixels: npt.NDArray[np.uint16]
    """(L, H, W) counts, oldest first."""
    roi: Roi
    first: int
    """Index of the oldest frame."""


def is_run(source: Path) -> bool:
    """Whether this is a run folder rather than a movie."""
    return (source / RUN).is_file()


def read_clips(source: Path, length: int, most: int) -> list[Clip]:
    """At most ``most`` clips of ``length`` frames, spread evenly, newest first; of the shape of the newest frame.

    Raises:
        InputError: neither run folder nor movie, damaged, or without pixels.
    """
    with ExitStack() as open_files:
        frames: Sequence[Frame]
        if is_run(source):
            frames = RunReader(source).frames
        else:
            frames = _MovieFrames(open_files.enter_context(TiffMovie(source)))
        return _clips(frames, length, most, str(source))


def _clips(frames: Sequence[Frame], length: int, most: int, where: str) -> list[Clip]:
    if not len(frames) or not frames[-1].pixels.size:
        raise InputError("holds no frames", where=where, remedy="record raw frames (recorder), or name a movie")
    shape, found = frames[-1].pixels.shape, list[Clip]()
    if len(frames) < length:
        return found
    for place in np.unique(np.linspace(0, len(frames) - length, most).astype(int))[::-1].tolist():
        taken = frames[place : place + length]
        if all(frame.pixels.shape == shape for frame in taken) and _belong_together(taken):
            pixels = np.stack([frame.pixels for frame in taken])
            found.append(Clip(pixels, taken[0].settings.roi, taken[0].index))
    return found


def _belong_together(frames: Sequence[Frame]) -> bool:
    """Whether nothing but time and noise sets them apart."""
    first, *others = frames
    return not first.mixed and not any(
        frame.mixed or frame.lost_before or frame.epoch != first.epoch or frame.settings != first.settings
        for frame in others
    )


class _MovieFrames(Sequence[Frame]):
    """A movie's frames, read when asked for."""

    def __init__(self, movie: TiffMovie) -> None:
        self._movie = movie

    def __len__(self) -> int:
        return len(self._movie)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return as_frame(self._movie.pixels(place), place)


def instrument_of_run(source: Path) -> Instrument:
    """Camera and optics as the run's own configuration has them.

    Raises:
        InputError: no run folder, or its configuration cannot be read.
    """
    try:
        microscope = MicroscopeConfig.model_validate(RunReader(source).run["config"]["microscope"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"its configuration names no camera that can be read: {error}",
            where=str(source / RUN),
            remedy="name camera.json (--camera)",
        ) from error
    return Instrument(microscope.camera, microscope.optics)

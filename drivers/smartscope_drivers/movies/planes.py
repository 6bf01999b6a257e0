"""What every recorded movie offers, which pixels it may have, and which of its axes counts the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.frame import Pixels, Settings

KINDS = "a TIFF or OME-TIFF file, an OME-Zarr folder, a folder of numbered images, or a run folder of smartscope"
MS_PER = {"s": 1e3, "second": 1e3, "ms": 1.0, "millisecond": 1.0, "min": 6e4, "minute": 6e4, "h": 3.6e6, "hour": 3.6e6}


class Movie(Protocol):
    """Planes of one size."""

    shape: tuple[int, int]
    """(H, W)."""
    interval_ms: float | None
    """Between frames, where the file says."""

    def __len__(self) -> int:
        """Frames."""

    def plane(self, index: int) -> Pixels:
        """(H, W) uint16 of one frame; an array of its own."""

    def settings(self, index: int) -> Settings | None:
        """Settings of one frame, where they were recorded."""

    def close(self) -> None:
        """Let go of the file."""


class Axes:
    """Which index of an array (T, C, Z, Y, X, S in any order) is which frame."""

    def __init__(self, axes: str, shape: Sequence[int], channel: int, where: str) -> None:
        """Raise InputError unless exactly one axis counts frames and the channel exists."""
        self._axes, self._shape, self._channel = axes.upper(), tuple(shape), channel
        sizes = dict(zip(self._axes, self._shape, strict=True))
        self.plane_shape = sizes["Y"], sizes["X"]
        colours = "S" if "S" in sizes else "C"
        if colours == "C" and all(size == 1 for axis, size in sizes.items() if axis not in "YXC"):
            colours = ""  # ImageJ files often call the axis of frames channels; a movie of one frame is none
        if channel >= sizes.get(colours, 1):
            raise no_channel(channel, sizes.get(colours, 1), where)
        self._colours = colours
        others = [axis for axis in self._axes if axis not in "YX" and axis != colours]
        long = [axis for axis in others if sizes[axis] != 1]
        if len(long) > 1:
            raise InputError(
                f"axes {', '.join(f'{a} of {sizes[a]}' for a in long)}: which one is time?",
                where=where,
                allowed="one axis of frames beside channels",
                remedy="save one plane of the others",
            )
        self._frame_axis = long[0] if long else ""
        self.frames = sizes[long[0]] if long else 1
        self.page_shape = tuple(sizes[a] for a in self._axes if a in "YXS")
        self.sample = tuple(channel if a == "S" else slice(None) for a in self._axes if a in "YXS")
        self.pages = int(np.prod([sizes[a] for a in self._axes if a not in "YXS"], dtype=int))

    def index(self, frame: int) -> tuple[int | slice, ...]:
        """Index of one plane into the whole array."""
        return tuple(self._at(axis, frame) for axis in self._axes)

    def page(self, frame: int) -> int:
        """Number of the plane among all planes, in the order of the axes."""
        axes = [a for a in self._axes if a not in "YXS"]
        sizes = [self._shape[self._axes.index(a)] for a in axes]
        at = [frame if a == self._frame_axis else self._channel if a == self._colours else 0 for a in axes]
        return int(np.ravel_multi_index(at, sizes)) if axes else 0

    def _at(self, axis: str, frame: int) -> int | slice:
        if axis in "YX":
            return slice(None)
        if axis == self._frame_axis:
            return frame
        return self._channel if axis == self._colours else 0


def own_uint16(pixels: npt.NDArray[Any]) -> Pixels:
    """A contiguous uint16 copy that nobody else holds."""
    return np.array(pixels, np.uint16, order="C")


def check_dtype(dtype: Any, where: str) -> None:
    """Raise InputError unless the pixels are unsigned integers of at most 16 bit."""
    if np.dtype(dtype) not in (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.bool_)):
        raise InputError(
            f"pixels are {np.dtype(dtype)}",
            where=where,
            allowed="8 or 16 bit, unsigned",
            remedy="convert to camera counts",
        )


def no_channel(channel: int, channels: int, where: str) -> InputError:
    """The error of a channel that does not exist."""
    return InputError(
        f"no channel {channel}", where=where, allowed=f"0 to {channels - 1}", remedy="correct options.channel"
    )

"""TIFF movies as files: frames read one at a time, images written one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from smartscope.errors import InputError
from smartscope.frame import Frame, Pixels, Settings
from smartscope.ports import whole_sensor
from smartscope.whole_files import written_whole as written_whole
from smartscope_models.calibration import Floats

PERIOD_NS = 10_000_000
"""Time between frames of a file that tells none; only ratios matter."""


class TiffMovie:
    """A TIFF of 8 or 16 bits, (H, W) or (T, H, W); a context manager."""

    def __init__(self, path: str | Path) -> None:
        """Open the file.

        Raises:
            InputError: no TIFF, no frames in it, colours or depth, or neither 8 nor 16 bits without sign.
        """
        self._where = str(path)
        try:
            self._file = tifffile.TiffFile(path)
        except (tifffile.TiffFileError, OSError, ValueError) as error:
            raise InputError(f"is no TIFF movie: {error}", where=self._where, remedy="give a TIFF of frames") from error
        try:
            self._look()
        except InputError:
            self._file.close()
            raise

    def _look(self) -> None:
        series = self._file.series[0] if self._file.series else None
        if series is None or 0 in series.shape:
            raise InputError("holds no frames", where=self._where, remedy="give a TIFF with at least one frame")
        lengths = [n for n in series.shape[:-2] if n > 1]
        if len(series.shape) < 2 or len(lengths) > 1 or "S" in series.axes:
            raise InputError(
                f"has axes {series.axes} of {series.shape}, not one movie of grey frames",
                where=self._where,
                remedy="save one channel and one plane as (frame, y, x)",
            )
        if series.dtype not in (np.uint8, np.uint16):
            raise InputError(
                f"holds {series.dtype}", where=self._where, allowed="uint8, uint16", remedy="save the camera's counts"
            )
        self.shape = (int(series.shape[-2]), int(series.shape[-1]))
        self.bits = 8 * series.dtype.itemsize
        self._frames = lengths[0] if lengths else 1
        self._series = series

    def __len__(self) -> int:
        return self._frames

    def __enter__(self) -> TiffMovie:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def pixels(self, index: int) -> Pixels:
        """(H, W) uint16 of one frame; raises InputError where the file is damaged or compressed in a foreign way."""
        try:
            if len(self._series.pages) == self._frames:
                image = self._file.asarray(series=0, key=index)
            else:  # stacks written in one piece (ImageJ) have one page for all frames
                image = self._series.asarray(out="memmap").reshape(self._frames, *self.shape)[index]
        except Exception as error:  # each codec raises errors of its own kind
            raise InputError(
                f"frame {index} cannot be read: {error}",
                where=self._where,
                remedy="pip install 'smartscope[images]' for compressed files; else the file is damaged",
            ) from error
        return np.ascontiguousarray(image.reshape(self.shape), np.uint16)

    def frames(self) -> Iterator[Frame]:
        """All frames in order, at even times."""
        for index in range(self._frames):
            yield as_frame(self.pixels(index), index)


def as_frame(pixels: Pixels, index: int) -> Frame:
    """One image of a file as the live models see it."""
    start, settings = index * PERIOD_NS, Settings(PERIOD_NS / 1e6, whole_sensor((pixels.shape[0], pixels.shape[1])))
    return Frame(pixels, 0, index, index, settings, {}, start, start + PERIOD_NS, start + PERIOD_NS)


class FloatTiffWriter:
    """Writes (H, W) float32 images one after the other; a context manager."""

    def __init__(self, path: Path, frames: int, shape: tuple[int, int]) -> None:
        size = 4 * frames * shape[0] * shape[1]
        self._file = tifffile.TiffWriter(path, bigtiff=size > 3_900_000_000)

    def __enter__(self) -> FloatTiffWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, image: Floats) -> None:
        """Append one image."""
        self._file.write(image, photometric="minisblack", contiguous=True)

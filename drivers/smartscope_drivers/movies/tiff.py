"""TIFF, OME-TIFF and ImageJ stacks as movies: which page is which frame."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tifffile

from smartscope.errors import InputError
from smartscope.frame import Pixels, Settings
from smartscope_drivers.movies.planes import KINDS, MS_PER, Axes, check_dtype, own_uint16


class TiffMovie:
    """Pages of a TIFF, OME-TIFF or ImageJ stack, decoded when asked for."""

    def __init__(self, path: Path, channel: int) -> None:
        self._where = str(path)
        try:
            self._file = tifffile.TiffFile(path)
        except (tifffile.TiffFileError, OSError) as error:
            raise InputError(
                f"is no movie: {error}", where=self._where, allowed=KINDS, remedy="give one of these"
            ) from error
        try:
            self._open(channel)
        except InputError:
            self._file.close()
            raise

    def _open(self, channel: int) -> None:
        series = self._file.series
        if len({s.shape for s in series}) > 1:
            sizes = ", ".join("x".join(map(str, s.shape)) for s in series[:4])
            raise InputError(
                f"images of mixed sizes ({sizes})", where=self._where, remedy="split it into movies of one size"
            )
        self._stack = (
            Axes(series[0].axes, series[0].shape, channel, self._where) if series else Axes("TYX", (0, 0, 0), 0, "")
        )
        self.shape = self._stack.plane_shape
        self.interval_ms = _tiff_interval_ms(self._file)
        if not series:
            return
        check_dtype(series[0].dtype, self._where)
        # stacks written in one piece (ImageJ) have one page for all planes
        self._whole = None if len(series[0].pages) == self._stack.pages else series[0].asarray(out="memmap")

    def __len__(self) -> int:
        return self._stack.frames

    def plane(self, index: int) -> Pixels:
        """(H, W) uint16 of one frame."""
        if self._whole is not None:
            return own_uint16(self._whole[self._stack.index(index)])
        page = self._file.series[0].pages[self._stack.page(index)]
        if page is None:  # OME-XML may name planes of files that are gone
            raise InputError(
                f"frame {index} is missing", where=self._where, remedy="restore the files of this OME-TIFF"
            )
        try:
            pixels = page.asarray().reshape(self._stack.page_shape)
        except ValueError as error:
            what = f"cannot be decoded: {error}"
            raise InputError(what, where=self._where, remedy="pip install 'smartscope[images]'") from error
        return own_uint16(pixels[self._stack.sample])

    def settings(self, index: int) -> Settings | None:
        """Not recorded."""
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _tiff_interval_ms(file: Any) -> float | None:
    if file.ome_metadata and (found := re.search(r'TimeIncrement="([\d.eE+-]+)"', file.ome_metadata)):
        unit = re.search(r'TimeIncrementUnit="(\w+)"', file.ome_metadata)
        return float(found[1]) * MS_PER.get(unit[1] if unit else "s", 1e3) or None
    seconds = (file.imagej_metadata or {}).get("finterval")
    return float(seconds) * 1e3 if seconds else None

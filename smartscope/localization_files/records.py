"""Our own file of single molecules: a growing .npy of records, each float bit for bit, that NumPy opens at any time.

The header of a .npy has room for a longer first axis. It is rewritten after the data that it counts, so that a file
whose writer was killed is short of its last frame at most.
"""

from __future__ import annotations

import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.localization_files.table import MoleculeTable
from smartscope.result import Localizations

COLUMNS = tuple(item.name for item in fields(Localizations))
RECORD = np.dtype([("frame", "<u4"), ("roi_x", "<u2"), ("roi_y", "<u2"), *((name, "<f4") for name in COLUMNS)])
"""Index of the frame; where its region of interest begins on the sensor, pixels; ``Localizations``."""

Records = npt.NDArray[np.void]


class RecordWriter:
    """A file that grows; whole after each ``append``."""

    def __init__(self, path: Path) -> None:
        """Make the file; raises OSError when it cannot be written."""
        self.written = 0
        self._file = path.open("wb", buffering=0)
        self._write(0, _header(0))
        self._begin = self._file.tell()

    def append(self, frame: int, roi: Roi, found: Localizations) -> tuple[int, int]:
        """Write the molecules of a frame; the number of the first of them in the file, and how many there are.

        Raises:
            OSError: the disk does not take them; what is in the file stays as it was.
        """
        records = np.empty(len(found), RECORD)
        records["frame"], records["roi_x"], records["roi_y"] = frame, roi.x, roi.y
        for name in COLUMNS:
            records[name] = getattr(found, name)
        first = self.written
        if len(found):
            self._write(self._begin + first * RECORD.itemsize, records.tobytes())
            self._write(0, _header(first + len(found)))
            self.written += len(found)
        return first, len(found)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _write(self, place: int, data: bytes) -> None:
        self._file.seek(place)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]


def _header(count: int) -> bytes:
    """Of one length, whatever the count."""
    text = io.BytesIO()
    described: dict[str, Any] = {"descr": np.lib.format.dtype_to_descr(RECORD), "fortran_order": False}
    np.lib.format.write_array_header_1_0(text, {**described, "shape": (count,)})
    return text.getvalue()


def read_records(path: Path) -> Records:
    """(N,) records as they are in the file now, read where they are looked at.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            (count,), _, dtype = np.lib.format.read_array_header_1_0(file)
            begin = file.tell()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="correct the path") from error
    except ValueError as error:
        raise _foreign(path, str(error)) from error
    if missing := set(RECORD.names or ()) - set(dtype.names or ()):
        raise _foreign(path, f"has no {', '.join(sorted(missing))}")
    there = (path.stat().st_size - begin) // dtype.itemsize
    shape = (min(count, there),)  # power may have failed between header and data
    return np.memmap(path, dtype, "r", begin, shape) if shape[0] else np.empty(0, dtype)


def localizations_of(records: Records) -> Localizations:
    """Their columns, copied."""
    return Localizations(*(np.ascontiguousarray(records[name], np.float32) for name in COLUMNS))


def table_of(records: Records, origin: tuple[int, int]) -> MoleculeTable:
    """Their table, its origin the pixel (x, y) of the sensor, wherever their regions of interest began."""
    table = MoleculeTable(records["frame"].astype(np.int64), localizations_of(records))
    dx_px, dy_px = records["roi_x"].astype(np.int64) - origin[0], records["roi_y"].astype(np.int64) - origin[1]
    return table.shifted(dx_px, dy_px) if dx_px.any() or dy_px.any() else table


def _foreign(path: Path, what: str) -> InputError:
    return InputError(
        f"is no table of molecules: {what}", where=str(path), remedy="give results/localizations.npy of a run"
    )

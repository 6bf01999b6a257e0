"""CSV tables of detections and tracks: numbers where numbers must be, every other column carried as it stands."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError

NEEDED = ("frame", "x_px", "y_px")
LAST_FRAME = 10_000_000
USED = (*NEEDED, "size_px", "intensity", "label")


@dataclass(frozen=True, slots=True, eq=False)
class DetectionTable:
    """Detections of a whole movie; columns of length N in the file's order."""

    numbers: Mapping[str, npt.NDArray[np.float64]]
    """The columns of ``USED`` that the file has."""
    others: Mapping[str, Sequence[str]]
    """Further columns, as text; those that a tracker only reads are among them."""

    def __len__(self) -> int:
        return len(self.numbers["frame"])

    def column(self, name: str, default: float) -> npt.NDArray[np.float64]:
        """A column of numbers, constant where the file has none."""
        return self.numbers.get(name, np.full(len(self), default))


def read_detections(path: str | Path) -> DetectionTable:
    """A CSV with at least ``frame,x_px,y_px``.

    Raises:
        InputError: no text, no such columns, no rows, a value that is no finite number, or a negative frame.
    """
    where = str(path)
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            names, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is no CSV table: {error}", where=where, remedy="give frame,x_px,y_px,... as text") from error
    if missing := [name for name in NEEDED if name not in names]:
        what = f"lacks the columns {', '.join(missing)}"
        raise InputError(what, where=where, allowed=",".join(NEEDED), remedy="name them in line 1")
    if not rows:
        raise InputError("holds no rows", where=where, remedy="give a table with at least one detection")
    numbers = {name: _numbers([row[name] for row in rows], name, where) for name in USED if name in names}
    frame = numbers["frame"]
    wrong = np.flatnonzero((frame < 0) | (frame > LAST_FRAME) | (frame != np.round(frame)))
    if len(wrong):
        what = f"frame is {frame[wrong[0]]:g} in line {wrong[0] + 2}"
        raise InputError(what, where=where, allowed=f"0, 1, 2, ... {LAST_FRAME}", remedy="correct it")
    others = {name: [row[name] or "" for row in rows] for name in names if name not in NEEDED and name}
    return DetectionTable(numbers, others)


def _numbers(cells: Sequence[str | None], name: str, where: str) -> npt.NDArray[np.float64]:
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            values[row] = float(cell or "nan")
        except ValueError:
            values[row] = np.nan
    if len(bad := np.flatnonzero(~np.isfinite(values))):
        row = int(bad[0])
        raise InputError(
            f"{name} is {cells[row]!r} in line {row + 2} ({len(bad)} such values)",
            where=where,
            allowed="finite numbers",
            remedy="remove or correct these lines",
        )
    return values


def write_table(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
    """Write a CSV, floats with four decimals; returns the number of rows."""
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(names)
        for row in rows:
            table.writerow([f"{cell:.4f}" if isinstance(cell, float) else cell for cell in row])
            count += 1
    return count

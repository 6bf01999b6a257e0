"""A tracks CSV, as ``process track`` and a run write it, as one table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from smartscope.errors import InputError
from smartscope.track_files.table import Column, TrackTable, ordered

NEEDED = ("frame", "track_id", "x_px", "y_px")
WELCOME = ("parent_id", "size_px", "intensity", "label")


def read_tracks(
    path: Path,
    *,
    shape: tuple[int, int] | None = None,
    frames: int | None = None,
    pixel_size_um: float | None = None,
    interval_s: float | None = None,
) -> TrackTable:
    """The table of a CSV with columns ``frame, track_id, x_px, y_px``, and more; a last line that was cut is left out.

    Without ``shape`` (H, W) and ``frames`` they are as small as what is in the file. ``interval_s`` between frames.

    Raises:
        InputError: it cannot be read, lacks a column, holds no numbers, or an object is in a frame twice.
    """
    columns = _columns(path)
    if not all(np.isfinite(columns[name]).all() for name in NEEDED) or (columns["frame"] < 0).any():
        raise InputError(
            "a place or a number is not finite, or a frame is before 0", where=str(path), remedy="leave that line out"
        )
    frame, track = columns["frame"].astype(np.int64), columns["track_id"].astype(np.int64)
    x_px, y_px = columns["x_px"], columns["y_px"]
    last = int(frame.max(initial=-1)) + 1
    extent = (int(np.ceil(y_px.max(initial=0.0))) + 1, int(np.ceil(x_px.max(initial=0.0))) + 1)
    looked_at = np.arange(max(last, frames or 0))
    pairs = zip(track.tolist(), columns["parent_id"].astype(np.int64).tolist(), strict=True)
    table = TrackTable(
        *(frame, track, x_px, y_px, columns["size_px"], columns["intensity"], columns["label"].astype(np.int64)),
        mothers={daughter: mother for daughter, mother in pairs if mother >= 0},
        frames=looked_at,
        t_s=(interval_s or 1.0) * looked_at.astype(np.float64),
        shape=shape or extent,
        pixel_size_um=pixel_size_um,
    )
    return ordered(table, str(path))


def _columns(path: Path) -> dict[str, Column]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            names = next(rows, [])
            lines = [row for row in rows if len(row) == len(names)]
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), remedy="correct the path") from error
    if missing := [name for name in NEEDED if name not in names]:
        raise InputError(
            f"has no column {', '.join(missing)}",
            where=str(path),
            allowed=", ".join((*NEEDED, *WELCOME)),
            remedy="give a table that smartscope process track wrote, or results/tracks.csv of a run",
        )
    none = {"parent_id": -1.0}
    try:
        return {
            name: np.array([row[names.index(name)] for row in lines], np.float64)
            if name in names
            else np.full(len(lines), none.get(name, 0.0))
            for name in (*NEEDED, *WELCOME)
        }
    except ValueError as error:
        raise InputError(f"is no table of numbers: {error}", where=str(path), remedy="mend that line") from error

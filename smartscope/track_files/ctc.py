"""Results as the Cell Tracking Challenge wants them: ``res_track.txt`` and a 16-bit mask of labels for each frame.

By its rules (https://celltrackingchallenge.net) a track is in each frame from its first to its last, and its parent
ends before it begins: an object that was out of sight goes on under a new label whose parent is the old one, and so
does a mother that outlives the birth of a daughter. Frames are those that were looked at, numbered from 0;
``frames.csv`` says which they were.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from smartscope.errors import InputError
from smartscope.track_files.graph import graph_of
from smartscope.track_files.table import TrackTable

MOST_LABELS = 65_535
Mask = npt.NDArray[np.uint16]


def write_ctc(table: TrackTable, folder: Path) -> None:
    """Write masks, ``res_track.txt`` and ``frames.csv`` into a folder, which must be there.

    Raises:
        InputError: there are more pieces of tracks than 16 bits can tell apart.
        OSError: the folder cannot be written.
    """
    step = table.step
    piece, before = graph_of(table).pieces(step)
    if len(before) > MOST_LABELS:
        raise InputError(
            f"{len(before):,} pieces of tracks do not fit into 16-bit masks",
            allowed=f"<= {MOST_LABELS:,}",
            remedy="export a shorter run, or use geff",
        )
    digits = max(3, len(str(len(table.frames) - 1)))
    bounds = np.searchsorted(step, np.arange(len(table.frames) + 1))
    for number in range(len(table.frames)):
        rows = slice(bounds[number], bounds[number + 1])
        mask = drawn(table.shape, table.x_px[rows], table.y_px[rows], table.radius_px[rows], piece[rows] + 1)
        tifffile.imwrite(folder / f"mask{number:0{digits}d}.tif", mask, compression="zlib")
    first, last = np.full(len(before), len(table.frames)), np.full(len(before), -1)
    np.minimum.at(first, piece, step)
    np.maximum.at(last, piece, step)
    lines = zip(first.tolist(), last.tolist(), (before + 1).tolist(), strict=True)
    _write(folder / "res_track.txt", "".join(f"{n} {b} {e} {p}\n" for n, (b, e, p) in enumerate(lines, 1)))
    numbered = enumerate(zip(table.frames.tolist(), table.t_s.tolist(), strict=True))
    _write(folder / "frames.csv", "number,frame,t_s\n" + "".join(f"{n},{f},{t:.9g}\n" for n, (f, t) in numbered))


def drawn(
    shape: tuple[int, int],
    x_px: npt.NDArray[np.float64],
    y_px: npt.NDArray[np.float64],
    radius_px: npt.NDArray[np.float64],
    label: npt.NDArray[np.int64],
) -> Mask:
    """(H, W) discs; where two overlap the nearer centre has the pixel, and each has one at least.

    Raises:
        InputError: more objects than pixels.
    """
    if len(label) > shape[0] * shape[1]:
        raise InputError(
            f"{len(label)} objects in {shape[0]} x {shape[1]} pixels", remedy="give the movie's true shape"
        )
    mask, nearest = np.zeros(shape, np.uint16), np.full(shape, np.inf)
    x_px, y_px = np.clip(x_px, 0, shape[1] - 1), np.clip(y_px, 0, shape[0] - 1)
    for x, y, radius, number in zip(x_px, y_px, np.maximum(radius_px, np.sqrt(0.5)), label, strict=True):
        window, distance2 = _around(shape, x, y, radius)
        mine = (distance2 <= radius * radius) & (distance2 < nearest[window])
        mask[window][mine] = number
        nearest[window][mine] = distance2[mine]
    for lost in np.flatnonzero(~np.isin(label, mask)).tolist():
        _claim(mask, x_px[lost], y_px[lost], int(label[lost]))
    return mask


def _around(
    shape: tuple[int, int], x: float, y: float, radius: float
) -> tuple[tuple[slice, slice], npt.NDArray[np.float64]]:
    """The box around a disc, and the squared distances from its centre."""
    rows = slice(max(0, int(np.floor(y - radius))), min(shape[0], int(np.ceil(y + radius)) + 1))
    columns = slice(max(0, int(np.floor(x - radius))), min(shape[1], int(np.ceil(x + radius)) + 1))
    dy, dx = np.arange(rows.start, rows.stop) - y, np.arange(columns.start, columns.stop) - x
    return (rows, columns), dy[:, None] ** 2 + dx[None, :] ** 2


def _claim(mask: Mask, x: float, y: float, label: int) -> None:
    """Give an object that others cover the nearest pixel that is nobody's only one."""
    pixels = np.bincount(mask.ravel(), minlength=MOST_LABELS + 1)
    pixels[0] = 2  # ground is free
    dy, dx = np.arange(mask.shape[0]) - y, np.arange(mask.shape[1]) - x
    distance2 = np.where(pixels[mask] > 1, dy[:, None] ** 2 + dx[None, :] ** 2, np.inf)
    mask[np.unravel_index(int(distance2.argmin()), mask.shape)] = label


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii", newline="\n")

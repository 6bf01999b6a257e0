"""TrackMate's spot and edge tables as CSV: four lines of header, places in um, frames from 0.

Names and header lines as TrackMate 7 exports them (J.-Y. Tinevez et al., Methods 115, 80, 2017). Its CSV importer
links all spots of one TRACK_ID in a row, so that each branch of a lineage has its own here; who is whose daughter is in
PARENT_TRACK_ID, a column of ours, and in the edge table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from smartscope.track_files.graph import graph_of
from smartscope.track_files.table import TrackTable

_SPOTS = (
    ("LABEL", "Label", "Label", ""),
    ("ID", "Spot ID", "Spot ID", ""),
    ("TRACK_ID", "Track ID", "Track ID", ""),
    ("QUALITY", "Quality", "Quality", "(quality)"),
    ("POSITION_X", "X", "X", "(space)"),
    ("POSITION_Y", "Y", "Y", "(space)"),
    ("POSITION_Z", "Z", "Z", "(space)"),
    ("POSITION_T", "T", "T", "(time)"),
    ("FRAME", "Frame", "Frame", ""),
    ("RADIUS", "Radius", "R", "(space)"),
    ("VISIBILITY", "Visibility", "Visibility", ""),
    ("MANUAL_SPOT_COLOR", "Manual spot color", "Spot color", ""),
    ("TOTAL_INTENSITY_CH1", "Sum intensity ch1", "Sum ch1", "(counts)"),
    ("PARENT_TRACK_ID", "Parent track ID", "Parent", ""),
)
_EDGES = (
    ("LABEL", "Label", "Label", ""),
    ("TRACK_ID", "Track ID", "Track ID", ""),
    ("SPOT_SOURCE_ID", "Source spot ID", "Source ID", ""),
    ("SPOT_TARGET_ID", "Target spot ID", "Target ID", ""),
    ("SPEED", "Speed", "Speed", "(space/time)"),
    ("DISPLACEMENT", "Displacement", "Disp.", "(space)"),
    ("EDGE_TIME", "Edge time", "Edge T", "(time)"),
)
_SPOT_LINE = "ID%d,%d,%d,1,%.6f,%.6f,0,%.9g,%d,%.6f,1,,%.6g,%s\n"
_EDGE_LINE = "ID%d → ID%d,%d,%d,%d,%.6g,%.6f,%.9g\n"


def write_spots(table: TrackTable, path: Path) -> None:
    """The spot table; raises OSError."""
    unit_px, t = table.pixel_size_um or 1.0, _times(table)
    mothers = [table.mothers.get(track, "") for track in table.track_id.tolist()]
    number = range(len(table))
    columns = (
        *(number, number, table.track_id.tolist(), (table.x_px * unit_px).tolist(), (table.y_px * unit_px).tolist()),
        *(t[table.step].tolist(), table.frame.tolist(), (table.radius_px * unit_px).tolist()),
        *(table.intensity.tolist(), mothers),
    )
    _write(path, _SPOTS, table, (_SPOT_LINE % row for row in zip(*columns, strict=True)))


def write_edges(table: TrackTable, path: Path) -> None:
    """The edge table, numbers of spots as in the spot table; raises OSError."""
    source, target = graph_of(table).links.T
    t, unit_px = _times(table)[table.step], table.pixel_size_um or 1.0
    moved = unit_px * np.hypot(table.x_px[target] - table.x_px[source], table.y_px[target] - table.y_px[source])
    lasted = t[target] - t[source]
    speed = np.divide(moved, lasted, out=np.zeros_like(moved), where=lasted > 0)
    columns = (
        *(source, target, table.track_id[target], source, target),
        *(speed, moved, (t[source] + t[target]) / 2),
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    _write(path, _EDGES, table, (_EDGE_LINE % row for row in rows))


def _times(table: TrackTable) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(T,) s, or the frame's number where no pixel size and so no unit is known."""
    return table.t_s if table.pixel_size_um else table.frames.astype(np.float64)


def _write(path: Path, heads: Sequence[Sequence[str]], table: TrackTable, lines: Iterable[str]) -> None:
    space, time = ("micron", "sec") if table.pixel_size_um else ("pixel", "frame")
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for head in zip(*heads, strict=True):
            file.write(",".join(head).replace("space", space).replace("time)", f"{time})") + "\n")
        file.writelines(lines)

"""How ``tracks.csv``, ``settled_tracks.csv`` and ``events.csv`` grow with the run: whole after every result."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import BinaryIO

import numpy as np

from smartscope.frame import Settings
from smartscope.recorder.tables import Geometry
from smartscope.result import EVENT_KINDS, EVENT_STATUS, Events, Result, Tracks

PLACE = ("frame", "track_id", "x_px", "y_px", "parent_id", "x_um", "y_um")
EXTENT = ("size_px", "intensity", "label")
MOTION = ("vx_px_s", "vy_px_s", "steady", "v_error_px_s", "diffusion_px2_s", "sigma_px", "age_frames")
TRACK_COLUMNS = (*PLACE, *EXTENT, *MOTION)
EVENT_COLUMNS = (
    *("frame", "event_id", "kind", "status", "onset_frame", "x_px", "y_px", "x_um", "y_um"),
    *("probability", "track_id", "other_id"),
)
REMEMBERED = 256
"""So many frames back it is known how the microscope stood; a tracker settles within a few."""

_EXACT = "%.9g"
"""Enough digits for every float32 to come back bit for bit."""
_FORMATS = {**dict.fromkeys((*EXTENT, *MOTION, "x_px", "y_px"), _EXACT), "x_um": "%.6f", "y_um": "%.6f"}
_TRACK_LINE = ",".join(_FORMATS.get(name, "%d") for name in TRACK_COLUMNS) + "\n"
_EVENT_LINE = f"%d,%d,%s,%s,%d,{_EXACT},{_EXACT},%.6f,%.6f,{_EXACT},%d,%d\n"


class TrackTables:
    """The three tables of one run; each file is made with the first result that has something for it."""

    def __init__(self, now: Path, settled: Path, events: Path, geometry: Geometry) -> None:
        self._now, self._settled = _Table(now, TRACK_COLUMNS), _Table(settled, TRACK_COLUMNS)
        self._events = _Table(events, EVENT_COLUMNS)
        self._geometry = geometry
        self._stood: deque[tuple[int, Settings]] = deque(maxlen=REMEMBERED)

    def append(self, result: Result) -> None:
        """Write down where tracks were seen, and what happened; predicted places are left out. Raises OSError."""
        index, settings = result.frame.index, result.frame.settings
        self._stood.append((index, settings))
        if result.tracks is not None:
            self._now.append(self._track_lines(index, settings, result.tracks))
        if result.settled is not None:
            earlier = result.settled.frame
            stood = next((known for at, known in reversed(self._stood) if at == earlier), None)
            self._settled.append(self._track_lines(earlier, stood, result.settled.tracks))
        if result.events is not None:
            self._events.append(self._event_lines(index, settings, result.events))

    def close(self) -> None:
        """Close the files that are there."""
        for table in (self._now, self._settled, self._events):
            table.close()

    def _track_lines(self, index: int, settings: Settings | None, tracks: Tracks) -> str:
        seen = tracks.missed_frames == 0
        count = int(np.count_nonzero(seen))
        x_px, y_px = tracks.x_px[seen].astype(float), tracks.y_px[seen].astype(float)
        unknown = np.full(count, np.nan)  # of a frame so long ago, or of one that no result was about
        x_um, y_um = (unknown, unknown) if settings is None else self._geometry.place_um(settings, x_px, y_px)
        known = {"frame": np.full(count, index), "x_um": x_um, "y_um": y_um}
        columns = [known[name] if name in known else getattr(tracks, name)[seen] for name in TRACK_COLUMNS]
        values = np.column_stack([column.astype(float) for column in columns])
        return _TRACK_LINE * count % tuple(values.ravel().tolist())

    def _event_lines(self, index: int, settings: Settings, events: Events) -> str:
        x_um, y_um = self._geometry.place_um(settings, events.x_px.astype(float), events.y_px.astype(float))
        columns = (
            *(events.event_id.tolist(), [EVENT_KINDS[kind] for kind in events.kind.tolist()]),
            *([EVENT_STATUS[status] for status in events.status.tolist()], events.onset_frame.tolist()),
            *(events.x_px.tolist(), events.y_px.tolist(), x_um.tolist(), y_um.tolist()),
            *(events.probability.tolist(), events.track_id.tolist(), events.other_id.tolist()),
        )
        return "".join(_EVENT_LINE % (index, *row) for row in zip(*columns, strict=True))


class _Table:
    """A CSV that grows; flushed with each ``append``."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._path, self._columns = path, columns
        self._file: BinaryIO | None = None

    def append(self, lines: str) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
            lines = ",".join(self._columns) + "\n" + lines
        self._file.write(lines.encode())
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

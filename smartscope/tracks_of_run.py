"""Which tracks a run has, once all is said: settled identities where they were recorded, else those of the moment.

What was told as one identity and taken back later is put right in the frames that nobody settled, as is all of a run
whose tracker settles nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.recorder.jsonl import Row
from smartscope.recorder.reader import RunReader
from smartscope.recorder.rows import columns_from_row, revisions_from_row, settled_from_row
from smartscope.result import Revisions, Tracks
from smartscope.track_files.table import TrackTable, ordered


@dataclass(frozen=True, slots=True)
class _Listed:
    """What frames.jsonl says of a frame that was looked at."""

    index: int
    roi: Roi
    t_mid_ns: int


def tracks_of_run(run: RunReader, pixel_size_um: float) -> TrackTable:
    """All sightings in frames that have a result about tracks and are on disk.

    The field holds every region of interest that the run had; movements of the stage are left in.

    Raises:
        InputError: the run followed nothing, or a log is damaged.
    """
    by_frame = _identities(run)
    looked_at = [_listed(row) for row in run.frame_rows if row["index"] in by_frame]
    if not looked_at:
        raise InputError(
            "no result of this run is about tracks",
            where=str(run.path),
            remedy="run or replay it with a tracker in the pipeline",
        )
    left, top = (min(getattr(known.roi, side) for known in looked_at) for side in ("x", "y"))
    width = max(known.roi.x + known.roi.width for known in looked_at) - left
    height = max(known.roi.y + known.roi.height for known in looked_at) - top
    seen = [_seen(by_frame[known.index]) for known in looked_at]
    lengths, columns = [len(tracks) for tracks in seen], _joined(seen)
    columns["x_px"] = columns["x_px"].astype(float) + np.repeat([known.roi.x - left for known in looked_at], lengths)
    columns["y_px"] = columns["y_px"].astype(float) + np.repeat([known.roi.y - top for known in looked_at], lengths)
    times_ns = np.array([known.t_mid_ns for known in looked_at], np.int64)
    table = TrackTable(
        frame=np.repeat([known.index for known in looked_at], lengths).astype(np.int64),
        **{name: columns[name].astype(np.int64) for name in ("track_id", "label")},
        **{name: columns[name].astype(np.float64) for name in ("x_px", "y_px", "size_px", "intensity")},
        mothers=_mothers(columns["track_id"], columns["parent_id"]),
        frames=np.array([known.index for known in looked_at], np.int64),
        t_s=(times_ns - times_ns[0]) / 1e9,
        shape=(height, width),
        pixel_size_um=pixel_size_um,
    )
    return ordered(table, str(run.path))


def _identities(run: RunReader) -> dict[int, Tracks]:
    """Frame → its tracks, in the order in which the run came to know them."""
    now: dict[int, Tracks] = {}
    settled: dict[int, Tracks] = {}
    for row in run.results:
        revisions = revisions_from_row(row)
        if revisions is not None and len(revisions):
            since = int(revisions.since_frame.min())
            for frame in [frame for frame in now if frame >= since]:
                now[frame] = revised(now[frame], frame, revisions)
        if row.get("tracks") is not None:
            now[row["frame"]] = columns_from_row(Tracks, row["tracks"])
        if (known := settled_from_row(row)) is not None:
            settled[known.frame] = known.tracks
            now.pop(known.frame, None)
    return {**now, **settled}


def revised(tracks: Tracks, frame: int, revisions: Revisions) -> Tracks:
    """What was told of a frame, in the names and with the mothers that are known to be right since."""
    columns = (revisions.since_frame, revisions.track_id, revisions.now_id, revisions.parent_id)
    told = [row for row in zip(*(column.tolist() for column in columns), strict=True) if row[0] <= frame]
    names = {track: (now_id, mother) for _, track, now_id, mother in told}
    pairs = zip(tracks.track_id.tolist(), tracks.parent_id.tolist(), strict=True)
    right = [names.get(track, (track, mother)) for track, mother in pairs]
    ids, mothers = np.array(right, np.int32).reshape(-1, 2).T
    return replace(tracks, track_id=np.ascontiguousarray(ids), parent_id=np.ascontiguousarray(mothers))


def _seen(tracks: Tracks) -> Tracks:
    """Without predicted places; of two that turned out to be one, the one seen first in the table."""
    _, first = np.unique(tracks.track_id, return_index=True)
    keep = np.zeros(len(tracks), bool)
    keep[first] = True
    keep &= tracks.missed_frames == 0
    return Tracks(*(getattr(tracks, item.name)[keep] for item in fields(Tracks)))


def _joined(parts: Sequence[Tracks]) -> dict[str, Any]:
    return {item.name: np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Tracks)}


def _mothers(track: Any, mother: Any) -> Mapping[int, int]:
    """By track, as told last: a mother may become known after her daughter."""
    known = np.flatnonzero(mother >= 0)[::-1]
    daughters, last = np.unique(track[known], return_index=True)
    return dict(zip(daughters.tolist(), mother[known][last].tolist(), strict=True))


def _listed(row: Row) -> _Listed:
    return _Listed(row["index"], Roi(*row["roi"]), (row["t_start_ns"] + row["t_end_ns"]) // 2)

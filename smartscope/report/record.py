"""What the report reads of a run folder: bounded in size, and whatever a crash or a hand has left of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.localization_files.records import Records, read_records
from smartscope.recorder import folder as files
from smartscope.recorder.jsonl import JsonLines, Row
from smartscope.recorder.rows import columns_from_row, events_from_row, revisions_from_row, settled_from_row
from smartscope.result import Detections, Events, Revisions, Settled, Tracks

MOST_ROWS = 20_000
MOST_BYTES = 200e6
"""Read so much of one file at most: longer ones are sampled evenly, first and last row included."""

_SETTINGS = ("exposure_ms", "roi", "lights_mw", "x_um", "y_um", "z_um")
_NEEDED = {
    files.FRAMES: ("index", "epoch", "number", "t_start_ns", "t_end_ns", "t_received_ns", "lost_before", *_SETTINGS),
    files.RESULTS: ("frame", "ready_ns"),
    files.DECISIONS: ("t_ns", "policy", "asked", "granted", "clipped_by", "why", "t_received_ns", "t_applied_ns"),
    files.EVENTS: ("t_ns", "kind"),
    files.PROCESSED: ("frame", "store", "plane"),
    files.SUPER_RESOLVED: ("frame", "store", "plane", "scale"),
}
"""A row without these is as good as damaged."""

Image = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A line of results.jsonl in less memory."""

    frame: int
    ready_ns: int
    quality: Mapping[str, float]
    trust: float
    image_trust: float | None
    from_image: frozenset[str]
    timings: Sequence[tuple[str, int, int, str, str]]
    """(stage, started_ns, ended_ns, outcome, why)."""
    detections: Detections | None
    tracks: Tracks | None
    settled: Settled | None
    revisions: Revisions | None
    events: Events | None
    context: Row | None


@dataclass(frozen=True)
class Record:
    """One run as far as it can be read; ``notes`` say what cannot."""

    folder: Path
    run: Row
    frames: list[Row]
    """Sampled evenly where there are too many; so are ``results`` and ``decisions``."""
    results: list[ResultRow]
    decisions: list[Row]
    events: list[Row]
    processed: list[Row]
    super_resolved: list[Row]
    molecules: Records | None
    """All single molecules, read where they are looked at; None where the run localised none."""
    counts: Mapping[str, int]
    """Lines in each file, read or not."""
    notes: tuple[str, ...]
    _frame_lines: Sequence[Row] = field(repr=False, default=())

    @property
    def origin_ns(self) -> int:
        """Zero of the time axis: when the run's clock was noted, else when the first frame began."""
        if "clock_origin_ns" in self.run:
            return int(self.run["clock_origin_ns"])
        return min((int(row["t_start_ns"]) for row in self.frames), default=0)

    @property
    def config(self) -> Row:
        """The resolved configuration; empty if the run did not come that far."""
        config = self.run.get("config")
        return config if isinstance(config, dict) else {}

    def seconds(self, t_ns: Sequence[int]) -> npt.NDArray[np.float64]:
        """Times since the origin, s."""
        return (np.asarray(t_ns, np.float64) - self.origin_ns) / 1e9

    def frame_row(self, index: int) -> Row | None:
        """The row of one frame by its index, sampled or not; None if the record does not list it."""
        try:  # a row stands at its index, or a little before if rows were lost
            for number in range(min(index, len(self._frame_lines) - 1), -1, -1):
                row = self._frame_lines[number]
                if row["index"] <= index:
                    return row if row["index"] == index else None
        except (InputError, KeyError):
            pass
        return None


def read(run_folder: Path) -> Record:
    """Read what is there.

    Raises:
        InputError: this is no run folder.
    """
    if not any((run_folder / name).exists() for name in (files.RUN, files.FRAMES, files.RESULTS)):
        raise InputError(
            "this is no run folder", where=str(run_folder), allowed=f"a folder with {files.RUN}", remedy="name another"
        )
    notes: list[str] = []
    names = tuple(_NEEDED)
    lines = {name: _lines(run_folder / name, notes) for name in names}
    rows = {name: list(_sample(lines[name], run_folder, name, notes)) for name in names if name != files.RESULTS}
    results = [_result(row) for row in _sample(lines[files.RESULTS], run_folder, files.RESULTS, notes)]
    run = _run(run_folder / files.RUN, notes)
    if run.get("state") == "running":
        notes.append("the run is still going on, or it was killed before it could say how it ended")
    return Record(
        folder=run_folder,
        run=run,
        frames=rows[files.FRAMES],
        results=results,
        decisions=rows[files.DECISIONS],
        events=rows[files.EVENTS],
        processed=rows[files.PROCESSED],
        super_resolved=rows[files.SUPER_RESOLVED],
        molecules=_molecules(run_folder / files.LOCALIZATIONS, notes),
        counts={name: len(lines[name]) for name in names},
        notes=tuple(notes),
        _frame_lines=lines[files.FRAMES],
    )


def read_image(record: Record, row: Mapping[str, Any]) -> Image | None:
    """Pixels that a row of frames.jsonl or processed.jsonl points at; None if they are not (any more) there."""
    from smartscope.recorder.image_stack import read_planes  # tensorstore: heavy, and only pictures need it

    if not row.get("store"):
        return None
    for parent in (record.folder, record.folder / "results"):
        try:
            image: Image = np.asarray(read_planes(parent / row["store"])[row["plane"]].read().result())
        except (InputError, ValueError, OSError, IndexError):
            continue
        return image
    return None


def _run(path: Path, notes: list[str]) -> Row:
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(run, dict):
            return run
        notes.append(f"{path.name} holds no facts about the run")
    except FileNotFoundError:
        notes.append(f"{path.name} is missing")
    except (OSError, ValueError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
    return {}


def _molecules(path: Path, notes: list[str]) -> Records | None:
    if not path.exists():
        return None
    try:
        return read_records(path)
    except InputError as error:
        notes.append(f"{path.name} {error.what}")
        return None


def _lines(path: Path, notes: list[str]) -> Sequence[Row]:
    if not path.exists():
        notes.append(f"{path.name} is missing")
        return ()
    try:
        return JsonLines(path)
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return ()


def _sample(lines: Sequence[Row], run_folder: Path, name: str, notes: list[str]) -> Iterator[Row]:
    """Whole rows, evenly spaced where all would be too many."""
    if not lines:
        return
    bytes_per_line = (run_folder / name).stat().st_size / len(lines)
    most = min(MOST_ROWS, max(2, int(MOST_BYTES / bytes_per_line)))
    damaged = 0
    for number in np.unique(np.linspace(0, len(lines) - 1, min(most, len(lines))).round().astype(int)):
        try:
            row = lines[int(number)]
        except InputError:
            row = {}
        if all(key in row for key in _NEEDED[name]):
            yield row
        else:
            damaged += 1
    if damaged:
        notes.append(f"{name}: {damaged} damaged lines were left out")
    if len(lines) > most:
        notes.append(f"{name}: {most:,} of {len(lines):,} lines were read, evenly spaced")


def _result(row: Row) -> ResultRow:
    detections, tracks = row.get("detections"), row.get("tracks")
    return ResultRow(
        frame=row["frame"],
        ready_ns=row.get("ready_ns", 0),
        quality={name: float(value) for name, value in row.get("quality", {}).items()},
        trust=float(row.get("trust", 1.0)),
        image_trust=row.get("image_trust"),
        from_image=frozenset(row.get("from_image", ())),
        timings=[(timing[0], timing[1], timing[2], timing[3], timing[4]) for timing in row.get("timings", ())],
        detections=None if detections is None else columns_from_row(Detections, detections),
        tracks=None if tracks is None else columns_from_row(Tracks, tracks),
        settled=settled_from_row(row),
        revisions=revisions_from_row(row),
        events=events_from_row(row),
        context=row.get("context"),
    )

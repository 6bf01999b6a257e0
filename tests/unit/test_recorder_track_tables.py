"""Tracks, settled tracks and events on disk: exactly what was told, with places, whole while the run goes on."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recording import a_frame, recording, run_path
from track_helpers import EVENTS, FRAMES, LAG, TRUE, told, tracks_of

from smartscope.frame import Frame, Roi
from smartscope.recorder import track_tables
from smartscope.recorder.reader import RunReader
from smartscope.recorder.recorder import Recorder
from smartscope.recorder.rows import result_from_row
from smartscope.result import Result, columns_of

SENSOR, AFFINE = (100, 200), ((0.1, 0.02), (-0.03, -0.1))


def lines(base: Path, name: str) -> list[dict[str, str]]:
    with (run_path(base) / "results" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def put_story(recorder: Recorder, frames: int = FRAMES) -> None:
    for index in range(frames):
        recorder.put_frame(moved(index))
        recorder.put_result(told(Result(moved(index))))


def moved(index: int) -> Frame:
    """The stage and the region go on with each frame."""
    frame = a_frame(index)
    roi = replace(frame.settings.roi, x=2 + index)
    return replace(frame, settings=replace(frame.settings, roi=roi, x_um=1.5 * index))


def test_settled_tracks_stand_where_their_own_frame_stood(tmp_path: Path) -> None:
    with recording(tmp_path, sensor_shape=SENSOR, stage_affine=AFFINE) as recorder:
        put_story(recorder)
    now, settled = lines(tmp_path, "tracks"), lines(tmp_path, "settled_tracks")
    assert [int(row["frame"]) for row in settled] == [
        frame for frame in range(FRAMES - LAG) for _, frames in TRUE.values() if frame in frames
    ]
    assert "5" not in {row["track_id"] for row in settled}
    assert "5" in {row["track_id"] for row in now}
    places = {(row["frame"], row["x_px"], row["y_px"]): (row["x_um"], row["y_um"]) for row in now}
    for row in settled:
        assert places[row["frame"], row["x_px"], row["y_px"]] == (row["x_um"], row["y_um"])


def test_every_column_comes_back_bit_for_bit(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        put_story(recorder)
    rows = [row for row in lines(tmp_path, "tracks") if row["frame"] == "6"]
    tracks = tracks_of(6, known=False)
    assert len(rows) == len(tracks) == 3
    for name in set(rows[0]) - {"frame", "x_um", "y_um"}:
        dtype = columns_of(type(tracks))[name]
        assert np.array([row[name] for row in rows]).astype(dtype).tobytes() == getattr(tracks, name).tobytes(), name


def test_one_line_for_each_change_of_an_event(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        put_story(recorder)
    rows = lines(tmp_path, "events")
    told_at = {int(row["frame"]): (row["kind"], row["status"], float(row["probability"])) for row in rows}
    assert told_at == {
        5: ("division", "provisional", 0.625),
        6: ("arrest", "provisional", 0.5),
        7: ("division", "confirmed", pytest.approx(0.97)),
        9: ("arrest", "withdrawn", 0.125),
    }
    assert len(rows) == len(EVENTS)
    assert (rows[0]["onset_frame"], rows[0]["track_id"], rows[0]["other_id"]) == ("5", "1", "2")
    assert (float(rows[0]["x_px"]), float(rows[0]["x_um"])) == (11.5, pytest.approx(0.1 * (2 + 5 + 11.5)))


def test_all_is_there_while_the_run_goes_on(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        put_story(recorder)
        recorder.put_event("state", 0, state="running")
        while len(RunReader(run_path(tmp_path)).events) < 1:
            pass
        run = RunReader(run_path(tmp_path))  # nothing is closed yet, as after kill -9
        back = [result_from_row(row, moved(row["frame"])) for row in run.results]
        assert len(lines(tmp_path, "events")) == len(EVENTS)
    for result in back:
        expected = told(Result(result.frame))
        for name in ("tracks", "revisions", "events"):
            assert_same(getattr(result, name), getattr(expected, name))
        assert (result.settled is None) == (expected.settled is None)
        if result.settled is not None and expected.settled is not None:
            assert result.settled.frame == expected.settled.frame
            assert_same(result.settled.tracks, expected.settled.tracks)


def assert_same(mine: Any, theirs: Any) -> None:
    assert (mine is None) == (theirs is None)
    for name in () if mine is None else columns_of(type(mine)):
        assert getattr(mine, name).tobytes() == getattr(theirs, name).tobytes()


def test_a_frame_that_nobody_remembers_has_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track_tables, "REMEMBERED", LAG)
    with recording(tmp_path) as recorder:
        put_story(recorder)
    assert {row["x_um"] for row in lines(tmp_path, "settled_tracks")} == {"nan"}
    assert "nan" not in {row["x_um"] for row in lines(tmp_path, "tracks")}


def test_nothing_told_no_files(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder.put_result(Result(replace(a_frame(0), settings=replace(a_frame(0).settings, roi=Roi(0, 0, 4, 4)))))
    assert not list(run_path(tmp_path).glob("results/*.csv"))

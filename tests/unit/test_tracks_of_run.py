"""The tracks of a run, exported: settled names where there are any, revised ones else, old runs too."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recording import SHAPE, a_frame, recording, run_path
from track_helpers import FRAMES, KNOWN, LAG, TRUE, place, table, told, tracks_of
from typer.testing import CliRunner

from smartscope.cli import app
from smartscope.errors import InputError
from smartscope.exporting import export_run
from smartscope.frame import Frame
from smartscope.recorder.reader import RunReader
from smartscope.result import Result, Revisions, Tracks
from smartscope.tracks_of_run import revised, tracks_of_run

PIXEL_UM = 0.1
RIGHT = [(frame, track) for frame in range(FRAMES) for track, (_, frames) in TRUE.items() if frame in frames]


def moved(index: int) -> Frame:
    """The region goes to the right by two pixels a frame."""
    frame = a_frame(index)
    return replace(frame, settings=replace(frame.settings, roi=replace(frame.settings.roi, x=2 + 2 * index)))


def record(base: Path, results: Sequence[Result]) -> Path:
    with recording(base) as recorder:
        recorder._folder.update(config={"microscope": {"camera": {"pixel_size_nm": 1000 * PIXEL_UM}}})
        for result in results:
            recorder.put_frame(result.frame)
            recorder.put_result(result)
    return run_path(base)


def sightings(run: Path) -> list[tuple[int, int]]:
    table = tracks_of_run(RunReader(run), PIXEL_UM)
    return list(zip(table.frame.tolist(), table.track_id.tolist(), strict=True))


@pytest.fixture
def story() -> list[Result]:
    return [told(Result(moved(index))) for index in range(FRAMES)]


def test_settled_names_and_at_the_end_those_of_the_moment(tmp_path: Path, story: list[Result]) -> None:
    assert sightings(record(tmp_path, story)) == RIGHT


def test_where_nothing_is_settled_what_was_taken_back_is_put_right(tmp_path: Path, story: list[Result]) -> None:
    run = record(tmp_path, [replace(result, settled=None) for result in story])
    assert sightings(run) == RIGHT


def test_a_run_of_before_there_were_revisions_is_taken_as_it_was_told(tmp_path: Path, story: list[Result]) -> None:
    run = record(tmp_path, [replace(result, settled=None, revisions=None, events=None) for result in story])
    newer = ("steady", "v_error_px_s", "diffusion_px2_s")
    lines = [json.loads(line) for line in (run / "results" / "results.jsonl").read_text().splitlines()]
    for line in lines:
        line["tracks"] = {name: column for name, column in line["tracks"].items() if name not in newer}
    (run / "results" / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told_then = [(frame, 5 if track == 4 and 5 < frame < KNOWN else track) for frame, track in RIGHT]
    assert sightings(run) == sorted(told_then)


def test_frames_that_were_not_settled_keep_the_names_of_the_moment(tmp_path: Path, story: list[Result]) -> None:
    story[4] = replace(story[4], settled=None)
    assert sightings(record(tmp_path, story)) == RIGHT


def test_places_are_in_one_field_for_all_regions(tmp_path: Path, story: list[Result]) -> None:
    table = tracks_of_run(RunReader(record(tmp_path, story)), PIXEL_UM)
    assert table.shape == (SHAPE[0], SHAPE[1] + 2 * (FRAMES - 1))
    expected = [place(track, frame)[0] + 2 * frame for frame, track in RIGHT]
    np.testing.assert_allclose(table.x_px, expected, rtol=1e-6)
    np.testing.assert_allclose(table.t_s, 0.01 * np.arange(FRAMES))
    assert table.mothers == {2: 1, 3: 1}


def test_frames_that_nobody_looked_at_are_none_of_the_table(tmp_path: Path, story: list[Result]) -> None:
    story[2] = Result(story[2].frame)
    story[2 + LAG] = replace(story[2 + LAG], settled=None)
    table = tracks_of_run(RunReader(record(tmp_path, story)), PIXEL_UM)
    assert table.frames.tolist() == [n for n in range(FRAMES) if n != 2]


def test_predicted_places_are_left_out_and_of_two_that_are_one_the_first_counts(tmp_path: Path) -> None:
    tracks = table(Tracks, 3, track_id=[1, 2, 3], parent_id=-1, x_px=[1, 2, 3], missed_frames=[0, 1, 0])
    one = table(Revisions, 1, since_frame=[0], track_id=[3], now_id=[1], parent_id=[-1])
    run = record(tmp_path, [Result(a_frame(0), tracks=tracks), Result(a_frame(1), revisions=one)])
    found = tracks_of_run(RunReader(run), PIXEL_UM)
    assert (found.track_id.tolist(), found.x_px.tolist()) == ([1], [1.0])


def test_names_that_were_swapped_are_swapped_back() -> None:
    swap = table(Revisions, 2, since_frame=[3, 3], track_id=[1, 2], now_id=[2, 1], parent_id=[-1, 7])
    tracks = table(Tracks, 3, track_id=[1, 2, 3], parent_id=[7, -1, 1])
    right = revised(tracks, 3, swap)
    assert (right.track_id.tolist(), right.parent_id.tolist()) == ([2, 1, 3], [-1, 7, 1])
    assert revised(tracks, 2, swap).track_id.tolist() == [1, 2, 3]
    assert len(revised(table(Tracks, 0), 5, swap)) == 0


def test_all_forms_are_written_where_nothing_is_said_of_where(tmp_path: Path, story: list[Result]) -> None:
    run = record(tmp_path, story)
    for form, name in (("trackmate", "trackmate.csv"), ("geff", "tracks.geff"), ("ctc", "ctc")):
        done = export_run(run, form)
        assert done.path == run / "exports" / name
        assert done.line == f"{done.path}: 4 tracks, {len(RIGHT)} sightings in {FRAMES} frames"
    with (run / "exports" / "trackmate.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[3:]
    assert [(int(row["FRAME"]), int(row["TRACK_ID"])) for row in rows] == RIGHT
    assert len(list((run / "exports" / "ctc").glob("mask*.tif"))) == FRAMES
    assert tracks_of(0, known=True).size_px[0] == 2.5
    assert float(rows[0]["RADIUS"]) == pytest.approx(2.5 * 2**0.5 * PIXEL_UM, abs=1e-6)


def test_a_run_that_goes_on_is_exported_as_far_as_it_came(tmp_path: Path, story: list[Result]) -> None:
    with recording(tmp_path) as recorder:
        recorder._folder.update(config={"microscope": {"camera": {"pixel_size_nm": 100.0}}})
        for result in story:
            recorder.put_frame(result.frame)
            recorder.put_result(result)
        recorder.put_event("state", 0)
        while not (RunReader(run_path(tmp_path)).events and RunReader(run_path(tmp_path)).frame_rows):
            pass
        listed = len(RunReader(run_path(tmp_path)).frame_rows)
        assert {frame for frame, _ in sightings(run_path(tmp_path))} >= set(range(listed))


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    run = record(tmp_path, [Result(a_frame(0))])
    with pytest.raises(InputError, match="no result of this run is about tracks"):
        export_run(run, "geff")
    with pytest.raises(InputError, match="drift is taken off single molecules only"):
        export_run(run, "ctc", drift_corrected=True)
    assert not (run / "exports").exists()


def test_on_the_command_line(tmp_path: Path, story: list[Result]) -> None:
    run = record(tmp_path, story)
    done = CliRunner().invoke(app, ["export", str(run), "--format", "ctc", "--output", str(tmp_path / "01_RES")])
    assert done.exit_code == 0, done.output
    assert f"4 tracks, {len(RIGHT)} sightings" in done.output.replace("\n", " ")
    assert (tmp_path / "01_RES" / "res_track.txt").read_text().startswith("1 0 4 0\n")

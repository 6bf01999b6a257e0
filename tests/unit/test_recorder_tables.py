"""tracks.csv lists sightings with places that agree with what policies are told; molecules come back bit for bit."""

import csv
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from localization_helpers import molecules, same_bits
from recording import SHAPE, a_frame, config, recording, run_path

from smartscope.config import LimitsConfig
from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.localization_files.thunderstorm import read_thunderstorm
from smartscope.ports import Context, Delay, DoseState
from smartscope.recorder.reader import RunReader
from smartscope.recorder.rows import result_from_row
from smartscope.result import Result, Tracks, empty_localizations

AFFINE = ((0.1, 0.02), (-0.03, -0.1))
SENSOR = (100, 200)


def a_result(index: int) -> Result:
    """Two tracks: one seen, one predicted."""
    columns: dict[str, Any] = {item.name: np.zeros(2, np.float32) for item in fields(Tracks)}
    ids = np.array([4, 9], np.int32)
    columns |= dict.fromkeys(("age_frames", "label"), ids * 0)
    columns |= {"track_id": ids, "parent_id": ids - 5, "missed_frames": ids // 9}
    columns["x_px"] = np.array([index + 0.1, 7.0], np.float32)
    columns["y_px"] = columns["x_px"] + 1
    return Result(a_frame(index), tracks=Tracks(**columns))


def lines(path: Path) -> list[dict[str, str]]:
    with (path / "results" / "tracks.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def context(result: Result) -> Context:
    unused: Any = None
    return Context(
        result,
        0,
        0.0,
        None,
        result.frame.settings,
        {},
        Delay(),
        DoseState(),
        LimitsConfig(),
        unused,
        SENSOR,
        AFFINE,
        None,
    )


def test_sightings_with_stage_places(tmp_path: Path) -> None:
    with recording(tmp_path, sensor_shape=SENSOR, stage_affine=AFFINE) as recorder:
        for index in (0, 2):
            recorder.put_frame(a_frame(index))
            recorder.put_result(a_result(index))
        recorder.put_result(Result(a_frame(2)))
    rows = lines(run_path(tmp_path))
    assert list(rows[0])[:7] == ["frame", "track_id", "x_px", "y_px", "parent_id", "x_um", "y_um"]
    assert [(row["frame"], row["track_id"], row["parent_id"]) for row in rows] == [("0", "4", "-1"), ("2", "4", "-1")]
    for row, index in zip(rows, (0, 2), strict=True):
        x_px, y_px = float(row["x_px"]), float(row["y_px"])
        assert np.float32(x_px) == np.float32(index + 0.1)
        expected = context(a_result(index)).stage_position_of(x_px, y_px)
        assert (float(row["x_um"]), float(row["y_um"])) == pytest.approx(expected, abs=2e-6)
    assert RunReader(run_path(tmp_path)).run["tracks_um"] == "stage"


def test_without_a_stage_places_are_on_the_sensor(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder.put_frame(a_frame(0))
        recorder.put_result(a_result(0))
    row = lines(run_path(tmp_path))[0]
    assert (float(row["x_um"]), float(row["y_um"])) == pytest.approx((0.1 * (2 + 0.1), 0.1 * (1 + 1.1)), abs=2e-6)
    assert RunReader(run_path(tmp_path)).run["tracks_um"] == "sensor"


def test_no_tracks_no_file(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder.put_result(Result(a_frame(0)))
    assert not (run_path(tmp_path) / "results" / "tracks.csv").exists()


def test_molecules_come_back_bit_for_bit_also_while_the_run_goes_on(tmp_path: Path) -> None:
    counts = [3, 0, 5, 2]
    with recording(tmp_path) as recorder:
        for index, count in enumerate(counts):
            recorder.put_result(Result(a_frame(index), localizations=molecules(count, index)))
        recorder.put_result(Result(a_frame(4)))
        recorder.put_event("state", 0, state="running")
        while len(RunReader(run_path(tmp_path)).events) < 1:
            pass
        run = RunReader(run_path(tmp_path))  # nothing is closed yet, as after kill -9
        back = [result_from_row(row, a_frame(row["frame"]), run.localizations(row)) for row in run.results]
        in_csv = read_thunderstorm(run_path(tmp_path) / "results" / "localizations.csv", 100.0)
    assert back[4].localizations is None
    for index, count in enumerate(counts):
        found = back[index].localizations
        assert found is not None
        assert same_bits(found, molecules(count, index))
    assert in_csv.frame.tolist() == [0] * 3 + [2] * 5 + [3] * 2
    assert [len(row) for row in (run.results[0]["localizations"], run.results[1]["localizations"])] == [2, 2]
    assert run.results[3]["localizations"] == [8, 2]


def test_another_region_keeps_the_places_of_molecules_in_the_csv(tmp_path: Path) -> None:
    h, w = SHAPE
    first, found = a_frame(0), molecules(4)
    second = replace(a_frame(1), settings=replace(first.settings, roi=Roi(6, 0, w, h)))
    with recording(tmp_path) as recorder:
        for frame in (first, second):
            recorder.put_result(Result(frame, localizations=found))
    table = read_thunderstorm(run_path(tmp_path) / "results" / "localizations.csv", 100.0)
    np.testing.assert_allclose(table.found.x_px[4:] - table.found.x_px[:4], 4, atol=1e-4)  # the first began at (2, 1)
    np.testing.assert_allclose(table.found.y_px[4:] - table.found.y_px[:4], -1, atol=1e-4)


def test_the_copy_for_thunderstorm_can_be_left_out(tmp_path: Path) -> None:
    with recording(tmp_path, config(localizations_csv=False)) as recorder:
        recorder.put_result(Result(a_frame(0), localizations=molecules(3)))
    assert [item.name for item in run_path(tmp_path).rglob("localizations.*")] == ["localizations.npy"]


def test_no_molecules_no_files(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder.put_result(Result(a_frame(0)))
    run = RunReader(run_path(tmp_path))
    assert not list(run_path(tmp_path).rglob("localizations.*"))
    assert run.localizations(run.results[0]) is None
    with pytest.raises(InputError, match="cannot be read: No such file"):
        run.molecules()


def test_a_row_whose_molecules_are_gone_is_named(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder.put_result(Result(a_frame(0), localizations=empty_localizations()))
        recorder.put_result(Result(a_frame(1), localizations=molecules(3)))
    run = RunReader(run_path(tmp_path))
    with pytest.raises(InputError, match=r"localizations\.npy: holds 3 molecules, frame 1 needs 4.*remove later lines"):
        run.localizations({"frame": 1, "localizations": [1, 3]})

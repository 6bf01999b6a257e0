"""tracks.csv lists sightings with places that agree with what policies are told."""

import csv
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recording import a_frame, recording, run_path

from smartscope.config import LimitsConfig
from smartscope.ports import Context, Delay, DoseState
from smartscope.recorder.reader import RunReader
from smartscope.result import Result, Tracks

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
    assert list(rows[0]) == ["frame", "track_id", "x_px", "y_px", "parent_id", "x_um", "y_um"]
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

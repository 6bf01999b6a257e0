"""``process mobility``: tracks and conditions to estimates; files that cannot be used say why."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mobility_tracks import Motion, Sight, simulated

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.errors import InputError
from smartscope.ports import Instrument, TaskInputs
from smartscope.processing import process_file
from smartscope_models.mobility.task import MobilityTask

TASK = "smartscope_models.mobility.task:MobilityTask"
TAKEN = {"pixel_size_um": 0.1, "frame_interval_s": 0.05, "exposure_fraction": 0.8, "localisation_noise_nm": 30.0}


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    """Twelve Brownian tracks of 60 frames and one of three points, rows in no order."""
    table = simulated(Motion(0.1), 12, 60, Sight(), 1)
    rows = [
        f"{frame},{track},{x / 0.1:.4f},{y / 0.1:.4f}"
        for frame, track, x, y in zip(table.frame, table.track_id, table.x_um, table.y_um, strict=True)
    ]
    rows += [f"{frame},99,{frame}.5,3" for frame in range(3)]
    np.random.default_rng(0).shuffle(rows)
    path = tmp_path / "tracks.csv"
    path.write_text("frame,track_id,x_px,y_px\n" + "\n".join(rows) + "\n")
    return path


def run(source: Path, **options: Any) -> tuple[Mapping[str, Any], list[dict[str, str]]]:
    """(figures, rows of the output)."""
    output = source.with_name("estimates.csv")
    instrument = Instrument(CameraCalibration(pixel_size_nm=100), OpticsConfig())
    chosen = {"camera_given": False, **options}
    figures = MobilityTask().run(TaskInputs(str(source), str(output), instrument, chosen), lambda done, total: None)
    with output.open(newline="") as file:
        return figures, list(csv.DictReader(file))


def test_every_track_has_a_row(tracks: Path) -> None:
    """Through the command, conditions found beside the tracks; a track too short has empty cells."""
    tracks.with_name("conditions.json").write_text(json.dumps({**TAKEN, "frames": 60, "seed": 1}))
    output, report = tracks.with_name("estimates.csv"), tracks.with_name("report.json")
    line = process_file(TASK, tracks, output, None, None, [], report)
    assert "tracks 13" in line
    with output.open(newline="") as file:
        rows = {int(row["track_id"]): row for row in csv.DictReader(file)}
    assert sorted(rows) == [*range(12), 99]
    assert rows[99]["class"] == rows[99]["d_um2_per_s"] == ""
    assert rows[99]["points"] == "3"
    diffusion = [float(rows[k]["d_um2_per_s"]) for k in range(12)]
    assert np.median(diffusion) == pytest.approx(0.1, rel=0.2)
    assert sum(rows[k]["class"] == "brownian" for k in range(12)) >= 9
    told = json.loads(report.read_text())
    assert told["judged"] == 12
    assert told["brownian_share"] > 0.6


def test_options_stand_in_for_the_file(tracks: Path) -> None:
    """The noise is found where nobody told it; the camera's pixel size counts where it was given."""
    _, told = run(tracks, **TAKEN)
    _, found = run(tracks, frame_interval_s=0.05, exposure_fraction=0.8, camera_given=True)
    one, other = (np.array([float(row["d_um2_per_s"] or "nan") for row in rows]) for rows in (told, found))
    assert np.nanmedian(other / one) == pytest.approx(1, abs=0.1)


def test_named_conditions_and_options_before_them(tracks: Path, tmp_path: Path) -> None:
    """Diffusion scales with the square of the pixel."""
    other = tmp_path / "elsewhere.json"
    other.write_text(json.dumps({**TAKEN, "pixel_size_um": 0.2, "localisation_noise_nm": 60}))
    _, single = run(tracks, **TAKEN)
    _, double = run(tracks, conditions=str(other))
    _, again = run(tracks, conditions=str(other), pixel_size_um=0.1, localisation_noise_nm=30)
    assert float(double[0]["d_um2_per_s"]) == pytest.approx(4 * float(single[0]["d_um2_per_s"]), rel=1e-3)
    assert again == single


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "frame_interval_s: this key is required"),
        ({**TAKEN, "exposure_fraction": 1.5}, "allowed: <= 1"),
        ({**TAKEN, "pixel_size_um": 0}, "allowed: > 0"),
        ({**TAKEN, "pixel_um": 0.1}, "no such key"),
        ({**TAKEN, "window_points": 4}, "allowed: >= 16"),
        ({"conditions": "nowhere.json"}, "is no JSON file"),
    ],
)
def test_conditions_that_cannot_be_used(tracks: Path, options: dict[str, Any], message: str) -> None:
    """Nothing is written."""
    with pytest.raises(InputError, match=message):
        run(tracks, **options)
    assert not tracks.with_name("estimates.csv").exists()


@pytest.mark.parametrize(("text", "message"), [("[1]", "no JSON object"), ("{", "is no JSON file")])
def test_conditions_that_are_none(tracks: Path, text: str, message: str) -> None:
    """Beside the tracks, broken."""
    tracks.with_name("conditions.json").write_text(text)
    with pytest.raises(InputError, match=message):
        run(tracks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame,x_px,y_px\n0,1,1\n", "lacks the column track_id"),
        ("frame,track_id,x_px,y_px\n0,a,1,1\n", "track_id: could not convert"),
        ("frame,track_id,x_px,y_px\n0,0,1,1\n1,-2,1,1\n", "track_id is -2 in line 3"),
        ("frame,track_id,x_px,y_px\n0,0.5,1,1\n", "track_id is 0.5 in line 2"),
        ("frame,track_id,x_px,y_px\n0,nan,1,1\n", "track_id is nan"),
        ("frame,track_id,x_px,y_px\n0,0,nan,1\n", "x_px is 'nan' in line 2"),
        ("frame,track_id,x_px,y_px\n", "holds no rows"),
        ("", "lacks the columns"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    """With the line, where there is one."""
    path = tmp_path / "tracks.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        run(path, **TAKEN)


def test_a_table_of_one_point(tmp_path: Path) -> None:
    """Is a track without a verdict, the noise told or not."""
    path = tmp_path / "tracks.csv"
    path.write_text("frame,track_id,x_px,y_px\n0,4,1,1\n")
    for told in (TAKEN, {"pixel_size_um": 0.1, "frame_interval_s": 1}):
        figures, rows = run(path, **told)
        assert figures["judged"] == 0
        assert [row["track_id"] for row in rows] == ["4"]

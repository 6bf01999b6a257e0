"""Files in, files out: whole or not at all, with an error that says what to do where the input is wrong."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.errors import ConfigurationError, InputError, PluginError, StageFailed
from smartscope.frame import Frame
from smartscope.ports import FileTask, Instrument, TaskInputs
from smartscope.result import Result
from smartscope.testing.model_contract import a_scene
from smartscope_models.movies import TiffMovie, written_whole
from smartscope_models.tasks import DenoiseTask, DetectTask, TrackTask

CAMERA = CameraCalibration()


class Mute:
    """A model that says nothing."""

    history = 1

    def __init__(self, setup: Instrument) -> None:
        """Nothing to build."""

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Nothing to warm up."""

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """What was said before."""
        assert len(frames) <= 2
        return so_far


MUTE = f"{__name__}:Mute"


def run(task: FileTask, source: Path, output: Path, /, **options: Any) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Figures, and what was reported."""
    reports: list[tuple[int, int]] = []
    inputs = TaskInputs(str(source), str(output), Instrument(CAMERA, OpticsConfig()), {"camera_given": True, **options})
    figures = task.run(inputs, lambda done, total: reports.append((done, total)))
    return dict(figures), reports


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    """Four frames of (64, 80) with spots."""
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, np.stack([a_scene(seed=1) for _ in range(4)]), photometric="minisblack")
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_denoise_writes_a_quiet_movie_in_counts(movie: Path, tmp_path: Path) -> None:
    figures, reports = run(DenoiseTask(), movie, tmp_path / "out.tif")
    quiet, noisy = tifffile.imread(tmp_path / "out.tif"), tifffile.imread(movie)
    assert quiet.shape == noisy.shape
    assert quiet.dtype == np.float32
    assert quiet.mean() == pytest.approx(noisy.mean(), rel=0.01)
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert figures["frames"] == 4
    assert 0 < figures["median_ms"] <= figures["p99_ms"]
    assert figures["cpu_ms_per_frame"] > 0


def test_a_single_image_is_a_movie_of_one_frame(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "one.tif", a_scene().astype(np.uint8))
    figures, _ = run(DenoiseTask(), tmp_path / "one.tif", tmp_path / "out.tif", camera_given=False)
    assert figures["frames"] == 1
    assert figures["estimated_electrons_per_adu"] > 0
    assert abs(figures["estimated_noise_correlation"]) < 0.2
    assert figures["warnings"] == []


def test_a_stack_in_one_piece_is_read_frame_by_frame(tmp_path: Path) -> None:
    frames = np.stack([a_scene(seed=k) for k in range(3)])
    tifffile.imwrite(tmp_path / "imagej.tif", frames, imagej=True, truncate=True)  # one page for all, as ImageJ does
    with TiffMovie(tmp_path / "imagej.tif") as movie:
        assert np.array_equal([frame.pixels for frame in movie.frames()], frames)


def test_detect_writes_a_table(movie: Path, tmp_path: Path) -> None:
    figures, _ = run(DetectTask(), movie, tmp_path / "out.csv", finder="classical", kinds=["spot"])
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == ["frame", "x_px", "y_px", "size_px", "intensity", "label"]
    assert len(rows) == figures["detections"] >= 12
    assert {row["label"] for row in rows} == {"0"}
    cells = {"model": "detect_cells", "min_radius_um": 0.4, "max_radius_um": 3}
    run(DetectTask(), movie, tmp_path / "cells.csv", **cells)
    assert {row["label"] for row in rows_of(tmp_path / "cells.csv")} == {"1"}


def test_track_follows_a_movie(movie: Path, tmp_path: Path) -> None:
    figures, _ = run(TrackTask(), movie, tmp_path / "out.csv", spot_gate_px=6, sigma_px=1.0)
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == ["frame", "track_id", "x_px", "y_px", "parent_id"]
    assert figures["points"] == len(rows)
    frames_of: dict[str, set[str]] = {}
    for row in rows:
        frames_of.setdefault(row["track_id"], set()).add(row["frame"])
    assert max(len(frames) for frames in frames_of.values()) == 4


def test_track_carries_further_columns_through(tmp_path: Path) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    lines = ["frame,x_px,y_px,size_px,intensity,mask_id,note,track_id"]
    lines += [f"{t},{20 + t},{30},2.5,100,{t + 7},a b,99" for t in (3, 0, 1, 2, 6)]
    lines += [f"{t},{80 - t},{30},2.5,100,{t + 40},c,99" for t in (0, 1, 2, 3)]
    source.write_text("\n".join(lines))
    figures, reports = run(TrackTask(), source, output)
    rows, carried = rows_of(output), ("size_px", "intensity", "mask_id", "note")
    assert list(rows[0]) == ["frame", "track_id", "x_px", "y_px", "parent_id", *carried]
    assert [int(row["frame"]) for row in rows] == [0, 0, 1, 1, 2, 2, 3, 3, 6]
    by_note = {note: {row["track_id"] for row in rows[:8] if row["note"] == note} for note in ("a b", "c")}
    assert all(len(ids) == 1 for ids in by_note.values())
    assert by_note["a b"] != by_note["c"]
    assert [row["mask_id"] for row in rows if row["note"] == "c"] == ["40", "41", "42", "43"]
    assert all(row["x_px"] == f"{20 + int(row['frame'])}.0000" for row in rows if row["note"] == "a b")
    assert figures["frames"] == 7
    assert reports[-1] == (7, 7)


def test_tracking_a_table_does_not_look_ahead(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    places = np.cumsum(rng.normal(0, 1.5, (14, 60, 2)), axis=0) + rng.uniform(0, 90, (60, 2))
    rows = [f"{t},{x:.3f},{y:.3f},{10 * (t > 8)}" for t, frame in enumerate(places) for x, y in frame]
    far = "14,5000,5000,30"
    for name, lines in (("short", rows[: 9 * 60]), ("long", [*rows, far])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["frame,x_px,y_px,size_px", *lines]))
        run(TrackTask(), tmp_path / f"{name}.csv", tmp_path / f"{name}_out.csv")
    short, long = (rows_of(tmp_path / f"{name}_out.csv") for name in ("short", "long"))
    assert short == long[: len(short)]


def dividing_table(path: Path) -> Path:
    """A nucleus that divides in frame 6, four that stay; one daughter is not seen at first."""
    rng, lines = np.random.default_rng(1), ["frame,x_px,y_px,size_px,intensity"]
    for t in range(14):
        rows = [(100 * n, 300, 20.0) for n in range(4)]
        rows += [(150, 100, 20.0)] if t < 6 else [(130, 100, 14.0), *([(170, 100, 14.0)] if t > 6 else [])]
        for x, y, size in rows:
            dx, dy, grown = rng.normal(0, 1, 3)
            lines.append(f"{t},{x + dx:.2f},{y + dy:.2f},{size * np.exp(0.02 * grown):.3f},{size**2:.2f}")
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("output", ["now", "settled"])
def test_track_names_every_detection_once_and_tells_mothers(output: str, tmp_path: Path) -> None:
    source, target = dividing_table(tmp_path / "in.csv"), tmp_path / "out.csv"
    run(TrackTask(), source, target, output=output)
    rows = rows_of(target)
    given = [line.split(",")[:2] for line in source.read_text().split("\n")[1:]]
    assert [(int(row["frame"]), float(row["x_px"])) for row in rows] == [(int(t), float(x)) for t, x in given]
    assert len({(row["frame"], row["track_id"]) for row in rows}) == len(rows)
    mothers = [row for row in rows if row["parent_id"] != "-1"]
    if output == "settled":
        at = {row["track_id"]: int(row["frame"]) for row in reversed(rows)}
        mother = {row["parent_id"] for row in mothers}
        assert len(mother) == 1
        assert sorted(at[name] for name in {row["track_id"] for row in mothers}) == [6, 7]
        assert {int(row["frame"]) for row in rows if row["track_id"] in mother} == set(range(6))


def test_settled_tracks_of_a_movie_are_whole(movie: Path, tmp_path: Path) -> None:
    for output in ("now", "settled"):
        run(TrackTask(), movie, tmp_path / f"{output}.csv", output=output, sigma_px=1.0)
    now, settled = (rows_of(tmp_path / f"{output}.csv") for output in ("now", "settled"))
    assert [(row["frame"], row["x_px"]) for row in now] == [(row["frame"], row["x_px"]) for row in settled]


@pytest.mark.parametrize("options", [{"output": "soon"}, {"output": "settled", "lag_frames": 0}])
def test_an_output_that_is_none_is_refused(options: dict[str, Any], movie: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="output"):
        run(TrackTask(), movie, tmp_path / "out.csv", **options)
    assert not (tmp_path / "out.csv").exists()


def test_large_objects_of_a_table_without_labels_are_cells(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    lines = [f"{t},{50 + 12 * t},40,30\n{t},300,300,30\n" for t in range(6)]
    source.write_text("frame,x_px,y_px,size_px\n" + "".join(lines))
    figures, _ = run(TrackTask(), source, tmp_path / "out.csv")
    assert figures["tracks"] == 2


@pytest.mark.parametrize("task", [DenoiseTask(), DetectTask(), TrackTask()])
@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("text.tif", b"frame,x\n1,2\n", "is no TIFF movie"),
        ("empty.tif", b"", "is no TIFF movie"),
        ("absent.tif", None, "is no TIFF movie"),
    ],
)
def test_what_is_no_movie_is_refused(
    task: FileTask, name: str, content: bytes | None, match: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=match):
        run(task, tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("array", "options", "match"),
    [
        (np.zeros((2, 16, 16), np.float32), {}, "holds float32"),
        (np.zeros((16, 16, 3), np.uint8), {"photometric": "rgb"}, "not one movie of grey frames"),
        (np.zeros((2, 3, 16, 16), np.uint16), {"metadata": {"axes": "TZYX"}, "imagej": True}, "not one movie"),
    ],
)
def test_foreign_movies_are_refused(array: np.ndarray, options: dict[str, Any], match: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "movie.tif", array, **options)
    with pytest.raises(InputError, match=match):
        run(DenoiseTask(), tmp_path / "movie.tif", tmp_path / "out.tif")


def test_a_tiff_without_frames_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="zero-size"):
        tifffile.imwrite(tmp_path / "none.tif", np.zeros((0, 16, 16), np.uint16))
    with pytest.raises(InputError, match="holds no frames"):
        TiffMovie(tmp_path / "none.tif")


def test_a_damaged_movie_leaves_nothing_behind(movie: Path, tmp_path: Path) -> None:
    tifffile.imwrite(movie, np.stack([a_scene(seed=k) for k in range(3)]), compression="zlib", photometric="minisblack")
    content = bytearray(movie.read_bytes())
    with tifffile.TiffFile(movie) as file:
        start, length = file.pages[2].dataoffsets[0], file.pages[2].databytecounts[0]
    content[start : start + length] = bytes(length)
    movie.write_bytes(bytes(content))
    with pytest.raises(InputError, match="frame 2 cannot be read"):
        run(DetectTask(), movie, tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["movie.tif"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("frame,x_px\n0,1\n", "lacks the columns y_px"),
        ("", "lacks the columns frame, x_px, y_px"),
        ("frame,x_px,y_px\n", "holds no rows"),
        ("frame,x_px,y_px\n0,1,2\n0,nan,2\n", "x_px is 'nan' in line 3"),
        ("frame,x_px,y_px\n0,1\n", "y_px is None in line 2"),
        ("frame,x_px,y_px\n0,1,two\n", "y_px is 'two' in line 2"),
        ("frame,x_px,y_px\n-1,1,2\n", "frame is -1 in line 2"),
        ("frame,x_px,y_px\n0.5,1,2\n", "frame is 0.5 in line 2"),
        ("frame,x_px,y_px\n1e9,1,2\n", "frame is 1e\\+09 in line 2"),
    ],
)
def test_wrong_tables_are_refused(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        run(TrackTask(), tmp_path / "in.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_binary_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="is no CSV table"):
        run(TrackTask(), tmp_path / "in.csv", tmp_path / "out.csv")


def test_an_output_that_cannot_be_is_refused(movie: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the same file"):
        run(DenoiseTask(), movie, movie)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        run(DetectTask(), movie, tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "movie.tif"]


def test_an_interrupted_task_leaves_the_old_output(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("old")

    def interrupted() -> None:
        with written_whole(tmp_path / "out.csv", tmp_path / "in.csv") as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_model_that_gives_no_image_is_no_denoiser(movie: Path, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="gave no image of frame 0"):
        run(DenoiseTask(), movie, tmp_path / "out.tif", model=MUTE)
    figures, _ = run(DetectTask(), movie, tmp_path / "out.csv", model=MUTE)
    assert figures["detections"] == 0
    figures, _ = run(TrackTask(), movie, tmp_path / "tracks.csv", detector=MUTE)
    assert figures["points"] == 0


def test_unknown_options_are_refused(movie: Path, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="strength"):
        run(DenoiseTask(), movie, tmp_path / "out.tif", strength=3)

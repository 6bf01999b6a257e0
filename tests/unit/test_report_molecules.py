"""The report of a run that localised single molecules: its picture, its curves, and what it says in one line."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from localization_helpers import molecules

from smartscope.clock import VirtualClock
from smartscope.config import ExperimentConfig
from smartscope.frame import Frame, Roi, Settings
from smartscope.recorder.folder import LOCALIZATIONS, RunFolder
from smartscope.recorder.recorder import Recorder
from smartscope.report import molecules as drawing
from smartscope.report import pictures, summarise, write_report
from smartscope.report.record import read
from smartscope.report.series import Series, means
from smartscope.result import Result, SuperResolved

FRAMES, PERIOD_NS = 200, 100_000_000
FOUND = 5


def record(base: Path, *, rendered: bool = False, told: bool = True, **options: Any) -> Path:
    """20 s at ten frames per second, five molecules in each; density 10 % above and below its target in turn."""
    tree = {"name": "storm", "recorder": {"min_free_gb": 0, "super_resolved_every": 10}, "policies": [], **options}
    experiment = ExperimentConfig.model_validate(tree)
    folder = RunFolder.create(base, "storm", datetime(2026, 3, 1), min_free_gb=0)
    folder.update(config=experiment.model_dump(mode="json"))
    recorder = Recorder(folder, experiment.recorder, 0.1, VirtualClock())
    for i in range(FRAMES):
        start_ns = i * PERIOD_NS
        settings = Settings(50.0, Roi(0, 0, 64, 48), {"activation": 0.01 * i, "excitation": 80.0, "unused": 0.0})
        pixels = np.random.default_rng(i).poisson(50, (48, 64)).astype(np.uint16)
        frame = Frame(pixels, 0, i, i, settings, {}, start_ns, start_ns + PERIOD_NS // 2, start_ns + PERIOD_NS // 2)
        figures = {
            "emitters": 60.0 * (1.1 if i // 10 % 2 else 0.9),
            "density_per_um2": 0.5 * (1.1 if i // 10 % 2 else 0.9),
            "localization_error_nm": 9.0 if i % 2 else 8.0,
            "localizer": float(i % 4 == 0),
            "on_time_ms": 31.0,
            "localizations": 5.0 * i,
            "drift_x_nm": 0.3 * i,
            "drift_y_nm": -0.4 * i,
            "ring_resolution_nm": 60.0 - i / 10,
        }
        image = np.zeros((480, 640), np.float32)
        image[i, ::7] = 4.0
        fine = SuperResolved(image, 10, "ok", resolution_nm=40.0, raw_frames=(0, i)) if rendered else None
        ready_ns = start_ns + PERIOD_NS
        recorder.put_frame(frame)
        recorder.put_result(
            Result(
                frame,
                quality=figures if told else {},
                ready_ns=ready_ns,
                localizations=molecules(FOUND, i),
                super_resolved=fine,
            )
        )
    recorder.finish("done")
    assert recorder.fault is None
    return folder.path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    policies = [
        {"policy": "activation", "options": {"target_density_per_um2": 0.5}},
        {"policy": "stop_when", "options": {"resolution_nm": 35}},
    ]
    return record(tmp_path_factory.mktemp("runs"), rendered=True, policies=policies)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def test_summary_says_how_many_molecules_were_found_how_well_and_by_what(run: Path) -> None:
    summary = summarise(run)
    assert summary["molecules"] == FRAMES * FOUND
    assert summary["localization_error_nm"] == 8.5
    assert summary["ring_resolution_nm"] == pytest.approx(60 - 19.9)
    assert summary["drift_nm"] == pytest.approx(0.5 * 199)
    assert summary["frames_by_network"] == 0.25
    assert summary["target_density_per_um2"] == 0.5
    assert summary["density_rms"] == pytest.approx(0.1, abs=1e-6)
    json.dumps(summary, allow_nan=False)
    assert (
        "storm done: 1,000 molecules localised within 8.5 nm (median) by the network in 25 % of the frames, else by "
        "fits, ring resolution 40.1 nm, a molecule glows 31 ms, density held within 10 % RMS, 200 frames (0 lost)"
    ) in summary["line"]


def test_the_page_shows_curves_and_pictures(run: Path) -> None:
    html = write_report(run).read_text(encoding="utf-8")
    for title in (
        "Raw", "Molecules", "Molecules, the middle", "Density", "Power of activation", "Light power",
        "Localisation error", "Resolution", "Molecules found", "Drift",
    ):  # fmt: skip
        assert f"<h3>{title}" in html, title
    assert "target, ±5 %" in html
    assert "Raw, patterned" not in html
    assert "until frame 190; brightness: square root" in html
    assert 'href="results/localizations.csv"' in html
    assert "<b>1,000<small> </small></b>molecules, within 8.5 nm (median)" in html
    assert html.count("<h3>Light power") == 1
    assert "class=notes" not in html


def test_emitters_are_shown_where_they_are_held(tmp_path: Path) -> None:
    held = [{"policy": "activation", "options": {"target_emitters": 60.0}}]
    run = record(tmp_path, policies=held)
    html = write_report(run).read_text(encoding="utf-8")
    assert "<h3>Molecules glowing" in html
    assert "<h3>Density" not in html
    assert summarise(run)["density_rms"] == pytest.approx(0.1, abs=1e-6)


def test_without_a_rendered_picture_molecules_are_counted(tmp_path: Path) -> None:
    run = record(tmp_path, told=False)
    html = write_report(run).read_text(encoding="utf-8")
    assert "drift left in; brightness: square root" in html
    assert "1,000 molecules localised, 200 frames" in summarise(run)["line"]
    found = drawing._counted(read(run))
    assert found is not None
    image, scale = found
    whole = np.load(run / LOCALIZATIONS)
    inside = int(((whole["x_px"] < 63.5) & (whole["y_px"] < 47.5)).sum())
    assert (scale, image.shape, image.sum()) == (16, (768, 1024), inside)
    assert 950 < inside < 1000
    first = molecules(FOUND, 0)
    assert image[int((first.y_px[0] + 0.5) * 16), int((first.x_px[0] + 0.5) * 16)] >= 1


def test_molecules_beyond_the_field_and_all_measure_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "MOST_MOLECULES", 500)
    run = record(tmp_path, told=False)
    whole = np.load(run / LOCALIZATIONS)
    whole["x_px"], whole["y_px"] = 30.0, 20.0
    whole["x_px"][0], whole["y_px"][2], whole["x_px"][4] = np.nan, 48.0, -0.6
    np.save(run / LOCALIZATIONS, whole)
    found = drawing._counted(read(run))
    assert found is not None
    assert found[0].sum() == found[0].max() == 500 - 3


def test_a_run_that_found_nothing(tmp_path: Path) -> None:
    run = record(tmp_path, told=False)
    np.save(run / LOCALIZATIONS, np.load(run / LOCALIZATIONS)[:0])
    html = write_report(run).read_text(encoding="utf-8")
    assert "<h3>Molecules" not in html
    assert "molecules localised" not in summarise(run)["line"]


def test_damaged_molecules_are_told(copy: Path) -> None:
    (copy / LOCALIZATIONS).write_text("text")
    html = write_report(copy).read_text(encoding="utf-8")
    assert "localizations.npy is no table of molecules" in html
    assert summarise(copy)["molecules"] is None


def test_a_picture_whose_frame_is_gone_stands_alone(copy: Path) -> None:
    shutil.rmtree(copy / "frames.ome.zarr")
    shutil.rmtree(copy / "results" / "super_resolved.ome.zarr")
    text = drawing.pictures(read(copy))
    assert "<h3>Raw" not in text
    assert "<h3>Molecules" in text
    assert pictures.raw_beside_super_resolved(read(copy)) == ""


def test_a_small_picture_needs_no_detail(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MOST_PX", 640)
    assert "the middle" not in drawing.pictures(read(copy))


def test_means_of_seconds() -> None:
    assert len(means(Series(np.empty(0), np.empty(0)))) == 0
    found = means(Series(np.array([3.0, 3.5, 5.2]), np.array([1.0, 2.0, 7.0])))
    assert (found.t_s.tolist(), found.value.tolist()) == ([3.5, 5.5], [1.5, 7.0])

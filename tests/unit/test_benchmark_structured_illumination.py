"""The benchmark of structured illumination runs, and what it counts by itself is right where the answer is known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judging.evaluator import BESIDE, VARIABLE, Evaluator
from judging.structured_illumination import real
from judging.structured_illumination.bench import Bench
from judging.structured_illumination.candidates import ORACLE, OURS, WIDEFIELD, Reference
from judging.structured_illumination.peer import Napari
from judging.structured_illumination.quality import FIGURES, differences, summary
from judging.structured_illumination.speed import NUMPY, OUR, ratios, timed
from judging.structured_illumination.spoilt import moved, sharpened_widefield
from judging.structured_illumination.stacks import Scene, Stack
from judging.structured_illumination.tables import markdown
from judging.structured_illumination.verdicts import told

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "bench_structured_illumination.py"
ROOT = PROGRAM.parents[2]


@pytest.fixture
def folder() -> Path:
    """Of the frozen evaluators; skips where they are absent."""
    found = Path(os.environ.get(VARIABLE, BESIDE))
    if not found.is_dir():
        pytest.skip(f"no evaluator at {found}; set {VARIABLE}")
    return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """That judges nothing."""
    evaluator: Any = None
    return Bench(evaluator, None, range(3), (128,), (500.0,), 2, (64, 128), 1, str(tmp_path / "absent"))


@pytest.mark.timeout(900)  # ten seconds of a free machine
def test_everything_runs_on_one_small_stack(folder: Path, tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    path = os.pathsep.join(str(ROOT / part) for part in (".", "drivers", "models"))
    done = subprocess.run(
        [
            sys.executable,
            PROGRAM,
            "--quick",
            "--json",
            written,
            "--markdown",
            "--evaluator",
            folder,
            "--data",
            tmp_path,
        ],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(written.read_text())
    sections = figures["sections"]
    assert list(sections) == ["speed", "quality", "controls", "verdict", "dlsim"]
    means = {row["model"]: row for row in sections["quality"]["summary"]}
    assert means[ORACLE]["gain"]["mean"] > 1.5 > 1.1 > means[WIDEFIELD]["gain"]["mean"]
    assert means[ORACLE]["carrier_error_px"]["mean"] == 0
    assert means[WIDEFIELD]["carrier_error_px"] is None
    assert [row["figure"] for row in sections["controls"]["rows"] if not row["caught"]] == []
    assert sections["verdict"]["stacks"] == 1
    assert sections["speed"]["ratios"][0]["full_numpy_over_ours"] is None
    assert "### controls" in done.stdout


def test_real_stacks_are_skipped_where_they_are_not_there(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = replace(bench, data=str(tmp_path))
    assert "set SMARTSCOPE_DATA" in real.dlsim(bench)["skipped"]
    assert "set SMARTSCOPE_DATA" in real.dlsim(replace(bench, data=None))["skipped"]
    (tmp_path / "HER.tif").touch()
    monkeypatch.setattr(real, "measure", lambda folder: {"seen": str(folder)})
    assert real.dlsim(bench) == {"seen": str(tmp_path)}


def test_an_absent_peer_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no napari_sim_processor there"):
        Napari(tmp_path)


def test_a_failing_reference_is_named(tmp_path: Path) -> None:
    for name in ("denoising.py", "tracking.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "reference_wiener.py").write_text("raise SystemExit('does not work')")
    stack: Any = type("Nowhere", (), {"folder": tmp_path})()
    with pytest.raises(SystemExit, match=r"oracle failed: .*does not work"):
        Reference(Evaluator(tmp_path), ORACLE).reconstruct(stack, tmp_path)


def test_the_clock_leaves_the_first_run_out_and_ratios_need_both_sides() -> None:
    calls: list[str] = []
    found = timed({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, turns=2)
    assert "".join(calls) == "abaaabbbaaabbb"
    assert found["a"]["runs"] == 6
    costs = {OUR + "full": 2.0, NUMPY + "full": 9.0, OUR + "estimate": 50.0}
    rows = [{"size": 256, "step": step, "cpu_ms": cost} for step, cost in costs.items()]
    assert ratios(rows, 256)["full_numpy_over_ours"] == 4.5
    assert ratios(rows, 256)["rolling_over_full"] is None


def row(model: str, seed: int, gain: float, carrier_px: float | None) -> dict[str, Any]:
    """Of the quality section."""
    every = dict.fromkeys(FIGURES)
    cell = {"size": 256, "electrons": 500.0, "seed": seed, "model": model}
    return {**cell, **every, "gain": gain, "carrier_error_px": carrier_px}


def test_differences_are_made_on_the_same_files_and_absent_figures_stay_absent() -> None:
    rows = [row(OURS, 1, 1.7, 0.01), row(ORACLE, 1, 1.5, 0.0), row(OURS, 2, 1.5, 0.03), row(ORACLE, 2, 1.4, 0.0)]
    rows += [row(OURS, 3, 99.0, 0.02), row(WIDEFIELD, 3, 1.0, None)]
    oracle, widefield = differences(rows)
    assert (oracle["against"], oracle["n"], oracle["mean"]) == (ORACLE, 2, 0.15)
    assert (widefield["against"], widefield["n"], widefield["mean"]) == (WIDEFIELD, 1, 98.0)
    means = {found["model"]: found for found in summary(rows)}
    assert means[OURS]["carrier_error_px"]["mean"] == pytest.approx(0.02)
    assert means[WIDEFIELD]["carrier_error_px"] is None


def test_verdicts_are_counted() -> None:
    rows = [
        {"verdict": "ok", "verdict_fits": True, "gain": 1.5, "correlation": 0.9, "widefield_correlation": 0.8},
        {"verdict": "weak", "verdict_fits": False, "gain": 1.3, "correlation": 0.9, "widefield_correlation": 0.8},
        {"verdict": "fail", "verdict_fits": True, "gain": 1.0, "correlation": 0.7, "widefield_correlation": 0.5},
        {"verdict": "fail", "verdict_fits": True, "gain": 1.0, "correlation": 0.6, "widefield_correlation": 0.5},
    ]
    others = [(None, None), (None, None), (1.0, 1.3), (1.1, 1.1)]
    rows = [
        {**row, "gain_of_reference": reference, "gain_of_oracle": oracle}
        for row, (reference, oracle) in zip(rows, others, strict=True)
    ]
    found = told(rows)
    assert found["given_up_though_gained"] == {"reference": 0, "oracle": 1}
    assert found["fits"] == 0.75
    low, high = found["fits_interval_95"]
    assert 1 - (1 - low) ** 4 - 4 * low**3 * (1 - low) < 0.9 < high < 1
    assert [(line["worth_it"], line["not_worth_it"]) for line in found["confusion"]] == [(1, 0), (1, 0), (0, 2)]
    assert found["correlation_minus_widefields_at_fail"]["mean"] == pytest.approx(0.15)
    assert told(rows[:2])["correlation_minus_widefields_at_fail"] is None
    text = markdown({"seeds": [1, 2], "sections": {"verdict": found, "dlsim": {"skipped": "absent"}}})
    assert "Fits: 75 % of 4" in text
    assert text.endswith("absent")


def test_what_is_spoilt_is_spoilt_as_said(folder: Path, tmp_path: Path) -> None:
    stack = Stack(Evaluator(folder), tmp_path / "stack", Scene(64, 2000.0, 5))
    image = np.zeros((128, 128))
    image[40:60, 30:50] = 1.0
    column = np.arange(128)
    apart = (moved(image, stack, 0).sum(0) @ column - image.sum(0) @ column) / image.sum()
    assert apart == pytest.approx(0.3, abs=0.02)
    mean = stack.electrons(0).mean(0)
    crisp = sharpened_widefield(image, stack, 0)
    assert crisp.mean() == pytest.approx(mean.mean(), rel=0.02)
    assert crisp.std() > 1.5 * mean.std()

"""The frozen evaluator on unseen seeds: ours and textbook fits on the same files, with confidence intervals."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import t as student

from judging.evaluator import Evaluator
from judging.mobility.textbook import textbook
from smartscope.processing import process_file

TASK = "smartscope_models.mobility.task:MobilityTask"
FIGURES = (
    "d_median_ratio", "d_median_ratio_confined", "d_median_ratio_brownian", "d_median_ratio_directed", "d_factor_68",
    "alpha_mae", "alpha_bias", "mss_slope_mae", "class_balanced_accuracy", "coverage",
)  # fmt: skip
TEXTBOOK = "textbook fits"
Figures = dict[str, dict[str, Any]]


def judged(
    evaluator: Evaluator, seeds: Sequence[int], peer_python: Path | None, simulate: Mapping[str, object]
) -> Figures:
    """By tool: mean of each figure over seeds and its 95 % interval. simulate: options of that simulation."""
    scores: dict[str, list[dict[str, Any]]] = {"ours": [], "ours, noise not told": [], TEXTBOOK: []}
    if peer_python:
        scores["trackpy imsd, textbook fits"] = []
    options = [text for key, value in simulate.items() for text in (f"--{key}", value)]
    with TemporaryDirectory() as folder:
        case = Path(folder)
        for seed in seeds:
            evaluator.run("mobility", "simulate", "--seed", seed, *options, "--out", case)
            for tool, kept in scores.items():
                estimates = _estimates(tool, case, evaluator, peer_python)
                kept.append(evaluator.run("mobility", "score", case / "truth.csv", estimates))
    return {
        tool: {name: interval([one[name] for one in kept if name in one]) for name in FIGURES}
        for tool, kept in scores.items()
    }


def interval(values: Sequence[float]) -> dict[str, float] | None:
    """Mean over seeds and its 95 % confidence interval (Student)."""
    if not values:
        return None
    mean, count = float(np.mean(values)), len(values)
    half = float(student.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _estimates(tool: str, case: Path, evaluator: Evaluator, peer_python: Path | None) -> Path:
    out, tracks, conditions = case / "estimates.csv", case / "tracks.csv", case / "conditions.json"
    if tool == "ours":
        process_file(TASK, tracks, out, None, None, [], None)
    elif tool.startswith("ours"):
        told = json.loads(conditions.read_text())
        del told["localisation_noise_nm"]
        less = case / "less.json"
        less.write_text(json.dumps(told))
        process_file(TASK, tracks, out, None, None, [f"conditions={less}"], None)
    elif tool == TEXTBOOK:
        textbook(tracks, conditions, out)
    else:
        runner = evaluator.folder / "peers" / "trackpy_mobility.py"
        clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        command = [str(peer_python), str(runner), str(tracks), str(conditions), "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True, env=clean)
    return out

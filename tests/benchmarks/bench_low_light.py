"""The demo at a third of the light, with and without the denoiser, beside full light: how well are objects followed?

``python tests/benchmarks/bench_low_light.py [--denoiser denoise_network:package=NAME] [--detector detect_spots:…]``

Constant light, no policies, every frame processed, in virtual time; the pipeline is that of `configs/demo.yaml`. What
was followed is scored by the frozen evaluator (``--evaluator DIR`` or SMARTSCOPE_EVALUATOR) against the specimen's
ground truth at the middle of each exposure, which the controller never sees. Prints JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from judging.bench import rounded, say
from judging.candidates import Ours
from judging.evaluator import Evaluator
from judging.figures import spread

from smartscope.app import run_experiment
from smartscope.config import ExperimentConfig, StageOfPipeline
from smartscope.doctor import machine
from smartscope.frame import Frame
from smartscope.loading import load
from smartscope.recorder.reader import RunReader

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
DENOISERS = ("denoise", "denoise_network")
FIRST_SEED = 401
ARMS = {"full": (1.0, False), "third": (1 / 3, False), "third_denoised": (1 / 3, True), "full_denoised": (1.0, True)}
"""Share of the light, and whether the denoiser is in the loop."""
FIGURES = ("link_jaccard", "hota", "idf1", "detection_precision", "detection_recall", "rmse_px", "id_switches")
Point = tuple[int, int, float, float]
"""Frame, identity, x_px, y_px."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is followed and how it is scored."""

    label: int
    gate_px: float
    margin_px: float
    """Left out along the field's edge: of an object that is cut there, nobody can see the centre."""


KINDS = {"spots": Kind(0, 4.0, 4.0), "cells": Kind(1, 30.0, 60.0)}


@dataclass(slots=True)
class Truth:
    """Where everything really was, gathered beside the run."""

    points: dict[str, list[Point]] = field(default_factory=lambda: {name: [] for name in KINDS})
    shape: tuple[int, int] = (0, 0)

    def __call__(self, rig: Any) -> None:
        """Look over the loop's shoulder; the microscope is the simulated one."""
        world, pass_on = rig.microscope.world, rig.loop.see_frame

        def see(frame: Frame) -> None:
            pass_on(frame)
            truth, roi = world.truth(frame.t_mid_ns), frame.settings.roi
            self.shape = (roi.height, roi.width)
            for name, places_um in (("spots", truth.specimen.spots_um), ("cells", truth.specimen.cells_um)):
                for number, (x_px, y_px) in enumerate(truth.to_pixels(places_um, roi).tolist()):
                    self.points[name].append((frame.index, number, x_px, y_px))

        rig.loop.see_frame = see


def configured(seed: int, light: float, denoised: bool, given: argparse.Namespace) -> ExperimentConfig:
    """The demo with constant light, a share of what it starts with, and the stages that were asked for."""
    quiet = ("clock=virtual", "bus.enabled=false", "recorder.frames=false")
    config = load(DEMO, [f"seed={seed}", f"frames={given.frames}", *quiet, *given.set])
    powers = {name: light * power_mw for name, power_mw in config.start.lights_mw.items()}
    stages = [_stage(stage, given) for stage in config.pipeline if denoised or stage.model not in DENOISERS]
    start = config.start.model_copy(update={"lights_mw": powers})
    return config.model_copy(update={"start": start, "pipeline": tuple(stages), "policies": ()})


def _stage(stage: StageOfPipeline, given: argparse.Namespace) -> StageOfPipeline:
    """As in the demo, or as named on the command line; options are YAML as everywhere."""
    for kinds, text in ((DENOISERS, given.denoiser), (("detect_spots",), given.detector)):
        if text and stage.model in kinds:
            asked = Ours.parse(text)
            return stage.model_copy(update={"model": asked.model, "options": dict(asked.options)})
    return stage


def run(config: ExperimentConfig, evaluator: Evaluator) -> dict[str, Any]:
    """Figures of one run."""
    truth = Truth()
    with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as name:
        folder = Path(name)
        run_experiment(config, output=folder / "run", on_rig=truth, schedule="every")
        rows = list(RunReader(folder / "run").results)
        quality = {
            key: float(np.median([row["quality"][key] for row in rows if key in row["quality"]]))
            for key in ("signal_to_noise", "signal_e", "background_e")
        }
        scores = {name: _score(evaluator, folder, truth, rows, name, kind) for name, kind in KINDS.items()}
    return {"frames": len(rows), **quality, **scores}


def _score(
    evaluator: Evaluator, folder: Path, truth: Truth, rows: Sequence[Any], name: str, kind: Kind
) -> dict[str, Any]:
    followed: list[Point] = []
    for row in rows:
        if (tracks := row["tracks"]) is None:
            continue
        columns = (tracks[key] for key in ("track_id", "x_px", "y_px", "label", "missed_frames"))
        for track_id, x_px, y_px, label, missed in zip(*columns, strict=True):
            if label == kind.label and missed == 0:
                followed.append((row["frame"], track_id, x_px, y_px))
    for file, points in (("truth.csv", truth.points[name]), ("tracks.csv", followed)):
        _write(folder / file, _in_view(points, truth.shape, kind.margin_px))
    found = evaluator.run("tracking", "score", folder / "truth.csv", folder / "tracks.csv", "--gate-px", kind.gate_px)
    return {key: found[key] for key in (*FIGURES, "points_truth", "tracks_truth")}


def _in_view(points: Iterable[Point], shape: tuple[int, int], margin_px: float) -> list[Point]:
    bottom, right = (length - 1 - margin_px for length in shape)
    return [point for point in points if margin_px <= point[2] <= right and margin_px <= point[3] <= bottom]


def _write(path: Path, points: Iterable[Point]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("frame", "track_id", "x_px", "y_px", "parent_id"))
        table.writerows((frame, number, f"{x:.4f}", f"{y:.4f}", -1) for frame, number, x, y in points)


def differences(runs: Sequence[dict[str, Any]], against: str = "full") -> dict[str, Any]:
    """Each arm minus full light without denoiser, seed by seed."""
    return {
        arm: {
            kind: {f: spread([run[arm][kind][f] - run[against][kind][f] for run in runs]) for f in FIGURES}
            for kind in KINDS
        }
        for arm in ARMS
        if arm != against
    }


def means(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Over the seeds."""
    return {
        arm: {
            kind: {figure: float(np.mean([run[arm][kind][figure] for run in runs])) for figure in FIGURES}
            for kind in KINDS
        }
        for arm in ARMS
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--denoiser", default="", help="MODEL[:KEY=VALUE,...] in place of the demo's")
    parser.add_argument("--detector", default="", help="the same for detect_spots, in every arm")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--evaluator", help="folder of the frozen evaluators")
    given = parser.parse_args()
    evaluator = Evaluator.at(given.evaluator)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    runs = []
    for seed in seeds:
        found: dict[str, Any] = {"seed": seed}
        for arm, (light, denoised) in ARMS.items():
            say(f"seed {seed} {arm}")
            found[arm] = run(configured(seed, light, denoised, given), evaluator)
        runs.append(found)
    figures = {
        "benchmark": "low_light",
        "machine": machine(),
        "seeds": list(seeds),
        "frames": given.frames,
        "denoiser": given.denoiser or "as in configs/demo.yaml",
        "detector": given.detector or "as in configs/demo.yaml",
        "mean": means(runs),
        "minus_full_light": differences(runs),
        "runs": runs,
    }
    print(json.dumps(rounded(figures), indent=1))


if __name__ == "__main__":
    main()

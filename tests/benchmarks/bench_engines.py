"""Every engine that is here on every shipped package: time, agreement with torch, decibels lost. Prints JSON.

``python tests/benchmarks/bench_engines.py [--packages NAME…] [--sizes 512 2048] [--evaluator DIR]``

Decibels are the frozen evaluator's PSNR on simulated scenes, through ``denoise_network``, minus that of the reference
(torch, fp32, CPU) on the same files; without an evaluator that part is left out and says so.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from judging.bench import rounded, say
from judging.candidates import Ours
from judging.cases import Case, Scene, stack
from judging.evaluator import Evaluator
from judging.figures import groups, spread

from smartscope.doctor import machine
from smartscope.errors import EngineError, SmartscopeError
from smartscope_models.engines import EngineName, Precision, findings
from smartscope_models.packages import find_packages, open_package
from smartscope_models.packages.tools import PackageTools

REFERENCE: tuple[EngineName, Precision] = ("torch", "fp32")
VARIANTS: tuple[tuple[EngineName, Precision], ...] = (
    REFERENCE,
    ("onnxruntime", "fp32"),
    ("onnxruntime", "fp16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "fp16"),
    ("tensorrt", "fp16"),
    ("tensorrt", "fp32"),
)
SCENES = ("mixed", "puncta")
ELECTRONS = (5.0, 20.0, 100.0)
ALLOWED_LOSS_DB = 0.05
Row = dict[str, Any]


def speeds(package: str, sizes: Sequence[int], frames: int) -> list[Row]:
    """Wall and processor time of the engine alone, as ``smartscope models bench`` takes them; or why there is none."""
    rows = []
    for (engine, precision), size in product(VARIANTS, sizes):
        say(f"{package} {engine} {precision} {size}")
        found = PackageTools().bench([package], [(size, size)], engine, precision, frames, lambda done, total: None)
        rows += [{"precision": precision, **row} for row in found["results"]]
    return rows


def losses(package: str, evaluator: Evaluator, seeds: Sequence[int]) -> list[Row]:
    """PSNR minus the reference's, and how far the outputs lie apart in units of what the reference takes away."""
    rows: list[Row] = []
    for scene, electrons, seed in product(SCENES, ELECTRONS, seeds):
        frames = open_package(package).manifest.history + 1
        with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as folder:
            case = Case(evaluator, Path(folder), Scene(scene, electrons, seed, frames=frames, size=256))
            rows += _apart(package, case)
    return rows


def _apart(package: str, case: Case) -> list[Row]:
    say(f"{package} {case.scene.row()}")
    reference, psnr_db = _output(package, case, *REFERENCE)
    taken_out = np.sqrt(np.mean((stack(case.noisy) - reference) ** 2))
    rows = []
    for engine, precision in VARIANTS[1:]:
        try:
            image, other_db = _output(package, case, engine, precision)
        except EngineError:
            continue  # ``speeds`` says why
        rms = np.sqrt(np.mean((image - reference) ** 2)) / taken_out
        apart = {"psnr_minus_reference_db": other_db - psnr_db, "relative_rms": float(rms)}
        largest = {"largest_adu": float(np.abs(image - reference).max())}
        rows.append({**case.scene.row(), "engine": engine, "precision": precision, **apart, **largest})
    return rows


def _output(package: str, case: Case, engine: EngineName, precision: Precision) -> tuple[np.ndarray, float]:
    options = {"package": package, "engine": engine, "precision": precision}
    denoised, _ = case.denoise(Ours("", "denoise_network", options))
    return stack(denoised), float(case.score(denoised)["psnr_db"])


def summary(rows: Sequence[Row]) -> list[Row]:
    """Per engine and precision, over scenes, light levels and seeds."""
    answers = []
    for (engine, precision), group in groups(rows, ("engine", "precision")).items():
        change = spread([row["psnr_minus_reference_db"] for row in group])
        answers.append(
            {
                "engine": engine,
                "precision": precision,
                "psnr_minus_reference_db": change,
                "largest_relative_rms": max(row["relative_rms"] for row in group),
                "largest_adu": max(row["largest_adu"] for row in group),
                "within_0.05_db": change["least"] >= -ALLOWED_LOSS_DB,
            }
        )
    return answers


def figures_of(package: str, given: argparse.Namespace, evaluator: Evaluator | None) -> Row:
    """Everything about one package."""
    try:
        task = open_package(package).manifest.task
    except SmartscopeError as error:
        return {"problem": error.line()}
    figures: Row = {"speed": speeds(package, given.sizes, given.frames)}
    if evaluator is None or task != "denoise":
        return {**figures, "losses": f"not measured: {'no evaluator' if evaluator is None else f'its task is {task}'}"}
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    rows = losses(package, evaluator, seeds)
    return {**figures, "losses": {"seeds": list(seeds), "summary": summary(rows), "rows": rows}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", nargs="*", help="names or paths; default: all that are shipped")
    parser.add_argument("--sizes", nargs="*", type=int, default=[512, 2048])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=701)
    parser.add_argument("--evaluator", help="folder of the frozen evaluators")
    given = parser.parse_args()
    try:
        evaluator = Evaluator.at(given.evaluator)
    except SystemExit as missing:
        say(str(missing))
        evaluator = None
    packages = given.packages or [str(folder) for folder in find_packages()]
    found = {Path(package).name: figures_of(package, given, evaluator) for package in packages}
    engines = {f.name: f"{f.version} on {f.why}" if f.usable else f"not usable: {f.why}" for f in findings()}
    figures = {"benchmark": "engines", "machine": machine(), "engines": engines, "packages": found}
    print(json.dumps(rounded(figures, 5), indent=1))


if __name__ == "__main__":
    main()

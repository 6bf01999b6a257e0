"""From a frame to its molecules and their density: wall and processor time of every frame in the live models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from judging.bench import say
from judging.figures import Row
from smartscope import plugins
from smartscope.calibration_files import read_instrument
from smartscope.frame import Frame
from smartscope.ports import Model
from smartscope.result import Result
from smartscope_models.movies import as_frame

from .bench import Bench
from .candidates import Ours
from .movies import Movie, Scene, simulated
from .picasso_peer import LIKELIHOOD, Picasso

STAGES = ("localize", "localization_meter")
SOME, FIRST = 200, 10
"""Frames that are measured, after these."""
GROWTH_PER_UM2 = (0.012, 0.12, 1.2)
GROWTH_PX = 128


def latency(bench: Bench) -> dict[str, Any]:
    """All sizes and densities, then how the cost grows with the number of molecules."""
    rows = []
    for size in bench.sizes:
        for density in bench.densities:
            with simulated(bench.evaluator, Scene(bench.seeds[0], density, 40, size)) as movie:
                rows += _everybody(bench, movie)
    return {"rows": rows, "growth": growth(bench)}


def _everybody(bench: Bench, movie: Movie) -> list[Row]:
    truth = movie.truth()
    cell = {
        "size": movie.scene.size,
        "density": movie.scene.density,
        "molecules": len(truth["frame"]) / movie.scene.frames,
    }
    rows = []
    for ours in bench.ours:
        say(f"latency {cell} {ours.label}")
        rows.append({**cell, "model": ours.label, **times(*live(ours, movie))})
    if bench.picasso:
        frames = movie.folder / "frames.npy"
        np.save(frames, movie.counts())
        said = Picasso(bench.picasso, LIKELIHOOD).ask_for(movie, frames, one_by_one=True)
        rows.append({**cell, "model": f"{LIKELIHOOD}, frame by frame", **times(said["wall_ms"], said["cpu_ms"])})
    return rows


def live(ours: Ours, movie: Movie, some: int = SOME) -> tuple[list[float], list[float]]:
    """Wall and CPU milliseconds of each frame through the stages, warmed up."""
    instrument = read_instrument(movie.camera_file, None)
    models: list[Model] = []
    for stage in STAGES:
        known = plugins.options_model(plugins.find("models", stage)).model_fields
        given = dict(pair.split("=", 1) for pair in ours.options if pair.split("=", 1)[0] in known)
        models.append(plugins.build("models", stage, given, instrument))
    counts = movie.counts()
    for model in models:
        model.warm_up(counts.shape[1:])
    frames = [as_frame(counts[number % len(counts)], number) for number in range(some + FIRST)]
    wall_ms, cpu_ms = [], []
    for number in range(len(frames)):
        began, began_cpu = time.perf_counter(), time.process_time()
        _step(models, frames, number)
        wall_ms.append(1e3 * (time.perf_counter() - began))
        cpu_ms.append(1e3 * (time.process_time() - began_cpu))
    return wall_ms[FIRST:], cpu_ms[FIRST:]


def _step(models: Sequence[Model], frames: Sequence[Frame], number: int) -> Result:
    result = Result(frames[number])
    for model in models:
        result = model.step(frames[max(0, number - model.history) : number + 1], result)
    return result


def times(wall_ms: Sequence[float], cpu_ms: Sequence[float]) -> Row:
    """Median and 99th percentile of both clocks."""
    (wall, worst), (cpu, worst_cpu) = (np.percentile(values, [50, 99]) for values in (wall_ms, cpu_ms))
    named = {"median_ms": wall, "p99_ms": worst, "cpu_ms": cpu, "p99_cpu_ms": worst_cpu}
    return {name: round(float(value), 3) for name, value in named.items()} | {"frames": len(wall_ms)}


def growth(bench: Bench) -> list[Row]:
    """One to a hundred times the molecules in the same field; cost over that of the fewest."""
    rows: list[Row] = []
    for density in GROWTH_PER_UM2:
        with simulated(bench.evaluator, Scene(bench.seeds[0], density, 40, GROWTH_PX)) as movie:
            molecules = len(movie.truth()["frame"]) / movie.scene.frames
            for ours in bench.ours:
                took = times(*live(ours, movie))
                start = next((row for row in rows if row["model"] == ours.label), None)
                grown = (
                    {"cost": took["cpu_ms"] / start["cpu_ms"], "times": molecules / start["molecules"]} if start else {}
                )
                row = {"density": density, "molecules": molecules, "model": ours.label, **took}
                rows.append({**row, **{"cost": 1.0, "times": 1.0, **grown}})
    return rows

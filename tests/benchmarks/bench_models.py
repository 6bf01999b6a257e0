"""What each classical model costs, as JSON: ``python tests/benchmarks/bench_models.py``, or through pytest.

Scene: a moving field of discs (cells) and spots, the same density at every size, drawn from a seed; models in the order
and with the options of a live pipeline, each fed by those before it. One thread.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from smartscope import plugins
from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Frame, Roi, Settings
from smartscope.ports import Instrument, Model
from smartscope.result import Result

PIPELINE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("quality", {}),
    ("denoise", {}),
    ("detect_cells", {}),
    ("detect_spots", {}),
    ("track", {}),
)
SEED = 1
SPOTS_PER_MEGAPIXEL = 800
CELLS_PER_MEGAPIXEL = 12
PERIOD_NS = 10_000_000
BUDGET_MS = 20.0
"""All five at 512 x 512, median."""


def movie(size: int, frames: int) -> list[Frame]:
    """Moving spots of 1.2 px and discs of 40 px, Poisson and read noise."""
    rng = np.random.default_rng(SEED)
    megapixels = size * size / 1e6
    spots = rng.uniform(8, size - 8, (round(SPOTS_PER_MEGAPIXEL * megapixels), 2))
    cells = rng.uniform(50, size - 50, (max(2, round(CELLS_PER_MEGAPIXEL * megapixels)), 2))
    made = []
    for index in range(frames):
        light = np.full((size, size), 5.0)
        for row, column in cells + 0.5 * index:
            _draw(light, row, column, 45, 30.0, lambda d: (d < 40).astype(float))
        spots = np.clip(spots + rng.normal(0, 0.8, spots.shape), 8, size - 8)
        for row, column in spots:
            _draw(light, row, column, 6, 60.0, lambda d: np.exp(-0.5 * (d / 1.2) ** 2))
        counts = (rng.poisson(light) + rng.normal(0, 1.6, light.shape)) / 0.46 + 100
        pixels = np.clip(np.rint(counts), 0, 65535).astype(np.uint16)
        start, settings = index * PERIOD_NS, Settings(10.0, Roi(0, 0, size, size))
        made.append(Frame(pixels, 0, index, index, settings, {}, start, start + PERIOD_NS, start + PERIOD_NS))
    return made


def _draw(light: np.ndarray, row: float, column: float, reach: int, height: float, shape: Any) -> None:
    top, left = max(0, int(row) - reach), max(0, int(column) - reach)
    part = light[top : int(row) + reach, left : int(column) + reach]
    y, x = np.mgrid[: part.shape[0], : part.shape[1]]
    part += height * shape(np.hypot(y + top - row, x + left - column))


def measure(size: int, frames: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of each model, and of all together, over ``repeats`` rounds of the movie."""
    instrument = Instrument(CameraCalibration(), OpticsConfig())
    models: dict[str, Model] = {name: plugins.build("models", name, options, instrument) for name, options in PIPELINE}
    scene = movie(size, frames)
    for model in models.values():
        model.warm_up((size, size))
    wall: dict[str, list[float]] = {name: [] for name in [*models, "all"]}
    cpu: dict[str, list[float]] = {name: [] for name in [*models, "all"]}
    found: Result | None = None
    for number in range(repeats * frames + 2):
        start = number * PERIOD_NS
        frame = replace(scene[_there_and_back(number, frames)], index=number, number=number, t_start_ns=start)
        result, total_wall, total_cpu = Result(replace(frame, t_end_ns=start + PERIOD_NS)), 0.0, 0.0
        for name, model in models.items():
            began, began_cpu = time.perf_counter(), time.thread_time()
            result = model.step([result.frame], result)
            took, took_cpu = 1e3 * (time.perf_counter() - began), 1e3 * (time.thread_time() - began_cpu)
            wall[name].append(took)
            cpu[name].append(took_cpu)
            total_wall, total_cpu = total_wall + took, total_cpu + took_cpu
        wall["all"].append(total_wall)
        cpu["all"].append(total_cpu)
        found = result
    assert found is not None
    assert found.detections is not None
    assert found.tracks is not None
    return {
        "frames": repeats * frames,
        "spots": int((found.detections.label == 0).sum()),
        "cells": int((found.detections.label == 1).sum()),
        "tracks": len(found.tracks),
        "models": {name: _summary(wall[name][2:], cpu[name][2:]) for name in wall},
    }


def _there_and_back(number: int, frames: int) -> int:
    """The movie forward, then backward, so that objects never jump."""
    place = number % (2 * frames - 2)
    return min(place, 2 * frames - 2 - place)


def _summary(wall: list[float], cpu: list[float]) -> dict[str, float]:
    median, p95, p99 = np.percentile(wall, [50, 95, 99])
    figures = {"median_ms": median, "p95_ms": p95, "p99_ms": p99, "cpu_ms_per_frame": np.mean(cpu)}
    return {name: round(float(value), 3) for name, value in figures.items()}


def all_figures() -> dict[str, Any]:
    """Both sizes, with the machine."""
    return {
        "seed": SEED,
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "load_1_min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        },
        "512": measure(512, frames=10, repeats=20),
        "2048": measure(2048, frames=4, repeats=5),
    }


@pytest.mark.benchmark
def test_the_pipeline_keeps_within_its_time() -> None:
    figures = all_figures()
    print(json.dumps(figures, indent=1))
    assert figures["512"]["models"]["all"]["median_ms"] <= BUDGET_MS


if __name__ == "__main__":
    print(json.dumps(all_figures(), indent=1))

"""Processor time of each step, one thread, ours and the peer's in turn, so that a busy machine slows both alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from judging.bench import say
from judging.figures import Row
from smartscope.optics.pattern_layout import Layout
from smartscope_models.structured_illumination.estimate import Estimator
from smartscope_models.structured_illumination.reconstruction import Reconstruction
from smartscope_models.structured_illumination.stack import StackReconstructor
from smartscope_models.structured_illumination.transfer import Optics

from .bench import Bench
from .stacks import Scene, Singles, simulated

Action = Callable[[], object]
RUNS = 3
"""In a row: as in a live loop, the caches know the program."""
LEVEL_E = 500.0
OUR, NUMPY, OPENCV = "ours: ", "peer, NumPy: ", "peer, OpenCV: "


def speed(bench: Bench) -> dict[str, Any]:
    """Every step at every size, and how the cost grows with the number of pixels."""
    torch.set_num_threads(1)
    rows = []
    for size in bench.sizes:
        with simulated(bench.evaluator, Scene(size, LEVEL_E, bench.seeds[0])) as stack:
            frames, lens = stack.electrons(0), stack.lens
        say(f"speed {size}")
        actions = {**_ours(frames, lens), **_peers(bench, frames, lens)}
        rows += [{"size": size, "step": step, **took} for step, took in timed(actions, bench.turns).items()]
    versions = bench.peer.versions() if bench.peer else None
    return {
        "rows": rows,
        "ratios": [ratios(rows, size) for size in bench.sizes],
        "growth": growth(bench),
        "peer": versions,
    }


def timed(actions: dict[str, Action], turns: int) -> dict[str, Row]:
    """CPU-ms of each action; the first run of each does not count. No clock where there is nothing to run."""
    took: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action()
    for _ in range(turns):
        for name, action in actions.items():
            for _ in range(RUNS):
                began = time.process_time()
                action()
                took[name].append(1e3 * (time.process_time() - began))
    return {name: _cost(values) for name, values in took.items()}


def _cost(cpu_ms: list[float]) -> Row:
    median, p99 = np.percentile(cpu_ms, [50, 99])
    return {"cpu_ms": round(float(median), 3), "p99_cpu_ms": round(float(p99), 3), "runs": len(cpu_ms)}


def _ours(electrons: Singles, lens: dict[str, Any]) -> dict[str, Action]:
    size, frames = electrons.shape[-1], torch.from_numpy(electrons)
    layout = Layout(lens["angles"], lens["phases"], lens["beams"])
    optics = Optics(lens["numerical_aperture"], lens["wavelength_nm"], lens["pixel_size_nm"])
    cutoff = optics.cutoff_per_px * size
    estimator, whole = Estimator(layout, size, cutoff), StackReconstructor(layout, size, optics)
    found = estimator.run(frames)

    def built() -> Reconstruction:
        return Reconstruction(layout, size, cutoff, found.parameters, found.power)

    def calibrated() -> Reconstruction:
        anew = estimator.run(frames)
        return Reconstruction(layout, size, cutoff, anew.parameters, anew.power)

    made = built()
    made.full(frames)
    steps: dict[str, Action] = {
        "full": lambda: made.full(frames),
        "estimate": lambda: estimator.run(frames),
        "estimate, known": lambda: estimator.run(frames, found.parameters),
        "filters": built,
        "estimate and filters": calibrated,
        "stack with verdict": lambda: whole.run(frames),
    }
    if hasattr(made, "rolling"):
        steps["rolling"] = lambda: made.rolling(4, frames[4])
    return {OUR + step: action for step, action in steps.items()}


def _peers(bench: Bench, electrons: Singles, lens: dict[str, Any]) -> dict[str, Action]:
    if bench.peer is None:
        return {}
    peer = bench.peer.processor(lens, electrons.shape[-1])
    peer.calibrate(electrons)
    peer.reconstruct_rfftw(electrons)
    frame = electrons[4]
    thorough = bench.peer.processor(lens, electrons.shape[-1])
    thorough.usePhases = True  # otherwise it takes the phases to be stepped evenly, which ours never does
    return {
        NUMPY + "full": lambda: peer.reconstruct_rfftw(electrons),
        NUMPY + "rolling": lambda: peer.reconstructframe_rfftw(frame, 4),
        NUMPY + "estimate and filters": lambda: peer.calibrate(electrons),
        NUMPY + "estimate and filters, phases": lambda: thorough.calibrate(electrons),
        OPENCV + "full": lambda: peer.reconstruct_ocv(electrons),
        OPENCV + "rolling": lambda: peer.reconstructframe_ocv(frame, 4),
    }


def ratios(rows: list[Row], size: int) -> Row:
    """What was asked; None where one of the two was not measured."""
    cost = {row["step"]: row["cpu_ms"] for row in rows if row["size"] == size}

    def over(one: str, other: str) -> float | None:
        return cost[one] / cost[other] if one in cost and other in cost else None

    return {
        "size": size,
        "full_numpy_over_ours": over(NUMPY + "full", OUR + "full"),
        "full_opencv_over_ours": over(OPENCV + "full", OUR + "full"),
        "rolling_numpy_over_ours": over(NUMPY + "rolling", OUR + "rolling"),
        "rolling_opencv_over_ours": over(OPENCV + "rolling", OUR + "rolling"),
        "rolling_over_full": over(OUR + "rolling", OUR + "full"),
        "estimate_cpu_ms": cost[OUR + "estimate"],
        "calibrate_numpy_over_ours": over(NUMPY + "estimate and filters", OUR + "estimate and filters"),
        "calibrate_phases_over_ours": over(NUMPY + "estimate and filters, phases", OUR + "estimate and filters"),
    }


def growth(bench: Bench) -> list[Row]:
    """The same picture again and again: cost per pixel over that of the smallest size."""
    smallest = min(bench.growth)
    with simulated(bench.evaluator, Scene(smallest, LEVEL_E, bench.seeds[0])) as stack:
        frames, lens = stack.electrons(0), stack.lens
    rows: list[Row] = []
    for size in bench.growth:
        say(f"growth {size}")
        times = -(-size // smallest)
        tiled = np.ascontiguousarray(np.tile(frames, (1, times, times))[:, :size, :size])
        chosen = {OUR + step for step in ("full", "rolling", "estimate", "stack with verdict")}
        actions = {name: action for name, action in _ours(tiled, lens).items() if name in chosen}
        for step, took in timed(actions, bench.turns if size < 1000 else 1).items():
            pixels = (size / smallest) ** 2
            start = next((row["cpu_ms"] for row in rows if row["step"] == step), took["cpu_ms"])
            times_cost = took["cpu_ms"] / start
            rows.append(
                {
                    "size": size,
                    "pixels": pixels,
                    "step": step,
                    **took,
                    "cost": times_cost,
                    "per_pixel": times_cost / pixels,
                }
            )
    return rows

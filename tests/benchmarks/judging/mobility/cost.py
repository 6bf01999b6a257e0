"""What a frame costs the live model, in CPU time, by the number of tracks and of verdicts it may give."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.ports import Instrument
from smartscope.result import Detections, Result, Tracks
from smartscope.testing.model_contract import a_frame
from smartscope_models.mobility import MobilityMeter

INTERVAL_NS = 50_000_000
BUDGETS = (1, 24, 200)


def cost(counts: Sequence[int], frames: int) -> dict[str, Any]:
    """Milliseconds of CPU per frame once all tracks have a full window: median and 99th percentile."""
    return {
        f"{count} tracks, {budget} verdicts a frame": _cost(count, budget, frames)
        for count in counts
        for budget in BUDGETS
    }


def _cost(count: int, budget: int, frames: int) -> dict[str, float]:
    model = MobilityMeter(
        Instrument(CameraCalibration(pixel_size_nm=100), OpticsConfig()),
        localisation_noise_nm=30,
        verdicts_per_frame=budget,
    )
    model.warm_up((16, 16))
    rng, spent = np.random.default_rng(1), []
    places, shape = rng.uniform(0, 2048, (2, count)), a_frame(np.zeros((16, 16), np.uint16))
    lit = replace(shape.settings, exposure_ms=40.0)
    for index in range(128 + frames):
        places += rng.normal(0, 1.0, places.shape)
        now = index * INTERVAL_NS
        frame = replace(shape, settings=lit, index=index, t_start_ns=now, t_end_ns=now + 40_000_000)
        so_far = _tracks(frame, *places.astype(np.float32))
        began_ns = time.process_time_ns()
        model.step([frame], so_far)
        spent.append((time.process_time_ns() - began_ns) / 1e6)
    late = np.array(spent[128:])
    return {"cpu_ms_median": float(np.median(late)), "cpu_ms_p99": float(np.percentile(late, 99))}


def _tracks(frame: Any, x: np.ndarray, y: np.ndarray) -> Result:
    column, whole = np.full(len(x), 0.3, np.float32), np.zeros(len(x), np.int32)
    ids = np.arange(len(x), dtype=np.int32)
    tracks = Tracks(ids, whole - 1, x, y, *([column] * 6), whole, whole, column, column, whole)
    return Result(frame, tracks=tracks, detections=Detections(x, y, column, column, whole))

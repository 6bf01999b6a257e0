"""From a frame in our hands to its published tracks: detector and tracker in the pipeline, and the bus's own work.

Wall time until the bus has taken the result, and processor time of the whole process, sender's thread included. A
collection of garbage falls on the frame that it falls on.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from judging.evaluator import Evaluator
from smartscope import plugins
from smartscope.bus.publisher import Publisher
from smartscope.clock import LiveClock
from smartscope.config import BusConfig, CameraCalibration, OpticsConfig
from smartscope.pipeline import Pipeline, Stage
from smartscope.ports import Instrument
from smartscope_models.movies import TiffMovie

OBJECTS, FRAMES, SPACING_PX = 1000, 120, 16.15
"""A field of 512² pixels."""
UNTIMED = 20
CAMERA = CameraCalibration(
    pixel_size_nm=100, offset_adu=100, electrons_per_adu=0.5, read_noise_e=1.0, quantum_efficiency=0.8
)
"""That of the evaluator's movies."""
DEADLINE_MS = 10_000.0


def frame_to_tracks(evaluator: Evaluator, seed: int, network: str | None, folder: Path) -> list[dict[str, Any]]:
    """With the classical detector, and with a network where its package is given."""
    case, options = folder / "frame_to_tracks", ("--objects", OBJECTS, "--frames", FRAMES, "--spacing-px", SPACING_PX)
    evaluator.run("tracking", "simulate", "particles", "--seed", seed, *options, "--snr", 5, "--movie", "--out", case)
    finders: list[dict[str, Any]] = [{"finder": "classical"}]
    finders += [{"finder": "network", "network": network}] if network else []
    return [_timed(case / "movie.tif", finder) for finder in finders]


def _timed(source: Path, finder: dict[str, Any]) -> dict[str, Any]:
    clock, instrument = LiveClock(), Instrument(CAMERA, OpticsConfig())
    detector = plugins.build("models", "detect", {"kinds": ("spot",), **finder}, instrument)
    tracker = plugins.build("models", "track", {}, instrument)
    pipeline = Pipeline(
        [Stage(name, model, DEADLINE_MS) for name, model in (("detect", detector), ("track", tracker))], clock
    )
    publisher = Publisher(BusConfig(events_port=0, data_port=0, control_port=0), "bench", clock, frame_bytes=2**20)
    wall_ms, cpu_ms, tracks, stages = [], [], [], []
    try:
        with TiffMovie(source) as movie:
            pipeline.warm_up(movie.shape)
            frames = list(movie.frames())
        for k in range(len(frames)):
            began, cpu_began = time.perf_counter_ns(), time.process_time_ns()
            result = pipeline.process(frames[max(0, k - pipeline.history) : k + 1])
            publisher.offer_result(result)
            wall_ms.append((time.perf_counter_ns() - began) / 1e6)
            cpu_ms.append((time.process_time_ns() - cpu_began) / 1e6)
            tracks.append(0 if result.tracks is None else int((result.tracks.missed_frames == 0).sum()))
            stages.append([(timing.ended_ns - timing.started_ns) / 1e6 for timing in result.timings])
    finally:
        publisher.close()
    detect, track = np.median(np.array(stages[UNTIMED:]), axis=0)
    seen = {"shape": movie.shape, "tracks_seen": float(np.median(tracks[UNTIMED:]))}
    figures = {"wall_ms": _figures(wall_ms), "cpu_ms": _figures(cpu_ms), "detect_ms": detect, "track_ms": track}
    return {**finder, **seen, **figures}


def _figures(values_ms: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(values_ms[UNTIMED:], (50, 99))
    return {"p50": float(p50), "p99": float(p99), "max": max(values_ms[UNTIMED:])}

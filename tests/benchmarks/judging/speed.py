"""What a frame costs in a live model's ``step``: one thread, processor time beside wall time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from smartscope import plugins
from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.ports import Instrument, Model
from smartscope.result import Result
from smartscope_models.movies import as_frame

from .bench import Bench, say
from .candidates import Ours
from .figures import Row, times

SIZES = {512: 40, 2048: 6}
"""Edge, pixels → frames."""


def speed(bench: Bench) -> dict[str, Any]:
    """Our models; the peers' times stand beside their scores."""
    return {"rows": [_timed(ours, size, count) for ours in bench.ours for size, count in SIZES.items()]}


def _timed(ours: Ours, size: int, count: int) -> Row:
    say(f"speed {ours.label} {size}")
    instrument = Instrument(CameraCalibration(), OpticsConfig())
    options = plugins.options_model(plugins.find("models", ours.model)).model_validate(ours.options).model_dump()
    model: Model = plugins.build("models", ours.model, {k: options[k] for k in ours.options}, instrument)
    rng = np.random.default_rng(1)
    light = 20 + 10 * np.sin(np.arange(size) / 9) * np.sin(np.arange(size)[:, None] / 7)
    counts = [(rng.poisson(light) / 0.46 + 100).astype(np.uint16) for _ in range(4)]
    frames = [as_frame(counts[number % 4], number) for number in range(count + 3)]
    model.warm_up((size, size))
    wall_ms, cpu_ms = [], []
    for number, frame in enumerate(frames):
        window = frames[max(0, number - model.history) : number + 1]
        began, began_cpu = time.perf_counter(), time.process_time()
        model.step(window, Result(frame))
        wall_ms.append(1e3 * (time.perf_counter() - began))
        cpu_ms.append(1e3 * (time.process_time() - began_cpu))
    return {"model": ours.label, "size": size, **times(wall_ms[3:], cpu_ms[3:])}

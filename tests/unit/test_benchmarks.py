"""`smartscope bench` counts what it says it counts."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from smartscope import benchmarks
from smartscope.benchmarks import EXPOSURE_MS, LONG_MS, Ears, _frames_until_effect, percentiles
from smartscope.command import Applied, MoveStage, SetExposure


def test_percentiles() -> None:
    assert percentiles(np.arange(101.0).tolist()) == {"n": 101, "p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    assert percentiles([]) == {"n": 0}


def heard(exposures_ms: list[float], commands: list[tuple[float, int]]) -> Ears:
    """Frames of these exposures one after the other; (exposure, frame during which it was commanded)."""
    ears = Ears()
    ends_ns = np.cumsum(np.array(exposures_ms) * 1e6).astype(int).tolist()
    ears.frames = [(index, 0, end_ns, end_ns) for index, end_ns in enumerate(ends_ns)]
    for exposure_ms, index in commands:
        command, during_ns = SetExposure(exposure_ms), ends_ns[index] - 500_000
        ears.applied.append(Applied(command, command, during_ns, during_ns))
    return ears


def test_frames_until_a_change_shows() -> None:
    short, long = [EXPOSURE_MS] * 5, [LONG_MS] * 5
    next_frame = heard(short + long + short, [(LONG_MS, 4), (EXPOSURE_MS, 9)])
    assert _frames_until_effect(next_frame) == {"n": 2, "p50": 1.0, "p95": 1.0, "p99": 1.0, "max": 1.0}
    assert _frames_until_effect(heard(short + long, [(LONG_MS, 2)]))["max"] == 3.0
    assert _frames_until_effect(heard(short * 4, [(LONG_MS, 2)])) == {"n": 0}


def test_only_exposures_are_counted() -> None:
    ears, move = heard([EXPOSURE_MS] * 4, []), MoveStage(0.0, 0.0)
    ears.applied.append(Applied(move, move, 0, 0))
    assert _frames_until_effect(ears) == {"n": 0}


def test_loop_figures_of_a_short_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # no DemoCamera: no second pair of runs
    figures = benchmarks.loop_figures(frames=40)
    assert figures["frames"] == 40
    simulated = figures["simulated"]
    assert simulated["lost"] == 0
    assert 1 < simulated["popped_to_dispatched_ms"]["n"] <= 40
    assert 0 < simulated["popped_to_dispatched_ms"]["p50"] <= simulated["popped_to_dispatched_ms"]["max"]
    assert simulated["frames_with_the_old_setting"]["n"] > 1
    assert 0 < simulated["frames_per_s"] < 1000 / EXPOSURE_MS


def test_the_demo_cameras_configuration_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert set(benchmarks._microscopes()) == {"simulated", "demo_camera"}
    assert benchmarks.demo_camera_cfg().is_file()

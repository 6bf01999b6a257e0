"""How long it takes, live, from the end of the frame that tells of an event to the camera's new pace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.app import run_experiment
from smartscope.decision import Decision
from smartscope.frame import Frame
from smartscope.loading import load
from smartscope.ports import Instrument
from smartscope.result import Result

CONFIG = Path(__file__).parents[4] / "configs" / "event_driven.yaml"
OURS = "smartscope.policies.event_driven:EventDrivenPolicy"
PERIOD_S = 4.0


class Square:
    """A stand-in for a detector whose signal is high for half of every four seconds."""

    history = 0
    reads: frozenset[str] = frozenset()

    def __init__(self, setup: Instrument) -> None:
        pass

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Nothing."""

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with the figure ``event``."""
        high = frames[-1].t_mid_ns / 1e9 % PERIOD_S < PERIOD_S / 2
        return replace(so_far, quality={**so_far.quality, "event": float(high)})


def trigger_latency(seconds: float) -> dict[str, Any]:
    """ms from frame in hand (and from the end of its exposure) to the pace changed, over all changes to fast."""
    config = load(CONFIG)
    stages = [stage.model_dump(mode="json") for stage in config.pipeline]
    stages.append({"model": "judging.event_driven.latency:Square"})
    (policy,) = (entry.model_dump(mode="json") for entry in config.policies)
    policy["policy"] = OURS
    policy["options"] |= {
        "figure": "event",
        "fast_at": 0.5,
        "slow_below": 0.4,
        "min_fast_s": 0,
        "slow_interval_ms": 500,
    }
    changes = [
        f"duration_s={seconds}",
        "bus.enabled=false",
        "recorder.enabled=false",
        f"pipeline={json.dumps(stages)}",
        f"policies={json.dumps([policy])}",
    ]
    ends: dict[int, int] = {}
    made: list[Decision] = []

    def look(rig: Any) -> None:
        see = rig.loop.see_frame

        def seen(frame: Frame) -> None:
            ends[frame.index] = frame.t_end_ns
            see(frame)

        rig.loop.see_frame = seen
        rig.diary.decision = made.append

    run_experiment(load(CONFIG, changes), on_rig=look)
    fast = [one for one in made if one.frame >= 0 and one.t_applied_ns and "from 0.5" in one.why]
    pace = [(one.t_applied_ns - ends[one.frame]) / 1e6 for one in fast]
    decision = [(one.t_ns - ends[one.frame]) / 1e6 for one in fast]
    return {
        "triggers": len(fast),
        "frame_end_to_decision_ms": _percentiles(decision),
        "frame_end_to_pace_ms": _percentiles(pace),
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{p}": float(np.percentile(values, p)) for p in (50, 95, 99)} if values else {}

"""What one frame costs in the tracker itself: processor time, by number of objects and by crowding."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from smartscope_models.tracking.following import Kind, Names

GATE_PX, LAG = 8.0, 3
FIELDS = ((100, 20.0, 100), (1000, 20.0, 150), (10_000, 20.0, 30), (1000, 12.0, 80), (1000, 10.0, 80), (1000, 8.0, 80))
"""Objects, mean spacing in px, frames."""
UNTIMED = 6


def link_step(seed: int) -> list[dict[str, Any]]:
    """Live linking and settling, apart; 5 % missed, 2 % false."""
    _field(200, 20.0, 10, seed)
    return [_field(count, spacing, frames, seed) for count, spacing, frames in FIELDS]


def _field(count: int, spacing_px: float, frames: int, seed: int) -> dict[str, Any]:
    rng, side = np.random.default_rng(seed), np.sqrt(count) * spacing_px
    home, bright = rng.uniform(0, side, (count, 2)), np.exp(rng.normal(0, 0.35, count))
    kind, names = Kind(GATE_PX, 3, LAG), Names()
    live_ms, settle_ms = [], []
    for t in range(frames):
        home = (home + rng.normal(0, 2, home.shape)) % side
        seen, false = rng.random(count) < 0.95, rng.uniform(0, side, (count // 50, 2))
        places = np.vstack([home[seen], false])
        light = np.concatenate([bright[seen], np.ones(len(false))]) * np.exp(rng.normal(0, 0.1, len(places)))
        began = time.process_time_ns()
        kind.advance(1.0)
        kind.link(places, np.full(len(places), 2.5), light, side * side, 1.0, names)
        between = time.process_time_ns()
        if t >= LAG:
            kind.settle(names)
        live_ms.append((between - began) / 1e6)
        settle_ms.append((time.process_time_ns() - between) / 1e6)
    cut = kind.live.cut_short
    named = {"objects": count, "spacing_px": spacing_px, "gate_px": GATE_PX, "frames": frames, "cut_short": cut}
    both_ms = [live + settle for live, settle in zip(live_ms, settle_ms, strict=True)]
    times = {"now": live_ms, "settle": settle_ms, "both": both_ms}
    return {**named, **{f"{part}_cpu_ms": _summary(values) for part, values in times.items()}}


def _summary(values_ms: list[float]) -> dict[str, float]:
    timed = np.array(values_ms[UNTIMED:])
    return {"median": float(np.median(timed)), "p99": float(np.percentile(timed, 99)), "worst": float(timed.max())}

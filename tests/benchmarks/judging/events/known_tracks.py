"""Tracks whose ways are known: as they always were, or changed at a known frame; and vesicles that never stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from track_helpers import table

from smartscope.frame import Frame
from smartscope.result import Result, Tracks
from smartscope.specimens.vesicles import Vesicles
from smartscope.testing.model_contract import a_frame

from .matching import Truth

RATE_HZ = 20.0
NOISE_PX = 0.2
CHANGES = {"faster": (3.2, 0.0), "directed": (1.0, 3.0)}
"""Steps so many times as large (ten times the diffusion); a drift of so many standard deviations in a frame."""
CHANGED_FRAMES = 40
_LATEST = 10**9
_BLANK = a_frame(np.zeros((16, 16), np.uint16))


def frame_at(index: int, rate_hz: float = RATE_HZ) -> Frame:
    """A frame without a picture."""
    start_ns = round(1e9 * index / rate_hz)
    return replace(_BLANK, index=index, number=index, t_start_ns=start_ns, t_end_ns=start_ns + 1000)


def told(index: int, ids: np.ndarray, places: np.ndarray, noise_px: float) -> Result:
    """As a tracker tells it."""
    columns = {"track_id": ids, "parent_id": -1, "x_px": places[:, 0], "y_px": places[:, 1], "sigma_px": noise_px}
    tracks: Tracks = table(Tracks, len(ids), **columns, steady=0.5, size_px=1.0, intensity=1000.0)
    return Result(frame_at(index), tracks=tracks)


def walkers(seed: int, frames: int, count: int, change: str = "") -> Iterator[tuple[Result, list[Truth]]]:
    """Brownian and steadily drifting tracks; with ``change``, each changes once and is then replaced."""
    rng = np.random.default_rng(seed)
    times, drift = CHANGES.get(change, (1.0, 0.0))
    places, step = rng.uniform(0, 500, (count, 2)), 0.7 * np.exp(rng.normal(0, 0.5, count))
    velocity = 0.6 * (rng.random(count) < 0.3)[:, None] * _ahead(rng, count)
    ids, when = np.arange(count), rng.integers(80, 230, count) if change else np.full(count, _LATEST)
    heading = _ahead(rng, count)
    for index in range(frames):
        over = index > when + CHANGED_FRAMES
        ids[over] = ids.max() + 1 + np.arange(over.sum())
        when[over] = index + rng.integers(80, 230, over.sum())
        places[over] = rng.uniform(0, 500, (over.sum(), 2))
        new = (index >= when)[:, None]
        noise = np.hypot(step, np.sqrt(2) * NOISE_PX)[:, None]
        places = places + velocity + np.where(new, drift * noise, 0) * heading
        places += rng.normal(size=(count, 2)) * step[:, None] * np.where(new, times, 1)
        events = [
            Truth("abnormal", index, index, *places[row].tolist(), int(ids[row]))
            for row in np.flatnonzero(when == index)
        ]
        yield told(index, ids, places + NOISE_PX * rng.normal(size=(count, 2)), NOISE_PX), events


def _ahead(rng: np.random.Generator, count: int) -> Any:
    angle = rng.uniform(0, 2 * np.pi, count)
    return np.column_stack([np.cos(angle), np.sin(angle)])


def restless(seed: int, frames: int, count: int) -> Iterator[Result]:
    """Vesicles in their three ways to move; none ever docks."""
    specimen, rng = Vesicles(seed, vesicles=count, dockings_per_min=0.0), np.random.default_rng(seed)
    for index in range(frames):
        specimen.advance((index + 0.5) / RATE_HZ)
        there = specimen.objects()
        places = 10 * np.column_stack([there.x_um, there.y_um]) + NOISE_PX * rng.normal(size=(count, 2))
        yield told(index, there.object_id, places, NOISE_PX)

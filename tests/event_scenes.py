"""Simple pictures and tracks with events at known frames, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from track_helpers import table

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Frame, Roi, Settings
from smartscope.ports import Instrument
from smartscope.result import EVENT_KINDS, EVENT_STATUS, Result, Tracks
from smartscope_models.events import EventDetector

INSTRUMENT = Instrument(CameraCalibration(electrons_per_adu=1.0), OpticsConfig())
SIZE = 96
INTERVAL_S = 0.05
BLANK = np.full((16, 16), 100, np.uint16)


def frame_at(index: int, pixels: np.ndarray = BLANK, interval_s: float = INTERVAL_S, **settings: Any) -> Frame:
    """A frame in its turn."""
    height, width = pixels.shape
    start_ns = round(1e9 * index * interval_s)
    told = replace(Settings(10.0, Roi(0, 0, width, height), {"laser": 1.0}), **settings)
    return Frame(pixels, 0, index, index, told, {}, start_ns, start_ns + 10_000_000, start_ns + 10_000_000)


def tracked(frame: Frame, places: np.ndarray, ids: Sequence[int] | None = None, **columns: Any) -> Result:
    """Tracks (N, 2), seen in this frame."""
    told = {"track_id": np.arange(len(places)) if ids is None else ids, "sigma_px": 0.2, **columns}
    return Result(frame, tracks=table(Tracks, len(places), parent_id=-1, x_px=places[:, 0], y_px=places[:, 1], **told))


def heard(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Everything told, row by row."""
    rows = []
    for result in results:
        events = result.events
        for k in range(0 if events is None else len(events)):
            row = {name: getattr(events, name)[k].item() for name in ("event_id", "onset_frame", "x_px", "y_px")}
            row |= {"probability": float(events.probability[k]), "track_id": int(events.track_id[k])}
            row |= {"kind": EVENT_KINDS[events.kind[k]], "status": EVENT_STATUS[events.status[k]]}
            rows.append({**row, "told": result.frame.index, "other_id": int(events.other_id[k])})
    return rows


def walk(frames: int, count: int, seed: int = 0, step_px: float = 0.7) -> np.ndarray:
    """(F, N, 2) places of Brownian objects, with an error of 0.2 px."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 200, (1, count, 2)) + np.cumsum(rng.normal(0, step_px, (frames, count, 2)), axis=0)
    return np.asarray(places)


def seen(places: np.ndarray, seed: int = 1) -> np.ndarray:
    """With the error of a detector."""
    return places + np.random.default_rng(seed).normal(0, 0.2, places.shape)


def run(model: EventDetector, places: np.ndarray) -> list[Result]:
    """Places (F, N, 2) frame by frame."""
    return [model.step([frame_at(k)], tracked(frame_at(k), there)) for k, there in enumerate(places)]


def spot(x: float, y: float, electrons: float, sigma_px: float, size: int = SIZE) -> np.ndarray:
    """Expected electrons of a Gaussian spot."""
    row, column = np.mgrid[:size, :size]
    square = (column - x) ** 2 + (row - y) ** 2
    return np.asarray(electrons / (2 * np.pi * sigma_px**2) * np.exp(-0.5 * square / sigma_px**2))


def tube(x0: float, x1: float, y: float, neck: float = 0.0, at: float = 0.0, size: int = SIZE) -> np.ndarray:
    """Expected electrons of a straight tube along x; at ``at`` a constriction takes this part of its light."""
    row, column = np.mgrid[:size, :size].astype(float)
    across = np.exp(-0.5 * ((row - y) / 1.6) ** 2)
    along = 1 / (1 + np.exp(-(column - x0))) / (1 + np.exp(column - x1))
    return np.asarray(500 * across * along * (1 - neck * np.exp(-0.5 * ((column - at) / 2.8) ** 2)))


def exposed(expected: np.ndarray, seed: int, background: float = 10.0) -> np.ndarray:
    """A camera frame: shot noise, read noise, an offset of 100."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(expected + background) + rng.normal(0, 1.6, expected.shape) + 100
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)

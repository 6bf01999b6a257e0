"""From tracks, frame by frame, to how they move: places in the specimen, the pace of frames, verdicts in turn."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Annotated

import numpy as np
from pydantic import Field

from smartscope.frame import Certainty, Frame
from smartscope.ports import Instrument
from smartscope.result import Result
from smartscope_models.mobility.judging import judge_due
from smartscope_models.mobility.places import seen_places
from smartscope_models.mobility.store import SET, Doubles, Store, empty_store, push
from smartscope_models.mobility.table import CLASSES, Mobility, table_of

TOLD_SPREAD, GUESSED_SPREAD = 0.3, 0.7
"""How far a localisation error may be wrong, as a logarithm: given by the user; taken from the tracks' own errors."""
PATIENCE = 50
"""Frames unseen after which a track gives up its memory when another needs it."""
RECENT = 10
"""Frames since a track was seen within which it counts in the figures."""
OFF_PACE = 0.2
"""Frames that are so much faster or slower than the others, eight in a row, set a new pace."""


class MobilityMeter:
    """Adds diffusion, anomalous exponent and the shares of confined, Brownian and directed tracks to ``quality``.

    ``table`` tells them of every track. Each track is judged when it has 8 points and again as it grows, at most
    ``verdicts_per_frame`` in one frame, in turn. Frames during which the stage moved, and tracks that were not seen,
    add nothing.

    Options:
        window_points: the last points of a track on which its verdict rests.
        capacity_tracks: tracks remembered at most; about half of it can be used before some are turned away.
        verdicts_per_frame: bounds the time that a frame takes (about 0.25 ms each).
        localisation_noise_nm: error of a place along an axis; taken from the tracks where not given.
    """

    history = 0
    reads = frozenset({"tracks", "detections"})

    def __init__(
        self,
        setup: Instrument,
        *,
        window_points: Annotated[int, Field(ge=16, le=4096)] = 128,
        capacity_tracks: Annotated[int, Field(ge=SET, le=1_000_000)] = 32_768,
        verdicts_per_frame: Annotated[int, Field(ge=1, le=100_000)] = 24,
        localisation_noise_nm: Annotated[float, Field(gt=0, le=1e5)] | None = None,
    ) -> None:
        self._pixel_um = setup.camera.pixel_size_nm / 1000
        affine = setup.stage_affine or ((self._pixel_um, 0.0), (0.0, self._pixel_um))
        self._px_of_um: Doubles = np.linalg.inv(np.array(affine))
        self._store = empty_store(-(-capacity_tracks // SET) * SET, window_points)
        self._room = np.empty((3, window_points))
        self._budget = verdicts_per_frame
        self._told_um = None if localisation_noise_nm is None else localisation_noise_nm / 1000
        self._noise_um = self._told_um or 0.0
        self._pace = Pace()
        self._cursor = 0
        self._now_s = self._exposure_s = 0.0
        self._turned_away = 0

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile; what is remembered is not touched."""
        rehearsal, room, rng = empty_store(SET, 16), np.empty((3, 16)), np.random.default_rng(0)
        for k in range(12):
            push(rehearsal, np.zeros(1, np.int64), rng.normal(size=1), rng.normal(size=1), float(k), 1.0, 50.0)
        judge_due(rehearsal, 0, 1, 1.0, 0.5, 0.1, 0.3, room)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with the figures, as soon as a track has been judged."""
        frame, tracks = frames[-1], so_far.tracks
        if self._pace.beat(frame):
            self._store.forget_moments()
        interval_s = self._pace.interval_s
        if tracks is None or not interval_s or frame.certainty.get("xy") is Certainty.MIXED:
            return so_far
        self._now_s, self._exposure_s = frame.t_mid_ns / 1e9, max(frame.settings.exposure_ms / 1000, 0.0)
        seen = np.flatnonzero(tracks.missed_frames == 0)
        self._listen(tracks.sigma_px[seen])
        x, y = seen_places(tracks, so_far.detections)
        places = (np.column_stack([x[seen], y[seen]]) + self._origin(frame)) * self._pixel_um
        ids = tracks.track_id[seen].astype(np.int64)
        x_um, y_um = np.ascontiguousarray(places.T)
        self._turned_away = push(self._store, ids, x_um, y_um, self._now_s, interval_s, PATIENCE * interval_s)
        if self._noise_um > 0:
            self._judge(interval_s)
        return replace(so_far, quality={**so_far.quality, **self._figures(interval_s)})

    def table(self) -> Mobility:
        """What is known of every track remembered, those not judged yet included; a copy."""
        store = self._store
        kept = np.flatnonzero(store.track_id >= 0)
        ids, points = store.track_id[kept], store.points[kept]
        exposure = min(self._exposure_s / self._pace.interval_s, 1.0) if self._pace.interval_s else 0.0
        return table_of(ids, points, store.verdict[kept], store.sums[kept], self._noise_um, exposure)

    def _judge(self, interval_s: float) -> None:
        spread = GUESSED_SPREAD if self._told_um is None else TOLD_SPREAD
        exposure_s, noise_um = self._exposure_s, self._noise_um
        self._cursor = judge_due(
            self._store, self._cursor, self._budget, interval_s, exposure_s, noise_um, spread, self._room
        )

    def _listen(self, sigma_px: np.ndarray) -> None:
        """Learn the localisation error from the tracks, slowly, where it was not told."""
        good = sigma_px[np.isfinite(sigma_px) & (sigma_px > 0)]
        if self._told_um is None and len(good):
            now_um = float(np.median(good)) * self._pixel_um
            self._noise_um = now_um if not self._noise_um else 0.95 * self._noise_um + 0.05 * now_um

    def _origin(self, frame: Frame) -> Doubles:
        """(2,) specimen coordinates, in sensor pixels, of the frame's top-left pixel."""
        settings = frame.settings
        stage: Doubles = self._px_of_um @ np.array([settings.x_um, settings.y_um])
        origin: Doubles = stage + np.array([settings.roi.x, settings.roi.y])
        return origin

    def _figures(self, interval_s: float) -> dict[str, float]:
        """Of the tracks seen in the last frames that have a verdict."""
        store: Store = self._store
        judged = np.flatnonzero((store.track_id >= 0) & (store.judged_at > 0) & np.isfinite(store.verdict[:, 0]))
        newest = store.ring[judged, (store.points[judged] - 1) % store.ring.shape[1], 0]
        verdicts = store.verdict[judged[np.abs(self._now_s - newest) <= RECENT * interval_s]]
        figures = {"mobility_tracks": float(len(verdicts)), "mobility_turned_away": float(self._turned_away)}
        if len(verdicts):
            figures["mobility_diffusion_um2_s"] = float(np.median(verdicts[:, 0]))
            figures["mobility_alpha"] = float(np.median(verdicts[:, 2]))
            shares = verdicts[:, -len(CLASSES) :].mean(axis=0)
            figures |= {f"mobility_{name}_share": float(share) for name, share in zip(CLASSES, shares, strict=True)}
        return {name: value for name, value in figures.items() if math.isfinite(value)}


class Pace:
    """Time from frame to frame."""

    def __init__(self) -> None:
        self.interval_s = 0.0
        """0 until it is known."""
        self._last_ns: int | None = None
        self._off: deque[float] = deque(maxlen=8)

    def beat(self, frame: Frame) -> bool:
        """Take in a frame; whether the pace has changed. Time that stands still or runs back says nothing."""
        elapsed_s = 0.0 if self._last_ns is None else (frame.t_mid_ns - self._last_ns) / 1e9
        self._last_ns = frame.t_mid_ns
        if elapsed_s <= 0:
            return False
        elapsed_s /= frame.lost_before + 1
        if not self.interval_s:
            self.interval_s = elapsed_s
            return False
        if abs(elapsed_s - self.interval_s) <= OFF_PACE * self.interval_s:
            self._off.clear()
            return False
        self._off.append(elapsed_s)
        if len(self._off) < 8:
            return False
        self.interval_s = median(self._off)
        self._off.clear()
        return True

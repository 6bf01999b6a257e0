"""Simulated objects through the live tracker and the policy's own forecast, as the loop would have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Frame, Roi, Settings
from smartscope.policies.motion import Motion
from smartscope.policies.targets import Candidate
from smartscope.policies.view import View
from smartscope.ports import Instrument
from smartscope.result import Detections, Result
from smartscope.testing.policy_contract import context
from smartscope_models.tracking import KalmanTracker

from .motions import Floats

PERIOD_NS = 20_000_000
FIELD_PX = 3000.0
"""Each run has a square of this edge to itself, so that no object meets another."""
INSTRUMENT = Instrument(CameraCalibration(pixel_size_nm=1000), OpticsConfig())
"""A pixel is a micrometre: what comes out is in pixels."""
FIRST = 3
"""Frames before this one are not judged: a finite difference over three frames needs them."""


def forecasts(seen: Floats, delays: tuple[int, ...]) -> dict[int, Floats]:
    """Delay in frames -> (frames, runs, 2) places that the policy forecasts; NaN where the track was lost.

    seen: (frames, runs, 2) localised places. A track that loses its identity begins again with nothing known.
    """
    frames, runs, _ = seen.shape
    side = int(np.ceil(np.sqrt(runs)))
    corner = (np.column_stack(np.divmod(np.arange(runs), side)) + 0.5) * FIELD_PX
    tracker, motions = KalmanTracker(INSTRUMENT), dict[int, Motion]()
    found = {delay: np.full(seen.shape, np.nan) for delay in delays}
    for t in range(frames):
        for run, one in _tracked(tracker, t, seen[t] + corner, side).items():
            known = motions.get(one.track_id)
            motions[one.track_id] = now = Motion.begun(one.sighting) if known is None else known.seen(one.sighting)
            for delay in delays:
                ahead = now.forecast((t + delay) * PERIOD_NS)
                found[delay][t, run] = np.array(ahead.place_um) - corner[run]
    return found


def _tracked(tracker: KalmanTracker, t: int, places: Floats, side: int) -> dict[int, Candidate]:
    """Run -> what the policy is shown of its track in frame ``t``."""
    edge = int(side * FIELD_PX)
    settings = Settings(PERIOD_NS / 1e6, Roi(0, 0, edge, edge))
    pixels = np.broadcast_to(np.uint16(0), (edge, edge))  # nobody looks at them
    half_ns, mid_ns = PERIOD_NS // 2, t * PERIOD_NS
    frame = Frame(pixels, 0, t, t, settings, {}, mid_ns - half_ns, mid_ns + half_ns, mid_ns + half_ns)
    x, y = places.astype(np.float32).T
    one = np.ones(len(places), np.float32)
    result = Result(frame, detections=Detections(x, y, one, 1000 * one, np.zeros(len(places), np.int32)))
    result = tracker.step([frame], result)
    assert result.tracks is not None
    given = replace(context(), result=result, settings=settings, instrument=INSTRUMENT, sensor_shape=(edge, edge))
    shown = View(given, by_stage=False).candidates(result.tracks, "spot")
    columns = (np.array([candidate.place_um for candidate in shown]) // FIELD_PX).astype(int)
    return {int(column * side + row): one for (column, row), one in zip(columns, shown, strict=True)}


def rivals(seen: Floats, delay: int) -> dict[str, Floats]:
    """(frames, runs, 2) places that the simplest predictors give, from the localisations themselves."""
    held, slope = seen.copy(), np.zeros_like(seen)
    slope[FIRST:] = (seen[FIRST:] - seen[:-FIRST]) / FIRST
    return {"hold_last": held, "finite_difference": seen + delay * slope}


def rms_px(predicted: Floats, truth: Floats, delay: int) -> float:
    """Root-mean-square distance from where the object truly is ``delay`` frames later."""
    error = predicted[FIRST : len(truth) - delay] - truth[FIRST + delay :]
    squared = (error**2).sum(-1)
    return float(np.sqrt(np.nanmean(squared)))

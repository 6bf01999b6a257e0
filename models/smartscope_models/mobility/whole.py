"""Finished tracks, all at once: the table that the live model would have in the end, with every track judged last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartscope_models.mobility.judging import judge_tracks
from smartscope_models.mobility.store import Doubles, Longs, empty_store
from smartscope_models.mobility.table import Mobility, table_of
from smartscope_models.mobility.verdict import ESTIMATES


@dataclass(frozen=True, slots=True)
class Conditions:
    """How tracks were taken."""

    interval_s: float
    """From frame to frame."""
    exposure_s: float
    """At most the interval."""
    noise_um: float
    """Localisation error per axis, one standard deviation."""
    noise_spread: float = 0.3
    """How far that may be wrong, one standard deviation of its logarithm."""

    @property
    def exposure(self) -> float:
        """Share of the interval."""
        return min(self.exposure_s / self.interval_s, 1.0)


def whole_tracks(
    track_id: Longs, time_s: Doubles, x_um: Doubles, y_um: Doubles, conditions: Conditions, window: int = 1024
) -> Mobility:
    """Every track of columns (P,) in any order; of longer tracks the last ``window`` points count.

    Rows with a place that is not finite are passed over. Tracks too short for a verdict have NaN in it.
    """
    finite = np.isfinite(time_s) & np.isfinite(x_um) & np.isfinite(y_um)
    order = np.flatnonzero(finite)[np.lexsort((time_s[finite], track_id[finite]))]
    ids, first = np.unique(track_id[order], return_index=True)
    first = np.append(first, len(order)).astype(np.int64)
    longest = int(np.diff(first).max(initial=8))
    store = empty_store(16, max(8, min(window, longest)))
    verdicts = np.full((len(ids), len(ESTIMATES)), np.nan)
    sums, points = np.zeros((len(ids), *store.sums.shape[1:])), np.zeros(len(ids), np.int64)
    facts = np.array([conditions.interval_s, conditions.exposure_s, conditions.noise_um, conditions.noise_spread])
    times, x, y = (np.ascontiguousarray(column[order], np.float64) for column in (time_s, x_um, y_um))
    judge_tracks(store, first, ids.astype(np.int64), times, x, y, facts, verdicts, sums, points)
    return table_of(ids.astype(np.int64), points, verdicts, sums, conditions.noise_um, conditions.exposure)


def guess_noise(
    track_id: Longs, time_s: Doubles, x_um: Doubles, y_um: Doubles, interval_s: float, exposure_s: float
) -> Conditions:
    """Conditions with the localisation error that all tracks agree on, where nobody told it: a median of their fits.

    The fits begin with a third of the typical step, and may leave it by a factor of 7 (two standard deviations).
    """
    order = np.lexsort((time_s, track_id))
    same = np.diff(track_id[order]) == 0
    steps = np.hypot(np.diff(x_um[order]), np.diff(y_um[order]))[same]
    step_um = float(np.median(steps)) if len(steps) else 0.0
    first = Conditions(interval_s, exposure_s, max(step_um / 3, 1e-6), 1.0)
    found = whole_tracks(track_id, time_s, x_um, y_um, first)
    noise_um = found.noise_nm[np.isfinite(found.noise_nm)] / 1000
    return Conditions(interval_s, exposure_s, float(np.median(noise_um))) if len(noise_um) else first

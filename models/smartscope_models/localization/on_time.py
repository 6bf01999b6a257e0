"""How long molecules stay on: the chance that one seen in a frame is seen again in the next, and in the one after.

The time on is exponential, with mean tau, and begins anywhere within a frame. What part of a frame a molecule must be
on for to be found is not known, but it is the same in each: so from the second sighting on the chance to be on in the
next frame is q = exp(-interval / tau), whatever that part is and whatever the phase. First sightings are not counted.

A molecule that is on is missed with probability m. Seen again at once: a = q (1 - m); not at once but in the frame
after: b = q^2 m (1 - m). Hence q = a + b / a, and m is not needed. Another molecule may come to lie in the same place;
how often it does is what returns at the fourth and fifth frame say, and is taken out of both.

A frame that was never processed makes an interval longer. With intervals of mean u and variance v the chance is
q = exp(-u / tau + v / (2 tau^2)) to second order, which is solved for tau.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from smartscope_models.localization.molecules import Molecules
from smartscope_models.tracking.grid import bin_points

LINK = 3.0
"""Standard errors of the difference within which two localisations are one molecule."""
LEAST_NM, MOST_NM = 1.0, 50.0
"""Errors are taken to lie between; so does one that is not known."""
UNKNOWN_NM = 20.0
LAGS = 5
BRIDGED = 2
"""Frames after which a molecule that returns is still on; later it is another one."""
CHANCE = slice(4, 6)
"""Lags at which whatever returns came by chance."""
LONGEST = 100
"""Sightings after which a molecule counts no more: it may be a bead."""
REMEMBERED = 20_000
"""When so many chances have been counted, all counts are halved: the on-time follows the light."""
FEWEST = 100
PAUSE = 6.0
"""Intervals without a frame after which nobody is known any more."""
SURE = 0.3
"""Relative error above which an on-time is not told."""

TRACK = np.dtype([("x", "f8"), ("y", "f8"), ("error", "f8"), ("missed", "i4"), ("seen", "i4")])
"""A molecule that was seen: where and how surely (nm), frames since it was last seen, sightings."""


@dataclass(frozen=True, slots=True)
class MeanOnTime:
    """Mean of an exponential time on, and its standard error."""

    on_time_ms: float
    error_ms: float


class OnTime:
    """Links the molecules of each frame to those of the frames before it; cost grows with their number alone."""

    def __init__(self) -> None:
        self._tracks, self._spare = np.empty(256, TRACK), np.empty(256, TRACK)
        self._count = 0
        self._t_s, self._exposure_ms = -math.inf, 0.0
        self._forget_counts()

    def lose_sight(self) -> None:
        """Who was on is gone: the camera looks elsewhere. What was counted stays."""
        self._count = 0

    def take(self, found: Molecules, exposure_ms: float) -> None:
        """The molecules of the next frame; another exposure begins the counts anew, a pause forgets who was on."""
        if exposure_ms != self._exposure_ms:
            self._exposure_ms = exposure_ms
            self._forget_counts()
            self.lose_sight()
        interval_s, self._t_s = found.t_s - self._t_s, found.t_s
        usual_s = self._interval_sums[0] / self._trials[1] if self._trials[1] else exposure_ms / 1e3
        if not 0 < interval_s < PAUSE * usual_s:
            self.lose_sight()
        self._make_room(self._count + len(found))
        before = self._trials[1]
        places = np.column_stack((found.x_nm, found.y_nm))
        error = np.clip(np.where(found.error_nm > 0, found.error_nm, UNKNOWN_NM), LEAST_NM, MOST_NM)
        self._count = _follow(self._tracks, self._count, self._spare, places, error, self._trials, self._hits)
        self._tracks, self._spare = self._spare, self._tracks
        fresh = self._trials[1] - before
        if fresh:
            self._interval_sums += fresh * interval_s, fresh * interval_s**2
        if self._trials[1] > REMEMBERED:
            for counts in (self._trials, self._hits, self._interval_sums):
                counts *= 0.5

    @property
    def mean(self) -> MeanOnTime | None:
        """None where too few molecules were seen more than once."""
        if self._trials[1] < FEWEST or self._trials[2] < 1:
            return None
        chance_trials = max(float(self._trials[CHANCE].sum()), 1.0)
        chance = min(float(self._hits[CHANCE].sum()) / chance_trials, 0.5)
        (again, later), (trials, later_trials) = self._hits[1:3] / self._trials[1:3], self._trials[1:3]
        a, h = ((seen - chance) / (1 - chance) for seen in (again, later))
        if a <= 0:
            return None
        h = max(h, 0.0)
        q = a + h * (1 - a) / a
        by_a, by_h = 1 - h / a**2, (1 - a) / a
        by_chance = (by_a * (1 - again) + by_h * (1 - later)) / (1 - chance) ** 2
        variance = (by_a / (1 - chance)) ** 2 * _binomial_variance(again, trials)
        variance += (by_h / (1 - chance)) ** 2 * _binomial_variance(later, later_trials)
        variance += by_chance**2 * _binomial_variance(chance, chance_trials)
        return self._of_survival(q, math.sqrt(variance))

    def _of_survival(self, q: float, error: float) -> MeanOnTime | None:
        mean_s, mean_square = self._interval_sums / self._trials[1]
        spread = max(mean_square - mean_s**2, 0.0)
        within = mean_s**2 + 2 * spread * math.log(q) if q < 1 else -1.0
        if within <= 0:
            return None
        rate = -2 * math.log(q) / (mean_s + math.sqrt(within))
        error_s = error / (rate**2 * q * (mean_s - rate * spread))
        return MeanOnTime(float(1e3 / rate), float(1e3 * error_s)) if error_s * rate <= SURE else None

    def _forget_counts(self) -> None:
        self._trials, self._hits = np.zeros(LAGS + 1), np.zeros(LAGS + 1)
        self._interval_sums = np.zeros(2)

    def _make_room(self, rows: int) -> None:
        if rows > len(self._spare):
            self._spare = np.empty(2 * rows, TRACK)
            grown = np.empty(2 * rows, TRACK)
            grown[: self._count] = self._tracks[: self._count]
            self._tracks = grown


def _binomial_variance(share: float, trials: float) -> float:
    """Of a share of so many trials; Laplace's rule keeps it above 0."""
    likely = (share * trials + 1) / (trials + 2)
    return likely * (1 - likely) / trials


@njit(nogil=True, cache=True)
def _follow(tracks, count, after, places, error, trials, hits):  # type: ignore[no-untyped-def]
    """Link ``count`` tracks to places (N, 2) with their error (N,); ``after`` takes the tracks as they stand then.

    Tracks that were seen often choose before those seen once, and those before tracks that are over.
    """
    filled, found = 0, len(places)
    free = np.ones(found, np.bool_)
    cell = LINK * math.sqrt(2.0) * MOST_NM
    if found:
        cell = max(cell, _span(places) / 512)
        low, rows, columns, first, order = bin_points(places, cell)
    for rank in range(3):
        for n in range(count):
            track = tracks[n]
            over, lag = track.missed >= BRIDGED, track.missed + 1
            if rank != (2 if over else (0 if track.seen >= 2 else 1)):
                continue
            best = -1
            if found:
                best = _nearest(track, places, error, free, cell, low, rows, columns, first, order)
            if 2 <= track.seen < LONGEST:
                trials[lag] += 1
                hits[lag] += best >= 0
            if best >= 0 and not over:
                free[best] = False
                _put(after[filled], places[best], error[best], 0, track.seen + 1)
                filled += 1
            elif best < 0 and lag < (LAGS if track.seen >= 2 else BRIDGED):
                after[filled] = track
                after[filled].missed = lag
                filled += 1
    for n in range(found):
        if free[n]:
            _put(after[filled], places[n], error[n], 0, 1)
            filled += 1
    return filled


@njit(nogil=True, cache=True)
def _put(track, place, error, missed, seen):  # type: ignore[no-untyped-def]
    track.x, track.y, track.error, track.missed, track.seen = place[0], place[1], error, missed, seen


@njit(nogil=True, cache=True)
def _span(places):  # type: ignore[no-untyped-def]
    x, y = places[:, 0], places[:, 1]
    return max(x.max() - x.min(), y.max() - y.min())


@njit(nogil=True, cache=True)
def _nearest(track, places, error, free, cell, low, rows, columns, first, order):  # type: ignore[no-untyped-def]
    """Row of the free place that is nearest in standard errors, -1 where none is within ``LINK`` of them."""
    best, least = -1, LINK * LINK
    left, top = math.floor((track.x - low[0]) / cell), math.floor((track.y - low[1]) / cell)
    for row in range(max(top - 1, 0), min(top + 1, rows - 1) + 1):
        for column in range(max(left - 1, 0), min(left + 1, columns - 1) + 1):
            here = row * columns + column
            for k in range(first[here], first[here + 1]):
                d = order[k]
                if not free[d]:
                    continue
                apart = (places[d, 0] - track.x) ** 2 + (places[d, 1] - track.y) ** 2
                apart /= track.error * track.error + error[d] * error[d]
                if apart <= least:
                    best, least = d, apart
    return best

"""Something that moved stands still: each step against the track's own ways, and against a place that it keeps.

Evidence of a step is the logarithm of a likelihood ratio: that it was seen where it has been standing, against a random
walk as this track went before. It is added up from the moment that fits best (CUSUM; Page, Biometrika 41:100, 1954).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from smartscope_models.events.cusum import Watch, add, begin
from smartscope_models.events.following import Doubles, Longs, carried, row_of
from smartscope_models.events.scene import Scene
from smartscope_models.events.telling import Telling

MEMORY = 60.0
"""Steps over which a track's ways are averaged."""
LEARNT_BELOW = 4.0
"""Sums above which a track may be standing: what it does then says nothing about its ways."""
LEAST_STEPS = 12
"""Before it stood: what never moved is not arrested."""
LEAST_WALK = 0.5
"""Variance of a step, over that of a place's error: what moves less cannot be seen to stop."""
LARGEST_GAIN, LARGEST_LOSS = 4.0, 12.0
"""Nats of one step: one wrong link must not decide."""
SWAY = 0.02
"""Part of a place's variance that is never averaged away: what stands still sways."""


class Ways(NamedTuple):
    """Of each track (N,), px, s; NaN before it is known."""

    x: Doubles
    y: Doubles
    t: Doubles
    """Where and when it was seen last."""
    steps: Doubles
    """On which ``walk`` rests."""
    walk: Doubles
    """px²/s along an axis that a step adds to a coordinate's variance."""
    go_x: Doubles
    go_y: Doubles
    go_var: Doubles
    """Where it is if it goes on, and that place's variance (a Kalman filter)."""
    stand_x: Doubles
    stand_y: Doubles
    stand_var: Doubles
    """Place at which it stands, if it does, and that place's variance."""


@njit(nogil=True, cache=True)
def tread(ways, sums, places, now_s, noise_var, most, ended):  # type: ignore[no-untyped-def]
    """A step of every track that was seen, places (N, 2); rows whose sum is at zero into ended (N,); how many."""
    count = 0
    for i in range(len(places)):
        x, y = places[i]
        if not (math.isfinite(x) and math.isfinite(y)):
            continue
        elapsed, steps = now_s - ways.t[i], ways.steps[i]
        if not elapsed > 0:
            ways.steps[i], ways.walk[i], rises = 0.0, 0.0, False
            ways.go_x[i], ways.go_y[i], ways.go_var[i] = x, y, noise_var
        else:
            ways.go_var[i] += max(ways.walk[i] * elapsed, LEAST_WALK * noise_var)  # else it lags behind slow drift
            going = ways.go_var[i] + noise_var
            missed = (x - ways.go_x[i]) ** 2 + (y - ways.go_y[i]) ** 2
            if sums.sum[i] < LEARNT_BELOW:
                moved = (x - ways.x[i]) ** 2 + (y - ways.y[i]) ** 2
                now = (0.5 * min(moved, 25 * (going + noise_var)) - 2 * noise_var) / elapsed
                ways.steps[i] = min(steps + 1, MEMORY)
                ways.walk[i] += (now - ways.walk[i]) / ways.steps[i]
            standing = ways.stand_var[i] + noise_var
            off = (x - ways.stand_x[i]) ** 2 + (y - ways.stand_y[i]) ** 2
            gain = 0.5 * (missed / going - off / standing) + math.log(going / standing)
            gain = min(max(gain, -LARGEST_LOSS), LARGEST_GAIN)
            if steps < LEAST_STEPS or ways.walk[i] * elapsed < LEAST_WALK * noise_var:
                gain = -1.0
            rises = add(sums, i, gain, most)
            weight = ways.go_var[i] / going
            ways.go_x[i] += weight * (x - ways.go_x[i])
            ways.go_y[i] += weight * (y - ways.go_y[i])
            ways.go_var[i] *= 1 - weight
            weight = ways.stand_var[i] / standing
            ways.stand_x[i] += weight * (x - ways.stand_x[i])
            ways.stand_y[i] += weight * (y - ways.stand_y[i])
            ways.stand_var[i] = max((1 - weight) * ways.stand_var[i], SWAY * noise_var)
        ways.x[i], ways.y[i], ways.t[i] = x, y, now_s
        if not rises:
            ended[count] = i
            count += 1
    return count


@njit(nogil=True, cache=True)
def stand(ways, sums, rows, frame, noise_var):  # type: ignore[no-untyped-def]
    """From now on these may be standing where they are."""
    for i in rows:
        ways.stand_x[i], ways.stand_y[i], ways.stand_var[i] = ways.x[i], ways.y[i], noise_var
        begin(sums, i, frame, ways.x[i], ways.y[i])


class Arrest:
    """Watches all tracks for arrests."""

    kinds = ("arrest",)

    def __init__(self, per_hour: float) -> None:
        self._watch = Watch("arrest", per_hour)
        self._ids: Longs = np.empty(0, np.int64)
        self._ways = Ways(*(np.empty(0) for _ in Ways._fields))

    def look(self, scene: Scene, telling: Telling) -> None:
        """Take in a frame."""
        if scene.tracks is None:
            return
        row = row_of(self._ids, scene.ids)
        self._watch.follow(scene.ids, row, telling)
        self._ways, self._ids = carried(self._ways, row), scene.ids
        ended = np.empty(len(scene.ids), np.int64)
        sums, ways, noise_var = self._watch.sums, self._ways, scene.noise_px**2
        count = tread(ways, sums, scene.places, scene.now_s, noise_var, self._watch.most, ended)
        self._watch.judge(ended[:count], scene, telling)
        stand(ways, sums, ended[:count], scene.frame.index, noise_var)

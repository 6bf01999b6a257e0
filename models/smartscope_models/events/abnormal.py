"""Something moves as it never did: steps too large for its own past, or all of one direction.

Evidence of a step is the logarithm of a likelihood ratio, against a Gaussian of the variance and mean velocity of the
track's own steps: half for steps of four times that variance, half for steps that go on in the mean direction of those
since it began. It is added up from the moment that fits best (CUSUM; Page, Biometrika 41:100, 1954).
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

TIMES = 4.0
"""Variance of larger steps over that of a track's own."""
MEMORY = 60.0
"""Steps over which a track's ways are averaged."""
SHARED = 8.0
"""Steps that all tracks' ways are worth, where a track is young."""
LEAST_STEPS = 12
"""Before anything can be unusual."""
FAIR_GAIN, LARGEST_GAIN = 3.0, 5.0
"""Nats of one step above which more counts ever less, and at most: one wrong link must not decide."""
BOUNDED = 9.0
"""Squared steps, in their variance, are learnt up to this."""
DOUBT = 1.0
"""Sums below this mean nothing yet: what is told began where it was passed."""


class Ways(NamedTuple):
    """Of each track (N,), px, s; NaN before it is known."""

    x: Doubles
    y: Doubles
    t: Doubles
    steps: Doubles
    walk: Doubles
    """px²/s along an axis."""
    speed_x: Doubles
    speed_y: Doubles
    """Mean velocity, px/s."""
    lean_x: Doubles
    lean_y: Doubles
    lean: Doubles
    """Sum of the steps since something may have begun, in standard deviations, and how many."""


@njit(nogil=True, cache=True)
def tread(ways, sums, places, now_s, frame, noise_var, shared, most, ended):  # type: ignore[no-untyped-def]
    """A step of every track that was seen, places (N, 2); rows whose sum is at zero into ended (N,); how many."""
    count = 0
    for i in range(len(places)):
        x, y = places[i]
        if not (math.isfinite(x) and math.isfinite(y)):
            continue
        elapsed = now_s - ways.t[i]
        gain = -1.0
        if not elapsed > 0:
            ways.steps[i], ways.walk[i], ways.speed_x[i], ways.speed_y[i] = 0.0, 0.0, 0.0, 0.0
            ways.lean_x[i], ways.lean_y[i], ways.lean[i], gain = 0.0, 0.0, 0.0, -math.inf
        else:
            steps = ways.steps[i]
            variance = max((steps * ways.walk[i] + SHARED * shared) / (steps + SHARED), 0.0) * elapsed + 2 * noise_var
            dx, dy = x - ways.x[i] - ways.speed_x[i] * elapsed, y - ways.y[i] - ways.speed_y[i] * elapsed
            square = (dx * dx + dy * dy) / variance
            if steps >= LEAST_STEPS:
                gain = _gain(ways, i, dx / math.sqrt(variance), dy / math.sqrt(variance), square)
            _learn(ways, i, x - ways.x[i], y - ways.y[i], elapsed, min(square, BOUNDED) * variance, noise_var)
        ways.x[i], ways.y[i], ways.t[i] = x, y, now_s
        if not add(sums, i, gain, most):
            ended[count] = i
            count += 1
        elif sums.sum[i] < DOUBT:
            sums.since[i], sums.x[i], sums.y[i] = frame + 1, x, y
    return count


@njit(nogil=True, cache=True)
def _gain(ways, i, dx, dy, square):  # type: ignore[no-untyped-def]
    """Nats that a step, in standard deviations, tells."""
    larger = 0.5 * square * (1 - 1 / TIMES) - math.log(TIMES)
    number = ways.lean[i] + 1
    mean_x, mean_y = ways.lean_x[i] / number, ways.lean_y[i] / number
    onwards = mean_x * dx + mean_y * dy - 0.5 * (mean_x * mean_x + mean_y * mean_y)
    shorter = 3 / max(3.0, math.sqrt(square))
    ways.lean_x[i] += shorter * dx
    ways.lean_y[i] += shorter * dy
    ways.lean[i] = number
    high = max(larger, onwards)
    gain = high + math.log(0.5 * (math.exp(larger - high) + math.exp(onwards - high)))
    return gain if gain < FAIR_GAIN else min(FAIR_GAIN + math.log1p(gain - FAIR_GAIN), LARGEST_GAIN)


@njit(nogil=True, cache=True)
def _learn(ways, i, dx, dy, elapsed, square, noise_var):  # type: ignore[no-untyped-def]
    ways.steps[i] = min(ways.steps[i] + 1, MEMORY)
    share = 1 / ways.steps[i]
    ways.walk[i] += share * ((0.5 * square - 2 * noise_var) / elapsed - ways.walk[i])
    share = 1 / (ways.steps[i] + SHARED)
    ways.speed_x[i] += share * (dx / elapsed - ways.speed_x[i])
    ways.speed_y[i] += share * (dy / elapsed - ways.speed_y[i])


@njit(nogil=True, cache=True)
def calm_down(ways, sums, rows, frame):  # type: ignore[no-untyped-def]
    """From the next frame on these may be moving otherwise."""
    for i in rows:
        ways.lean_x[i], ways.lean_y[i], ways.lean[i] = 0.0, 0.0, 0.0
        begin(sums, i, frame + 1, ways.x[i], ways.y[i])


class Abnormal:
    """Watches all tracks for changes of their ways."""

    def __init__(self, per_hour: float) -> None:
        self._watch = Watch("abnormal", per_hour)
        self._ids: Longs = np.empty(0, np.int64)
        self._ways = Ways(*(np.empty(0) for _ in Ways._fields))

    def look(self, scene: Scene, telling: Telling) -> None:
        """Take in a frame."""
        if scene.tracks is None:
            return
        row = row_of(self._ids, scene.ids)
        self._watch.follow(scene.ids, row, telling)
        self._ways, self._ids = carried(self._ways, row), scene.ids
        ways, sums, frame = self._ways, self._watch.sums, scene.frame.index
        known = ways.walk[ways.steps >= LEAST_STEPS]
        shared, noise_var = float(np.median(known)) if len(known) else 0.0, scene.noise_px**2
        ended = np.empty(len(scene.ids), np.int64)
        count = tread(ways, sums, scene.places, scene.now_s, frame, noise_var, shared, self._watch.most, ended)
        self._watch.judge(ended[:count], scene, telling)
        calm_down(ways, sums, ended[:count], frame)

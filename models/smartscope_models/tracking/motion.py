"""How objects move: a random walk and a steady course, mixed for each object (interacting multiple models).

Blom & Bar-Shalom, IEEE TAC 33:780 (1988). The state of an object is (2, 7): for model 0 (random walk) and 1 (constant
velocity) the position x, y, the velocity vx, vy, and one covariance p00, p01, p11 that both axes share; beside it the
weight of model 1. Time is counted in frame periods, so that frames may be skipped. Lengths are pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

Doubles = npt.NDArray[np.float64]

SWITCH = 0.03
"""Probability per frame that an object changes its way of moving."""
FADE = 0.7
"""What a random walker's velocity keeps per frame."""
CAUTION = 1.15
"""Process noise is held this much above what is seen: too little loses objects, too much costs hardly anything."""
REMEMBERED_LINKS = 3000.0
"""Noise is an average over about so many of the latest links."""


@dataclass(slots=True)
class Noise:
    """Process and measurement variances, px² per frame; all scale with the square of the gate at first."""

    walk: float
    """Of a step of the random walk."""
    course: float
    """Of the position on a steady course."""
    turn: float
    """Of the velocity on a steady course."""
    measurement: float
    velocity: float
    """Of the velocity of a new object, and what a random walker's velocity gains per frame."""
    links: float = 50.0
    """So many links this rests on; the start values count as the first."""

    @classmethod
    def of_gate(cls, gate_px: float) -> Noise:
        """Start values for objects that move at most ``gate_px`` between frames."""
        square = gate_px**2
        return cls(square / 16, square / 128, square / 107, square / 1067, square / 16)

    def learn(self, sums: Doubles, links: int, gate_px: float) -> None:
        """Scale by observed over expected squared innovation of ``links``, within what the gate can let pass.

        sums: (2, 2) as ``update`` returns them.
        """
        self.links = min(self.links + links, REMEMBERED_LINKS)
        rate = min(0.3, links / self.links)
        if not links:
            return
        walk_ratio, course_ratio = (CAUTION * (sums[:, 0] + 1e-9) / (sums[:, 1] + 1e-9)) ** rate
        low, high = 1e-4 * gate_px**2, 0.25 * gate_px**2
        self.walk = min(max(self.walk * float(walk_ratio), low), high)
        factor = min(max(self.course * float(course_ratio), low / 4), high / 4) / self.course
        self.course *= factor
        self.turn *= factor

    def packed(self) -> Doubles:
        """(5,) for compiled code: walk, course, turn, measurement, velocity."""
        return np.array([self.walk, self.course, self.turn, self.measurement, self.velocity])


@njit(nogil=True, cache=True)
def start(state, place, noise):  # type: ignore[no-untyped-def]
    """Put a new object at ``place`` (2,), in place."""
    for m in range(2):
        state[m, 0], state[m, 1], state[m, 2], state[m, 3] = place[0], place[1], 0.0, 0.0
        state[m, 4], state[m, 5], state[m, 6] = noise[3], 0.0, noise[4]


@njit(nogil=True, cache=True)
def move(state, steady, frames, noise):  # type: ignore[no-untyped-def]
    """Mix the models of one object and move it on by ``frames``, in place; returns the weight of the steady model."""
    change = 0.5 * (1 - (1 - 2 * SWITCH) ** frames)
    after = change * (1 - steady) + (1 - change) * steady
    into_walk, into_course = change * steady / (1 - after), change * (1 - steady) / after
    walk, course = state[0], state[1]
    dx, dy, dvx, dvy = course[0] - walk[0], course[1] - walk[1], course[2] - walk[2], course[3] - walk[3]
    spread = (0.5 * (dx * dx + dy * dy), 0.5 * (dx * dvx + dy * dvy), 0.5 * (dvx * dvx + dvy * dvy))
    for k in range(4):
        d = course[k] - walk[k]
        walk[k] += into_walk * d
        course[k] -= into_course * d
    for k in range(3):
        a, b = walk[4 + k], course[4 + k]
        walk[4 + k] = a + into_walk * (b - a) + into_walk * (1 - into_walk) * spread[k]
        course[4 + k] = b + into_course * (a - b) + into_course * (1 - into_course) * spread[k]
    fade = FADE**frames
    walk[2] *= fade
    walk[3] *= fade
    walk[4] += noise[0] * frames
    walk[5] *= fade
    walk[6] = walk[6] * 0.5**frames + 0.25 * noise[4] * frames
    course[0] += course[2] * frames
    course[1] += course[3] * frames
    course[4] += 2 * frames * course[5] + frames * frames * course[6] + noise[1] * frames
    course[5] += frames * course[6] + 0.5 * noise[2] * frames
    course[6] += noise[2] * frames
    return after


@njit(nogil=True, cache=True)
def see(state, steady, place, measurement):  # type: ignore[no-untyped-def]
    """Kalman update of one object, in place: (weight of the steady model, density of the place, px⁻²)."""
    total, weight = 0.0, 0.0
    for m in range(2):
        s = state[m]
        dx, dy = place[0] - s[0], place[1] - s[1]
        expected = s[4] + measurement
        density = math.exp(-0.5 * (dx * dx + dy * dy) / expected) / (2 * math.pi * expected) + 1e-12
        weight = (steady if m else 1 - steady) * density
        total += weight
        k0, k1 = s[4] / expected, s[5] / expected
        s[0] += k0 * dx
        s[1] += k0 * dy
        s[2] += k1 * dx
        s[3] += k1 * dy
        s[6] -= k1 * s[5]
        s[5] *= 1 - k0
        s[4] *= 1 - k0
    return min(max(weight / total, 1e-6), 1 - 1e-6), total


@njit(nogil=True, cache=True)
def density(state, steady, place, later, noise):  # type: ignore[no-untyped-def]
    """Probability density, px⁻², that an object is seen at ``place``, ``later`` frames after the state's own time."""
    total = 1e-300
    for m in range(2):
        s = state[m]
        x, y, variance = s[0], s[1], s[4] + noise[3]
        if later > 0:
            x += m * s[2] * later
            y += m * s[3] * later
            variance += noise[m] * later + m * (2 * later * s[5] + later * later * (s[6] + noise[2] * later / 3))
        squared = (place[0] - x) ** 2 + (place[1] - y) ** 2
        total += (steady if m else 1 - steady) * math.exp(-0.5 * squared / variance) / (2 * math.pi * variance)
    return total


@njit(nogil=True, cache=True)
def advance(state, steady, frames, noise):  # type: ignore[no-untyped-def]
    """Move all objects, state (N, 2, 7) and steady (N,), on by ``frames``, in place."""
    for n in range(len(steady)):
        steady[n] = move(state[n], steady[n], frames, noise)


@njit(nogil=True, cache=True)
def update(state, steady, matched, places, measurement):  # type: ignore[no-untyped-def]
    """Kalman update of the objects with a detection, in place; returns squared innovations for the learning of noise.

    matched: (N,) index of the detection or -1; places: (D, 2). Returned: (2, 2), for each model the weighted sums of
    the observed and of the expected squared innovation per axis.
    """
    sums, observed = np.zeros((2, 2)), np.empty((2, 2))
    for n in range(len(steady)):
        if matched[n] < 0:
            continue
        place = places[matched[n]]
        for m in range(2):
            observed[m, 0] = 0.5 * ((place[0] - state[n, m, 0]) ** 2 + (place[1] - state[n, m, 1]) ** 2)
            observed[m, 1] = state[n, m, 4] + measurement
        steady[n], _ = see(state[n], steady[n], place, measurement)
        sums[0] += (1 - steady[n]) * observed[0]
        sums[1] += steady[n] * observed[1]
    return sums

"""How objects move: a random walk and a steady course, mixed for each object (interacting multiple models).

Blom & Bar-Shalom, IEEE TAC 33:780 (1988). Per object and model m (0 random walk, 1 constant velocity): position and
velocity along each axis, one covariance (p00, p01, p11) shared by both axes, and the model's weight. Time is counted in
frame periods, so that frames may be skipped. Lengths are pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

Doubles = npt.NDArray[np.float64]

SWITCH = 0.03
"""Probability per frame that an object changes its way of moving."""
FADE = 0.7
"""What a random walker's velocity keeps per frame."""


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

    @classmethod
    def of_gate(cls, gate_px: float) -> Noise:
        """Start values for objects that move at most ``gate_px`` between frames."""
        square = gate_px**2
        return cls(square / 16, square / 128, square / 107, square / 1067, square / 16)

    def learn(self, walk_ratio: float, course_ratio: float, gate_px: float) -> None:
        """Scale by observed over expected squared innovation, within what the gate can let pass."""
        low, high = 1e-4 * gate_px**2, 0.25 * gate_px**2
        self.walk = min(max(self.walk * walk_ratio, low), high)
        factor = min(max(self.course * course_ratio, low / 4), high / 4) / self.course
        self.course *= factor
        self.turn *= factor


@njit(nogil=True, cache=True)
def predict(x, v, p, w, frames, walk, course, turn, velocity):  # type: ignore[no-untyped-def]
    """Mix the models, then move all objects on by ``frames`` frame periods, in place.

    x, v: (N, 2, 2) position and velocity by model and axis; p: (N, 2, 3); w: (N, 2).
    """
    change = 0.5 * (1 - (1 - 2 * SWITCH) ** frames)
    fade = FADE**frames
    for n in range(len(w)):
        _mix(x[n], v[n], p[n], w[n], change)
        v[n, 0, 0] *= fade
        v[n, 0, 1] *= fade
        p[n, 0, 0] += walk * frames
        p[n, 0, 1] *= fade
        p[n, 0, 2] = p[n, 0, 2] * 0.5**frames + 0.25 * velocity * frames
        x[n, 1, 0] += v[n, 1, 0] * frames
        x[n, 1, 1] += v[n, 1, 1] * frames
        p[n, 1, 0] += 2 * frames * p[n, 1, 1] + frames * frames * p[n, 1, 2] + course * frames
        p[n, 1, 1] += frames * p[n, 1, 2] + 0.5 * turn * frames
        p[n, 1, 2] += turn * frames


@njit(nogil=True, cache=True)
def _mix(x, v, p, w, change):  # type: ignore[no-untyped-def]
    """One object: each model starts from the moments of the mixture that led to it."""
    c0 = (1 - change) * w[0] + change * w[1]
    share = np.empty((2, 2))  # of model n in what becomes model m
    share[0, 0], share[1, 0] = (1 - change) * w[0] / c0, change * w[1] / c0
    share[0, 1], share[1, 1] = change * w[0] / (1 - c0), (1 - change) * w[1] / (1 - c0)
    mixed_x, mixed_v, mixed_p = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 3))
    for m in range(2):
        for n in range(2):
            mixed_x[m] += share[n, m] * x[n]
            mixed_v[m] += share[n, m] * v[n]
        for n in range(2):
            dx, dv = x[n] - mixed_x[m], v[n] - mixed_v[m]
            mixed_p[m, 0] += share[n, m] * (p[n, 0] + 0.5 * (dx[0] * dx[0] + dx[1] * dx[1]))
            mixed_p[m, 1] += share[n, m] * (p[n, 1] + 0.5 * (dx[0] * dv[0] + dx[1] * dv[1]))
            mixed_p[m, 2] += share[n, m] * (p[n, 2] + 0.5 * (dv[0] * dv[0] + dv[1] * dv[1]))
    x[:] = mixed_x
    v[:] = mixed_v
    p[:] = mixed_p
    w[0], w[1] = c0, 1 - c0


@njit(nogil=True, cache=True)
def update(x, v, p, w, matched, places, measurement):  # type: ignore[no-untyped-def]
    """Kalman update of the objects with a detection, in place; returns squared innovations for the learning of noise.

    matched: (N,) index of the detection or -1; places: (D, 2). Returned: (2, 2), for each model the weighted sums of
    the observed and of the expected squared innovation per axis.
    """
    sums, observed = np.zeros((2, 2)), np.empty((2, 2))
    for n in range(len(w)):
        if matched[n] < 0:
            continue
        place = places[matched[n]]
        for m in range(2):
            dx, dy = place[0] - x[n, m, 0], place[1] - x[n, m, 1]
            squared, expected = 0.5 * (dx * dx + dy * dy), p[n, m, 0] + measurement
            observed[m, 0], observed[m, 1] = squared, expected
            w[n, m] *= np.exp(-squared / expected) / expected + 1e-12
            k0, k1 = p[n, m, 0] / expected, p[n, m, 1] / expected
            x[n, m, 0] += k0 * dx
            x[n, m, 1] += k0 * dy
            v[n, m, 0] += k1 * dx
            v[n, m, 1] += k1 * dy
            p[n, m, 2] -= k1 * p[n, m, 1]
            p[n, m, 1] *= 1 - k0
            p[n, m, 0] *= 1 - k0
        w[n, 0] = min(max(w[n, 0] / (w[n, 0] + w[n, 1]), 1e-6), 1 - 1e-6)
        w[n, 1] = 1 - w[n, 0]
        sums[0] += w[n, 0] * observed[0]
        sums[1] += w[n, 1] * observed[1]
    return sums

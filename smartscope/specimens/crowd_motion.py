"""Only this file knows how bodies of a crowd wander, turn, wobble, keep off each other, and part after a division."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from smartscope.optics.counter_random import bits, normal

HARMONICS = 3
BODY = np.dtype(
    [
        ("id", np.int64),
        ("mother", np.int64),
        ("xy_um", np.float64, 2),
        ("velocity", np.float64, 2),
        ("heading", np.float64),
        ("waves", np.complex128, HARMONICS),
        ("radius_born_um", np.float64),
        ("radius_full_um", np.float64),
        ("molecules_born", np.float64),
        ("molecules_full", np.float64),
        ("remaining", np.float64),
        ("tile", np.int64, 2),
        ("aspect", np.float64),
        ("born_s", np.float64),
        ("divides_s", np.float64),
        ("side", np.float64),
        ("radius_mother_um", np.float64),
    ]
)
"""One row for each. Times in seconds of life; ``born_s``: when its mother's mitosis began; ``divides_s``: when its own
begins. ``velocity`` is in um/s. ``side``: 1 for the daughter that goes to the left of its heading, -1 for the other."""
_DRAWS = 12
_YIELD = 0.25
"""Part of an overlap that a step takes away."""


@njit(nogil=True, cache=True)
def move(
    bodies: Any, reach: Any, still: Any, way: Any, apart: Any, speed: float, persistence_s: float, turning: float,
    follow: float, wave: float, wave_s: float, half_um: float, dt: float, key: Any,
) -> None:  # fmt: skip
    """Move the crowd through a step of ``dt`` seconds of life.

    Velocities are an Ornstein-Uhlenbeck process (persistent random walk: Fuerth 1920), of root mean square ``speed``.
    ``reach`` (N,): radius that others keep off; ``still`` (N,): who does not wander; ``way`` (N, 2): what daughters go
    apart; ``apart`` (N,): who may not yet be pushed by its sister. Headings diffuse by ``turning`` rad^2/s and follow
    the motion at ``follow`` per second. ``wave``: standard deviation of the outline's harmonics, forgotten within
    ``wave_s``.
    """
    keep = math.exp(-dt / persistence_s)
    kick = speed * math.sqrt(0.5 * (1.0 - keep * keep))
    wave_keep = math.exp(-dt / wave_s)
    wave_kick = wave * math.sqrt(0.5 * (1.0 - wave_keep * wave_keep))
    _keep_off(bodies, reach, apart, half_um)
    for n in range(bodies.size):
        body, counter = bodies[n], np.uint64(n * _DRAWS)
        for axis in range(2):
            body.velocity[axis] = keep * body.velocity[axis] + kick * normal(bits(key, counter + np.uint64(axis)))
            body.xy_um[axis] += way[n, axis] + (0.0 if still[n] else dt * body.velocity[axis])
        if not still[n]:
            body.heading += math.sqrt(2.0 * turning * dt) * normal(bits(key, counter + np.uint64(2)))
            ahead = math.atan2(body.velocity[1], body.velocity[0])
            body.heading += min(follow * dt, 1.0) * math.sin(ahead - body.heading)
        for mode in range(HARMONICS):
            first = counter + np.uint64(3 + 2 * mode)
            noise = complex(normal(bits(key, first)), normal(bits(key, first + np.uint64(1))))
            body.waves[mode] = wave_keep * body.waves[mode] + wave_kick / (mode + 1.0) * noise


@njit(nogil=True, cache=True)
def _keep_off(bodies: Any, reach: Any, apart: Any, half_um: float) -> None:
    """Overlapping neighbours part; sisters, which come from the same place, first see to that themselves."""
    n = bodies.size
    push = np.zeros((n, 2))
    for i in range(n):
        for j in range(i):
            dx = bodies[i].xy_um[0] - bodies[j].xy_um[0]
            dy = bodies[i].xy_um[1] - bodies[j].xy_um[1]
            least = reach[i] + reach[j]
            square = dx * dx + dy * dy
            sisters = bodies[i].mother == bodies[j].mother and bodies[i].mother > 0
            if square >= least * least or (sisters and apart[i]):
                continue
            distance = max(math.sqrt(square), 1e-6)
            share = 0.5 * _YIELD * (least - distance) / distance
            push[i, 0] += share * dx
            push[i, 1] += share * dy
            push[j, 0] -= share * dx
            push[j, 1] -= share * dy
    for i in range(n):
        for axis in range(2):
            bodies[i].xy_um[axis] += push[i, axis]
            beyond = abs(bodies[i].xy_um[axis]) + reach[i] - half_um
            if beyond > 0.0:
                bodies[i].xy_um[axis] -= math.copysign(_YIELD * beyond, bodies[i].xy_um[axis])
                bodies[i].velocity[axis] = -math.copysign(bodies[i].velocity[axis], bodies[i].xy_um[axis])

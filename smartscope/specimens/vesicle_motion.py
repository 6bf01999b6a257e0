"""Only this file knows how vesicles move: Brownian, directed along a track, or confined around a place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from smartscope.optics.counter_random import bits, normal

BROWNIAN, DIRECTED, CONFINED, DOCKED, FUSING = range(5)
_DRAWS = 8
"""Random numbers reserved for each vesicle in a step."""
_BEND_RAD_PER_ROOT_S = 0.15
_JITTER_UM2_S = 0.002
"""Diffusion across the track while carried along it."""


@njit(nogil=True, cache=True)
def move(
    xy: Any, mode: Any, heading: Any, anchor: Any, diffusion: float, speed: float, confinement: float, half_um: float,
    dt: float, key: Any,
) -> None:  # fmt: skip
    """Move vesicles (N, 2) through a step of ``dt``; those that dock or fuse stand still.

    Confined ones are held by a spring to ``anchor`` (N, 2): an Ornstein-Uhlenbeck process, exact for any step, of
    standard deviation ``confinement`` that diffuses freely over short times.
    """
    spread = math.sqrt(2.0 * diffusion * dt)
    jitter = math.sqrt(2.0 * _JITTER_UM2_S * dt)
    keep = math.exp(-diffusion * dt / (confinement * confinement))
    kick = confinement * math.sqrt(1.0 - keep * keep)
    for v in range(mode.size):
        counter = np.uint64(v * _DRAWS)
        east, north = normal(bits(key, counter)), normal(bits(key, counter + np.uint64(1)))
        if mode[v] == BROWNIAN:
            xy[v, 0] += spread * east
            xy[v, 1] += spread * north
        elif mode[v] == DIRECTED:
            heading[v] += _BEND_RAD_PER_ROOT_S * math.sqrt(dt) * normal(bits(key, counter + np.uint64(2)))
            xy[v, 0] += speed * dt * math.cos(heading[v]) + jitter * east
            xy[v, 1] += speed * dt * math.sin(heading[v]) + jitter * north
        elif mode[v] == CONFINED:
            xy[v, 0] = anchor[v, 0] + keep * (xy[v, 0] - anchor[v, 0]) + kick * east
            xy[v, 1] = anchor[v, 1] + keep * (xy[v, 1] - anchor[v, 1]) + kick * north
        for axis in range(2):
            if abs(xy[v, axis]) > half_um:  # the edge of the cell reflects
                xy[v, axis] = math.copysign(2.0 * half_um - abs(xy[v, axis]), xy[v, axis])
                heading[v] = math.pi - heading[v] if axis == 0 else -heading[v]

"""Only this file knows how worms crawl: chains of nodes that an end pulls, that bend, jitter and keep off each other.

Position-based dynamics (Mueller et al., J. Vis. Commun. Image R. 18 (2007) 109): displacements first, then every
distance between neighbours is put right, which is stable for any step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from smartscope.optics.counter_random import bits, normal

NODES = 48
"""At most, of a worm."""
PITCH_UM = 0.2
"""Between the nodes of a worm."""
WORM = np.dtype(
    [
        ("id", np.int64),
        ("mother", np.int64),
        ("phase", np.int64),
        ("since_s", np.float64),
        ("count", np.int64),
        ("xy_um", np.float64, (NODES, 2)),
        ("load", np.float64, NODES),
        ("remaining", np.float64, NODES),
        ("site", np.float64),
        ("pull", np.int64),
        ("pull_um_s", np.float64),
        ("until_s", np.float64),
        ("goal_um", np.float64, 2),
        ("arrival_s", np.float64),
        ("curvature", np.float64, 2),
    ]
)
"""One row for each; nodes beyond ``count`` mean nothing. ``load``: molecules of each node. ``site``: node number at
which it is constricted. ``pull``: 1 by its last node, -1 by its first, 0 not at all, until ``until_s``; towards
``goal_um``, to be there at ``arrival_s`` if that is in the future, else ahead at ``pull_um_s``. ``curvature``: of its
rest shape, 1/um, even and as a wave."""
_DRAWS = 4 + 2 * NODES
_JITTER_UM2_S = 2e-4
"""Diffusion of single nodes."""
_STRAIGHTEN_PER_S = 1.5
_SWEEPS = 6
BEND_STD = (0.4, 0.6)
_BEND_S = 40.0
"""Standard deviation of both curvatures, and the time within which they are forgotten."""


@njit(nogil=True, cache=True)
def move(
    xy: Any, count: Any, pull: Any, speed: Any, goal: Any, arrival_s: Any, curvature: Any, diffusion: float,
    clearance_um: float, half_um: float, t_s: float, dt: float, key: Any,
) -> None:  # fmt: skip
    """Move all worms (N, NODES, 2) from ``t_s`` through a step of ``dt``."""
    for n in range(count.size):
        counter = np.uint64(n * _DRAWS)
        _bend(curvature[n], dt, key, counter)
        _jitter(xy[n], count[n], diffusion, dt, key, counter)
        _straighten(xy[n], count[n], curvature[n], dt)
        if pull[n] != 0:
            _pull(xy[n], count[n], pull[n], speed[n], goal[n], arrival_s[n] - t_s, dt)
    _keep_off(xy, count, pull, arrival_s - t_s, clearance_um, half_um)
    for n in range(count.size):
        _restore(xy[n], count[n], pull[n])


@njit(nogil=True, cache=True)
def _bend(curvature: Any, dt: float, key: Any, counter: Any) -> None:
    keep = math.exp(-dt / _BEND_S)
    for mode in range(2):
        kick = BEND_STD[mode] * math.sqrt(1.0 - keep * keep) * normal(bits(key, counter + np.uint64(2 + mode)))
        curvature[mode] = keep * curvature[mode] + kick


@njit(nogil=True, cache=True)
def _jitter(xy: Any, count: int, diffusion: float, dt: float, key: Any, counter: Any) -> None:
    whole, own = math.sqrt(2.0 * diffusion * dt), math.sqrt(2.0 * _JITTER_UM2_S * dt)
    for axis in range(2):
        shared = whole * normal(bits(key, counter + np.uint64(axis)))
        for i in range(count):
            xy[i, axis] += shared + own * normal(bits(key, counter + np.uint64(4 + 2 * i + axis)))


@njit(nogil=True, cache=True)
def _straighten(xy: Any, count: int, curvature: Any, dt: float) -> None:
    """Draw each inner node towards where its neighbours and the rest shape want it."""
    share = 1.0 - math.exp(-_STRAIGHTEN_PER_S * dt)
    for i in range(1, count - 1):
        bend = curvature[0] + curvature[1] * math.cos(math.pi * i / (count - 1))
        along_x, along_y = 0.5 * (xy[i + 1, 0] - xy[i - 1, 0]), 0.5 * (xy[i + 1, 1] - xy[i - 1, 1])
        lift = 0.5 * bend * PITCH_UM
        xy[i, 0] += share * (0.5 * (xy[i - 1, 0] + xy[i + 1, 0]) + lift * along_y - xy[i, 0])
        xy[i, 1] += share * (0.5 * (xy[i - 1, 1] + xy[i + 1, 1]) - lift * along_x - xy[i, 1])


@njit(nogil=True, cache=True)
def _pull(xy: Any, count: int, pull: int, speed: float, goal: Any, left_s: float, dt: float) -> None:
    end = count - 1 if pull > 0 else 0
    before = end - pull
    if left_s > 0.0:  # straight to the goal, to be there in time
        share = min(dt / left_s, 1.0)
        xy[end, 0] += share * (goal[0] - xy[end, 0])
        xy[end, 1] += share * (goal[1] - xy[end, 1])
        return
    x, y = xy[end, 0] - xy[before, 0], xy[end, 1] - xy[before, 1]
    scale = speed * dt / max(math.hypot(x, y), 1e-9)
    xy[end, 0] += scale * x
    xy[end, 1] += scale * y


@njit(nogil=True, cache=True)
def _keep_off(xy: Any, count: Any, pull: Any, left_s: Any, clearance_um: float, half_um: float) -> None:
    """Nodes of different worms too near to each other part; ends that go to meet do not. Within walls."""
    for n in range(count.size):
        reach_n = 0.5 * PITCH_UM * count[n] + clearance_um
        middle_n = xy[n, count[n] // 2]
        for m in range(n):
            if left_s[n] > 0.0 and left_s[m] > 0.0:
                continue
            middle_m = xy[m, count[m] // 2]
            reach = reach_n + 0.5 * PITCH_UM * (count[m] + 2)
            if abs(middle_n[0] - middle_m[0]) > reach or abs(middle_n[1] - middle_m[1]) > reach:
                continue
            for i in range(count[n]):
                for j in range(count[m]):
                    x, y = xy[n, i, 0] - xy[m, j, 0], xy[n, i, 1] - xy[m, j, 1]
                    square = x * x + y * y
                    if square < clearance_um * clearance_um:
                        distance = max(math.sqrt(square), 1e-6)
                        push = 0.25 * (clearance_um - distance) / distance
                        xy[n, i, 0] += push * x
                        xy[n, i, 1] += push * y
                        xy[m, j, 0] -= push * x
                        xy[m, j, 1] -= push * y
        for i in range(count[n]):
            for axis in range(2):
                if abs(xy[n, i, axis]) > half_um:
                    xy[n, i, axis] = math.copysign(half_um, xy[n, i, axis])


@njit(nogil=True, cache=True)
def _restore(xy: Any, count: int, pull: int) -> None:
    """Put distances between neighbours right; the end that is pulled leads, the others follow."""
    for sweep in range(_SWEEPS):
        for step in range(count - 1):
            from_end = (pull > 0) != (sweep % 2 == 1)
            i = count - 2 - step if from_end else step
            x, y = xy[i + 1, 0] - xy[i, 0], xy[i + 1, 1] - xy[i, 1]
            distance = max(math.sqrt(x * x + y * y), 1e-9)
            share = (distance - PITCH_UM) / distance
            ahead = 0.5  # of the correction, borne by node i
            if pull > 0 and i + 1 == count - 1:
                ahead = 1.0
            elif pull < 0 and i == 0:
                ahead = 0.0
            xy[i, 0] += ahead * share * x
            xy[i, 1] += ahead * share * y
            xy[i + 1, 0] -= (1.0 - ahead) * share * x
            xy[i + 1, 1] -= (1.0 - ahead) * share * y

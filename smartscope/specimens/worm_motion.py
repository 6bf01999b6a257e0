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
_YIELD = 0.25
"""Part of an overlap of two nodes that either gives way by in a step."""
BEND_STD = (0.4, 0.6)
_BEND_S = 40.0
"""Standard deviation of both curvatures, and the time within which they are forgotten."""


@njit(nogil=True, cache=True)
def move(
    worms: Any, diffusion: float, clearance_um: float, half_um: float, t_s: float, dt: float, key: Any
) -> None:  # fmt: skip
    """Move all worms (N,) from ``t_s`` through a step of ``dt``."""
    for n in range(worms.size):
        worm, counter = worms[n], np.uint64(n * _DRAWS)
        _bend(worm.curvature, dt, key, counter)
        _jitter(worm.xy_um, worm.count, diffusion, dt, key, counter)
        _straighten(worm.xy_um, worm.count, worm.curvature, dt)
        if worm.pull != 0:
            _pull(worm.xy_um, worm.count, worm.pull, worm.pull_um_s, worm.goal_um, worm.arrival_s - t_s, dt)
    _keep_off(worms, t_s, clearance_um, half_um)
    for n in range(worms.size):
        _restore(worms[n].xy_um, worms[n].count, worms[n].pull)


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
def _keep_off(worms: Any, t_s: float, clearance_um: float, half_um: float) -> None:
    """Nodes of different worms too near to each other part; ends that go to meet do not. Within walls."""
    for n in range(worms.size):
        one, count = worms[n].xy_um, worms[n].count
        for m in range(n):
            other, others = worms[m].xy_um, worms[m].count
            reach = 0.5 * PITCH_UM * (count + others) + clearance_um
            x, y = one[count // 2, 0] - other[others // 2, 0], one[count // 2, 1] - other[others // 2, 1]
            meeting = worms[n].arrival_s > t_s and worms[m].arrival_s > t_s
            if not meeting and abs(x) < reach and abs(y) < reach:
                _part(one, count, other, others, clearance_um)
        for i in range(count):
            for axis in range(2):
                one[i, axis] = min(max(one[i, axis], -half_um), half_um)


@njit(nogil=True, cache=True)
def _part(one: Any, count: int, other: Any, others: int, clearance_um: float) -> None:
    for i in range(count):
        for j in range(others):
            x, y = one[i, 0] - other[j, 0], one[i, 1] - other[j, 1]
            square = x * x + y * y
            if square < clearance_um * clearance_um:
                distance = max(math.sqrt(square), 1e-6)
                push = _YIELD * (clearance_um - distance) / distance
                one[i, 0] += push * x
                one[i, 1] += push * y
                other[j, 0] -= push * x
                other[j, 1] -= push * y


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

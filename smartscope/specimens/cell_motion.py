"""Only this file knows how cells crawl and deform, and how vesicles wander and run within them.

Cells: persistent random walk (constant speed, diffusing heading; Selmeczi et al., Biophys. J. 89 (2005) 912), turning
away from neighbours they touch and from the edge of the carpet. Outlines: harmonics 2 to 5 of the radius, each an
Ornstein-Uhlenbeck process, sampled on key frames. Vesicles: free diffusion interrupted by directed runs along the
cell's radius (intermittent transport; Bressloff, Newby, Rev. Mod. Phys. 85 (2013) 135).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope.config import NotNegative, Positive, Section
from smartscope.optics.counter_random import bits, normal, stream, uniform
from smartscope.specimens.protocol import STEP_S

KEY_STEPS = 50
"""Steps between two key frames of a cell's outline."""
_MODES = 5
"""pose[:, 0] is the direction of crawling, pose[:, m - 1] the m-th harmonic of the outline for m = 2 .. 5."""
NUCLEUS_RADIUS = 0.40
NUCLEUS_SHIFT = -0.15
"""Both in cell radii; the nucleus sits behind the centre."""
_VESICLE_REACH = 0.84
"""Vesicles stay within this part of the outline's radius."""
_ELONGATION = 0.13
_WOBBLE = (0.0, 0.07, 0.055, 0.035, 0.025)
"""Standard deviation of each harmonic."""
_WOBBLE_S = 4.0
_CONTACT = 1.25
"""Distance, in mean radii, at which two cells feel each other: outlines reach beyond the mean radius, and cells of one
layer do not lie on top of each other (contact inhibition of locomotion; Abercrombie, Nature 281 (1979) 259)."""
_PUSH_PER_S = 1.0
_TURN_PER_S = 0.7
_Z_STD_UM = 0.2
_Z_S = 3.0
_RUN_SPREAD_RAD = 0.5
_PURPOSE = 0x0CE115
_DRAWS = 16
"""Random numbers reserved for each cell and for each vesicle in a step."""


class CellsOptions(Section):
    """A carpet of crawling cells; speeds are those of an accelerated demonstration."""

    area_um: Positive = 400.0
    """Edge of the square in which the cells crawl."""
    cells: int = 70
    speed_um_s: tuple[NotNegative, Positive] = (1.0, 2.5)
    """Slowest and fastest cell; the cell that starts near the origin is the fastest."""
    persistence_s: Positive = 90.0
    radius_um: tuple[Positive, Positive] = (6.0, 9.0)
    vesicles: int = 14
    """In each cell."""
    diffusion_um2_s: NotNegative = 0.03
    run_um_s: NotNegative = 1.0
    runs_per_s: NotNegative = 0.3
    run_s: Positive = 1.0
    """Mean duration of a run."""


@dataclass(slots=True)
class CellState:
    """Everything that moves, as arrays over N cells and M vesicles; changed in place by ``step``."""

    xy_um: npt.NDArray[np.float64]
    """(N, 2)"""
    heading: npt.NDArray[np.float64]
    """(N,) rad"""
    wobble: npt.NDArray[np.complex128]
    """(N, 5) deviation of each harmonic at the last key frame."""
    pose_before: npt.NDArray[np.complex128]
    """(N, 5) at the last key frame but one."""
    pose: npt.NDArray[np.complex128]
    """(N, 5) at the last key frame."""
    vesicle_um: npt.NDArray[np.float64]
    """(M, 2) relative to the cell's centre."""
    vesicle_z_um: npt.NDArray[np.float64]
    """(M,)"""
    run: npt.NDArray[np.float64]
    """(M, 2) unit vector of the present run; zero while diffusing."""


@dataclass(frozen=True, slots=True)
class CellTraits:
    """What never changes about each cell and vesicle."""

    radius_um: npt.NDArray[np.float64]
    speed_um_s: npt.NDArray[np.float64]
    key_phase: npt.NDArray[np.int64]
    """(N,) step within ``KEY_STEPS`` at which a cell has its key frames, so that not all have them at once."""
    cell_of: npt.NDArray[np.int64]
    """(M,) cell of each vesicle."""


def seeded(options: CellsOptions, rng: np.random.Generator) -> tuple[CellState, CellTraits]:
    """Cells spread over the carpet, the first near the origin, with their vesicles."""
    n, m = options.cells, options.cells * options.vesicles
    traits = CellTraits(
        radius_um=rng.uniform(*options.radius_um, n),
        speed_um_s=rng.uniform(*options.speed_um_s, n),
        key_phase=rng.integers(0, KEY_STEPS, n),
        cell_of=np.repeat(np.arange(n), options.vesicles),
    )
    traits.speed_um_s[:1] = options.speed_um_s[1]
    heading = rng.uniform(-math.pi, math.pi, n)
    wobble = (rng.standard_normal((n, _MODES)) + 1j * rng.standard_normal((n, _MODES))) * np.array(_WOBBLE) / 2**0.5
    pose = wobble.copy()
    pose[:, 0] = np.exp(1j * heading)
    pose[:, 1] += _ELONGATION * pose[:, 0] ** 2
    angle = rng.uniform(-math.pi, math.pi, m)
    distance = rng.uniform(0.5, 0.75, m) * traits.radius_um[traits.cell_of]
    state = CellState(
        xy_um=_spread(options, rng, 2.6 * options.radius_um[1]),
        heading=heading,
        wobble=wobble,
        pose_before=pose.copy(),
        pose=pose,
        vesicle_um=np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1),
        vesicle_z_um=_Z_STD_UM * rng.standard_normal(m),
        run=np.zeros((m, 2)),
    )
    return state, traits


def _spread(options: CellsOptions, rng: np.random.Generator, spacing_um: float) -> npt.NDArray[np.float64]:
    """Places (N, 2) at least ``spacing_um`` apart where there is room, the first near the origin."""
    half = options.area_um / 2 - options.radius_um[1]
    places = [rng.normal(0.0, 2.0, 2)]
    while len(places) < options.cells:
        candidates = rng.uniform(-half, half, (64, 2))
        gaps = np.linalg.norm(candidates[:, None] - np.array(places), axis=2).min(axis=1)
        places.append(candidates[gaps > spacing_um][0] if (gaps > spacing_um).any() else candidates[gaps.argmax()])
    return np.array(places[: options.cells])


def step(state: CellState, traits: CellTraits, options: CellsOptions, seed: int, number: int) -> None:
    """Move everything from step ``number`` to the next one."""
    key = np.uint64(stream(seed, _PURPOSE, number))
    _crawl(state.xy_um, state.heading, traits.radius_um, traits.speed_um_s, options.area_um / 2,
           options.persistence_s, STEP_S, key)  # fmt: skip
    _deform(state.pose_before, state.pose, state.wobble, state.heading, traits.key_phase, number, key)
    _transport(state.vesicle_um, state.vesicle_z_um, state.run, state.pose, traits.radius_um, traits.cell_of,
               options.diffusion_um2_s, options.run_um_s, options.runs_per_s, options.run_s, STEP_S, key)  # fmt: skip


@njit(nogil=True, cache=True)
def _crawl(
    xy: Any, heading: Any, radius: Any, speed: Any, half_um: float, persistence_s: float, dt: float, key: np.uint64
) -> None:
    """Advance centres and headings; touching neighbours push each other and turn away."""
    n = heading.size
    push = np.zeros((n, 2))
    for i in range(n):
        for j in range(i):
            dx, dy = xy[i, 0] - xy[j, 0], xy[i, 1] - xy[j, 1]
            reach = _CONTACT * (radius[i] + radius[j])
            if dx * dx + dy * dy < reach * reach:
                distance = max(math.sqrt(dx * dx + dy * dy), 1e-9)
                overlap = (reach - distance) / distance
                push[i, 0] += dx * overlap
                push[i, 1] += dy * overlap
                push[j, 0] -= dx * overlap
                push[j, 1] -= dy * overlap
    for i in range(n):
        for axis in range(2):  # the edge of the carpet acts like a neighbour
            beyond = abs(xy[i, axis]) + radius[i] - half_um
            if beyond > 0.0:
                push[i, axis] -= math.copysign(beyond, xy[i, axis])
        heading[i] += math.sqrt(2.0 * dt / persistence_s) * normal(bits(key, np.uint64(i * _DRAWS)))
        if push[i, 0] != 0.0 or push[i, 1] != 0.0:
            away = math.atan2(push[i, 1], push[i, 0])
            heading[i] += _TURN_PER_S * dt * math.sin(away - heading[i])
        xy[i, 0] += dt * (speed[i] * math.cos(heading[i]) + _PUSH_PER_S * push[i, 0])
        xy[i, 1] += dt * (speed[i] * math.sin(heading[i]) + _PUSH_PER_S * push[i, 1])


@njit(nogil=True, cache=True)
def _deform(
    pose_before: Any, pose: Any, wobble: Any, heading: Any, phase: Any, number: int, key: np.uint64
) -> None:  # fmt: skip
    """Give the cells whose turn it is a new key frame: harmonics relax and are kicked (exact Ornstein-Uhlenbeck)."""
    keep = math.exp(-KEY_STEPS * STEP_S / _WOBBLE_S)
    kick = math.sqrt((1.0 - keep * keep) / 2.0)
    for i in range(phase.size):
        if (number - phase[i]) % KEY_STEPS != 0:
            continue
        pose_before[i] = pose[i]
        for mode in range(_MODES):
            counter = np.uint64(i * _DRAWS + 1 + 2 * mode)
            noise = complex(normal(bits(key, counter)), normal(bits(key, counter + np.uint64(1))))
            wobble[i, mode] = keep * wobble[i, mode] + kick * _WOBBLE[mode] * noise
            pose[i, mode] = wobble[i, mode]
        pose[i, 0] = complex(math.cos(heading[i]), math.sin(heading[i]))
        pose[i, 1] += _ELONGATION * pose[i, 0] * pose[i, 0]


@njit(nogil=True, cache=True, inline="always")
def outline(pose: Any, x: float, y: float, r: float) -> float:
    """Radius of the outline, in mean radii, in the direction of (x, y) at distance ``r`` from the centre."""
    u = complex(x / r, -y / r)
    power = u
    radius = 1.0
    for mode in range(1, _MODES):
        power *= u
        radius += (pose[mode] * power).real
    return radius


@njit(nogil=True, cache=True)
def _transport(
    place: Any, z: Any, run: Any, pose: Any, radius: Any, cell_of: Any, diffusion: float, run_um_s: float,
    runs_per_s: float, run_s: float, dt: float, key: np.uint64,
) -> None:  # fmt: skip
    """Advance vesicles within their cells."""
    spread = math.sqrt(2.0 * diffusion * dt)
    keep = math.exp(-dt / _Z_S)
    for v in range(cell_of.size):
        cell = cell_of[v]
        counter = np.uint64((radius.size + v) * _DRAWS)
        chance = uniform(bits(key, counter))
        if run[v, 0] != 0.0 or run[v, 1] != 0.0:
            if chance < dt / run_s:
                run[v] = 0.0
        elif chance < runs_per_s * dt:
            outward = 1.0 if chance < 0.5 * runs_per_s * dt else -1.0
            angle = math.atan2(outward * place[v, 1], outward * place[v, 0])
            angle += _RUN_SPREAD_RAD * normal(bits(key, counter + np.uint64(1)))
            run[v, 0], run[v, 1] = math.cos(angle), math.sin(angle)
        for axis in range(2):
            noise = normal(bits(key, counter + np.uint64(2 + axis)))
            place[v, axis] += spread * noise + run_um_s * dt * run[v, axis]
        z[v] = keep * z[v] + math.sqrt(1.0 - keep * keep) * _Z_STD_UM * normal(bits(key, counter + np.uint64(4)))
        _confine(place[v], run[v], pose[cell], radius[cell])


@njit(nogil=True, cache=True)
def _confine(place: Any, run: Any, pose: Any, radius: float) -> None:
    """Keep a vesicle inside the outline and outside the nucleus; a run ends at either wall."""
    nucleus_x, nucleus_y = NUCLEUS_SHIFT * radius * pose[0].real, NUCLEUS_SHIFT * radius * pose[0].imag
    x, y = place[0] - nucleus_x, place[1] - nucleus_y
    r = max(math.hypot(x, y), 1e-9)
    wall = (NUCLEUS_RADIUS + 0.05) * radius
    if r < wall:
        place[0], place[1] = nucleus_x + x * wall / r, nucleus_y + y * wall / r
        run[:] = 0.0
    r = max(math.hypot(place[0], place[1]), 1e-9)
    wall = _VESICLE_REACH * radius * outline(pose, place[0], place[1], r)
    if r > wall:
        place *= wall / r
        run[:] = 0.0

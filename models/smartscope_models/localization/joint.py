"""Neighbouring spots fitted together: one likelihood and one Fisher matrix for a group.

Efficiency in crowds is ruled by neighbours: a spot fitted alone takes a neighbour's light for its own. Here the spots
of a group are moved by one Fisher-scoring step in all their parameters at once, against the light of all spots outside
the group, which is held fixed, on a background that is known from wider surroundings than a group has.

A spot is a row (x, y, N, t) of a table; t, the height, is free where four parameters are. Units: pixels and shots.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope_models.calibration import Floats
from smartscope_models.localization.fit_kernels import FAINTEST, factorise, profile, solve, widths

Doubles = npt.NDArray[np.float64]
LARGEST_GROUP = 12
LONGEST_STEP_PX = 0.7
OUTSIDE_PX = 1.5
"""How far outside the frame, from the centres of its outer pixels, a spot may lie."""
REACH = 3.5
"""Half a spot's window over its width; 0.05 % of its light lies outside."""


class Field(NamedTuple):
    """What the spots of one frame share; (H, W) float32, shots."""

    light: Floats
    read: Floats
    """Read variance."""
    model: Floats
    """Mean expected of each pixel: background, the spots of the table, and the read variance."""
    background: Floats


class Beliefs(NamedTuple):
    """What is known of spots before this frame is looked at closely."""

    curve: Doubles
    """(6,): how t rules the widths, see :mod:`fit_kernels`."""
    reach_px: float
    """Distance below which spots are fitted together."""
    log_density: float
    """ln of the expected number of spots per px² and, where t is a height, per nm of it."""
    brightness: Doubles
    """(4,), see :class:`Brightness`."""
    least_gain: float
    """In log-likelihood, of a spot where none was; from the rate of false alarms."""
    model_error: float
    """How far the shape of a real spot may differ from the model's, over its height: one standard deviation."""


class Bench(NamedTuple):
    """Work memory for frames of one size."""

    mean: Floats
    """(H, W): of the pixels without the group; the next three likewise for the group at hand."""
    weight: Floats
    rest: Floats
    inside: Floats
    stamps: Floats
    """(2, group, free, side, side): derivatives of the mean by each spot's parameters, and the same weighted."""
    windows: npt.NDArray[np.int64]
    """(group + 1, 4): first and last + 1 row and column; the last one is for a passing spot."""
    profiles: Doubles
    matrix: Doubles
    lower: Doubles
    vector: Doubles
    step: Doubles
    spots: Doubles

    @classmethod
    def of(cls, shape: tuple[int, int], widest_px: float, free: int) -> Bench:
        """For frames of this (H, W), spots up to this width, and so many free parameters each (3 or 4)."""
        side, size = 2 * math.ceil(REACH * widest_px) + 1, LARGEST_GROUP * free
        mean, weight, rest, inside = np.zeros((4, *shape), np.float32)
        stamps = np.zeros((2, LARGEST_GROUP, free, side, side), np.float32)
        windows, profiles = np.zeros((LARGEST_GROUP + 1, 4), np.int64), np.zeros((2, 3, side))
        (matrix, lower), (vector, step) = np.zeros((2, size, size)), np.zeros((2, size))
        spots = np.zeros((LARGEST_GROUP, 4))
        return cls(mean, weight, rest, inside, stamps, windows, profiles, matrix, lower, vector, step, spots)


@njit(nogil=True, cache=True, error_model="numpy")
def place_window(spot, curve, shape, out):  # type: ignore[no-untyped-def]
    """out (4,): first and last + 1 row and column of a spot's pixels, cut at the frame's edges."""
    sx, sy, _, _ = widths(spot[3], curve)
    radius = math.ceil(REACH * max(sx, sy))
    row, column = math.floor(spot[1] + 0.5), math.floor(spot[0] + 0.5)
    out[0], out[1] = max(row - radius, 0), min(row + radius + 1, shape[0])
    out[2], out[3] = max(column - radius, 0), min(column + radius + 1, shape[1])


@njit(nogil=True, cache=True, error_model="numpy")
def profiles_of(spot, window, curve, profiles):  # type: ignore[no-untyped-def]
    """Across (3, w) and down (3, h), see :func:`profile`, and the derivatives of both widths by t."""
    sx, sy, slope_x, slope_y = widths(spot[3], curve)
    across, down = profiles[0, :, : window[3] - window[2]], profiles[1, :, : window[1] - window[0]]
    profile(window[2], spot[0], sx, across[0], across[1], across[2])
    profile(window[0], spot[1], sy, down[0], down[1], down[2])
    return across, down, slope_x, slope_y


@njit(nogil=True, cache=True, error_model="numpy")
def paint(image, spot, sign, curve, bench):  # type: ignore[no-untyped-def]
    """Add ``sign`` times the light of one spot (4,) to the image."""
    window = bench.windows[LARGEST_GROUP]
    place_window(spot, curve, image.shape, window)
    across, down, _, _ = profiles_of(spot, window, curve, bench.profiles)
    for i in range(down.shape[1]):
        scale, target = np.float32(sign * spot[2] * down[0, i]), image[window[0] + i, window[2] : window[3]]
        for j in range(across.shape[1]):
            target[j] += scale * np.float32(across[0, j])


@njit(nogil=True, cache=True, error_model="numpy")
def _stamp(spot, window, curve, profiles, out):  # type: ignore[no-untyped-def]
    """out (free, h, w): derivatives of the mean by x, y, N and t inside a window."""
    across, down, slope_x, slope_y = profiles_of(spot, window, curve, profiles)
    w = across.shape[1]
    for i in range(down.shape[1]):
        share, top, bottom = down[0, i], spot[2] * down[0, i], spot[2] * down[1, i]
        for j in range(w):
            out[0, i, j] = top * across[1, j]
            out[1, i, j] = bottom * across[0, j]
            out[2, i, j] = share * across[0, j]
        if out.shape[0] > 3:
            wide, tall = top * slope_x, spot[2] * down[2, i] * slope_y
            for j in range(w):
                out[3, i, j] = wide * across[2, j] + tall * across[0, j]


@njit(nogil=True, cache=True, error_model="numpy")
def _open(model, table, members, curve, bench):  # type: ignore[no-untyped-def]
    """Lay out the windows of the members and the box around them; there, the mean without them, and what is inside."""
    windows = bench.windows
    top, bottom, left, right = model.shape[0], 0, model.shape[1], 0
    for k in range(len(members)):
        place_window(table[members[k]], curve, model.shape, windows[k])
        top, bottom = min(top, windows[k, 0]), max(bottom, windows[k, 1])
        left, right = min(left, windows[k, 2]), max(right, windows[k, 3])
    for i in range(top, bottom):
        bench.mean[i, left:right] = model[i, left:right]
        bench.inside[i, left:right] = 0
    for k in range(len(members)):
        paint(bench.mean, table[members[k]], -1.0, curve, bench)
        for i in range(windows[k, 0], windows[k, 1]):
            bench.inside[i, windows[k, 2] : windows[k, 3]] = 1
    return top, bottom, left, right


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _weigh(field, box, count, bench):  # type: ignore[no-untyped-def]
    """1 / mean and data / mean - 1 for the pixels of the box; both 0 outside the windows."""
    windows = bench.windows
    top, bottom, left, right = box
    for i in range(top, bottom):
        bench.weight[i, left:right] = bench.mean[i, left:right]
    for k in range(count):
        number = np.float32(bench.spots[k, 2])
        for i in range(windows[k, 0], windows[k, 1]):
            target = bench.weight[i, windows[k, 2] : windows[k, 3]]
            share = bench.stamps[0, k, 2, i - windows[k, 0]]
            for j in range(len(target)):
                target[j] += number * share[j]
    least = np.float32(FAINTEST)
    for i in range(top, bottom):
        mean, rest, inside = bench.weight[i, left:right], bench.rest[i, left:right], bench.inside[i, left:right]
        data, noise = field.light[i, left:right], field.read[i, left:right]
        for j in range(right - left):
            weight = inside[j] / max(mean[j], least)
            rest[j] = (data[j] + noise[j]) * weight - inside[j]
            mean[j] = weight


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _score(k, free, bench):  # type: ignore[no-untyped-def]
    """Weighted stamps of member k, and its part of the score."""
    top, bottom, left, right = bench.windows[k]
    for a in range(free):
        score = 0.0
        for i in range(bottom - top):
            source, out = bench.stamps[0, k, a, i], bench.stamps[1, k, a, i]
            weight, rest = bench.weight[top + i, left:right], bench.rest[top + i, left:right]
            total = np.float32(0)
            for j in range(right - left):
                out[j] = source[j] * weight[j]
                total += source[j] * rest[j]
            score += float(total)
        bench.vector[k * free + a] = score


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _block(k, m, free, bench):  # type: ignore[no-untyped-def]
    """Fisher information between members k and m."""
    windows = bench.windows
    top, bottom = max(windows[k, 0], windows[m, 0]), min(windows[k, 1], windows[m, 1])
    left, right = max(windows[k, 2], windows[m, 2]), min(windows[k, 3], windows[m, 3])
    for a in range(free):
        for b in range(a + 1 if k == m else free):
            total = 0.0
            if right > left:
                for i in range(top, bottom):
                    one = bench.stamps[1, k, a, i - windows[k, 0], left - windows[k, 2] :]
                    two = bench.stamps[0, m, b, i - windows[m, 0], left - windows[m, 2] :]
                    line = np.float32(0)
                    for j in range(right - left):
                        line += one[j] * two[j]
                    total += float(line)
            bench.matrix[k * free + a, m * free + b] = total


@njit(nogil=True, cache=True, error_model="numpy")
def photon_pull(number, brightness):  # type: ignore[no-untyped-def]
    """Score and information on N from what is known beforehand, see :class:`Brightness`; 0, 0 for a stranger."""
    apart = math.log(number) - brightness[0]
    known = math.exp(-0.5 * apart * apart * brightness[1]) * math.sqrt(brightness[1]) * brightness[2]
    share = known / (known + brightness[3])
    return -share * apart * brightness[1] / number, share * brightness[1] / (number * number)


@njit(nogil=True, cache=True, error_model="numpy")
def _linearise(field, box, count, free, curve, brightness, bench):  # type: ignore[no-untyped-def]
    """Fisher information, lower half, and score of the group as its spots stand."""
    for k in range(count):
        _stamp(bench.spots[k], bench.windows[k], curve, bench.profiles, bench.stamps[0, k])
    _weigh(field, box, count, bench)
    for k in range(count):
        _score(k, free, bench)
        for m in range(k + 1):
            _block(k, m, free, bench)
        score, information = photon_pull(bench.spots[k, 2], brightness)
        bench.vector[k * free + 2] += score
        bench.matrix[k * free + 2, k * free + 2] += information


@njit(nogil=True, cache=True, error_model="numpy")
def held_in(spot, shape):  # type: ignore[no-untyped-def]
    """Move a spot (4,) to the nearest place where one may lie."""
    for a in range(2):
        spot[a] = min(max(spot[a], -OUTSIDE_PX), shape[1 - a] - 1 + OUTSIDE_PX)


@njit(nogil=True, cache=True, error_model="numpy")
def _move(spots, count, free, curve, step, shape):  # type: ignore[no-untyped-def]
    """Take the step, shortened where it is too long for the quadratic model; the longest move in pixels."""
    moved, longest = 0.0, 0.25 * (curve[5] - curve[4])
    for k in range(count):
        at = k * free
        for a in range(2):
            s = min(max(step[at + a], -LONGEST_STEP_PX), LONGEST_STEP_PX)
            moved = max(moved, abs(s))
            spots[k, a] += s
        held_in(spots[k], shape)
        s = min(max(step[at + 2], -0.7 * spots[k, 2]), 2 * spots[k, 2] + 1)
        spots[k, 2] = max(spots[k, 2] + s, 1.0)
        if free > 3:
            s = min(max(step[at + 3], -longest), longest)
            spots[k, 3] = min(max(spots[k, 3] + s, curve[4]), curve[5])
    return moved


@njit(nogil=True, cache=True, error_model="numpy")
def fit_group(field, table, members, beliefs, effort, bench):  # type: ignore[no-untyped-def]
    """Fit the spots ``members`` (n,) of table together; effort (2,): most steps, and the last step's length in pixels.

    Table and model are brought up to date. Returns half the logarithm of the determinant of the Fisher information
    before the last step, whose Cholesky factor stays in the bench; NaN, and nothing is changed, where there is none.
    """
    model, curve, free = field.model, beliefs.curve, bench.stamps.shape[2]
    count = len(members)
    size = count * free
    lower, vector, step = bench.lower[:size, :size], bench.vector[:size], bench.step[:size]
    box = _open(model, table, members, curve, bench)
    for k in range(count):
        bench.spots[k] = table[members[k]]
    damping, promise = 0.0, np.inf
    for _ in range(int(effort[0])):
        _linearise(field, box, count, free, curve, beliefs.brightness, bench)
        while not factorise(bench.matrix, damping, lower):
            damping = 10 * damping + 1e-3
            if damping > 1e3:
                return np.nan
        solve(lower, vector, step)
        promised = 0.0
        for a in range(size):
            promised += step[a] * vector[a]
        damping = 0.2 * damping if promised < promise else 4 * damping + 0.01
        promise = promised
        if _move(bench.spots, count, free, curve, step, model.shape) < effort[1]:
            break
    half_log = 0.0
    for a in range(size):
        half_log += math.log(lower[a, a])
    for k in range(count):
        paint(model, table[members[k]], -1.0, curve, bench)
        table[members[k]] = bench.spots[k]
        paint(model, table[members[k]], 1.0, curve, bench)
    return half_log

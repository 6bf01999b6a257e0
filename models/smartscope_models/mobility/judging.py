"""Which tracks are due for a verdict, and the verdict on what a slot of the store holds."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.mobility.store import take
from smartscope_models.mobility.verdict import FEWEST_POINTS, judge

GROWTH = 1.15
"""A track is judged again when it has grown by this factor, or by an eighth of the window."""
ON_BEAT = 0.03
"""Gaps this near to whole intervals are whole: the clock's jitter says nothing about motion."""


@njit(nogil=True, cache=True)
def judge_slot(store, slot, interval_s, exposure_s, noise_um, noise_spread, room):  # type: ignore[no-untyped-def]
    """Write the verdict on the last points of one track; room: (3, W) to work in. All the same place: no verdict."""
    window, points = store.ring.shape[1], store.points[slot]
    count = min(points, window)
    times, x, y = room[0, :count], room[1, :count], room[2, :count]
    before, moved = 0.0, 0.0
    for k in range(count):
        point = store.ring[slot, (points - count + k) % window]
        x[k], y[k] = point[1], point[2]
        time = point[0] / interval_s
        gap = time - before
        whole = round(gap)
        before, times[k] = time, 0.0
        if k > 0:
            times[k] = times[k - 1] + (whole if whole >= 1 and abs(gap - whole) < ON_BEAT * whole else gap)
            moved = max(moved, abs(x[k] - x[0]), abs(y[k] - y[0]))
    x -= x[0]
    y -= y[0]
    store.judged_at[slot] = points
    if moved > 0:
        exposure = min(exposure_s / interval_s, 1.0)
        judge(times, x, y, interval_s, exposure, noise_um, noise_spread, store.verdict[slot])


@njit(nogil=True, cache=True)
def judge_due(store, cursor, budget, interval_s, exposure_s, noise_um, noise_spread, room):  # type: ignore[no-untyped-def]
    """Judge the next ``budget`` tracks that are due, in turn from slot ``cursor``; returns where to go on."""
    slots, window = store.ring.shape[0], store.ring.shape[1]
    for k in range(slots):
        slot = (cursor + k) % slots
        points = store.points[slot]
        if store.track_id[slot] < 0 or points < FEWEST_POINTS:
            continue
        if points < min(math.ceil(GROWTH * store.judged_at[slot]), store.judged_at[slot] + window // 8):
            continue
        if budget == 0:
            return slot
        judge_slot(store, slot, interval_s, exposure_s, noise_um, noise_spread, room)
        budget -= 1
    return cursor


@njit(nogil=True, cache=True)
def judge_tracks(store, first, ids, times_s, x_um, y_um, facts, verdicts, sums, points):  # type: ignore[no-untyped-def]
    """Whole tracks, one after the other, through the store's first slot, as they would have come live.

    first: (N + 1,) where each begins in the (P,) columns; facts: interval_s, exposure_s, noise_um, noise_spread.
    Fills verdicts (N, E), sums (N, L, 7) and points (N,), the number taken in.
    """
    room = np.empty((3, store.ring.shape[1]))
    for n in range(len(first) - 1):
        store.track_id[0] = -1
        for k in range(first[n], first[n + 1]):
            take(store, 0, ids[n], x_um[k], y_um[k], times_s[k], facts[0])
        if store.points[0] >= FEWEST_POINTS:
            judge_slot(store, 0, facts[0], facts[1], facts[2], facts[3], room)
        verdicts[n], sums[n], points[n] = store.verdict[0], store.sums[0], store.points[0]

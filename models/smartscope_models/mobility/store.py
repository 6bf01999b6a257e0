"""What is remembered of every track: its last places in a ring and running moments of displacement, in fixed memory.

The place of a track in memory is found as in a processor's cache: its number names a set of 16 slots, and it has one of
these. A new track takes a free slot of its set or that of a track long unseen; where there is neither it is turned away
and counted. So the memory is bounded, and each point costs the same however many tracks there are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope_models.mobility.verdict import ESTIMATES

Doubles = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

SET = 16
LAGS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128])
"""In intervals, log-spaced; those below the length of the ring are used."""
ORDERS = 7
"""Moments 0 (the number of displacements) to 6."""
OFF_BEAT = 0.1
"""How far the time between two places may be from a lag, in intervals."""
OUTLIER = 60.0
"""Squared jump, over the mean squared one of this track, that no motion makes: a wrong link."""


class Store(NamedTuple):
    """Structure of arrays over S slots, rings of W points and L lags; lengths in um, times in s."""

    track_id: Longs
    """(S,) -1 where the slot is free."""
    points: Longs
    """(S,) taken in so far; the newest is in the ring at (points - 1) % W."""
    ring: Doubles
    """(S, W, 3) time in s, x and y in um: side by side, for memory is what a point costs."""
    sums: Doubles
    """(S, L, 7) of displacements to the power 0 … 6."""
    partner: Longs
    """(S, L) running number of the point that is a lag older than the newest, or of the next one."""
    doubted: Longs
    """(S,) 1 where the last point was too far off to be believed."""
    judged_at: Longs
    """(S,) points at the last verdict; 0: none yet."""
    verdict: Doubles
    """(S, E) ``ESTIMATES``, NaN before the first verdict."""

    def slot(self, track_id: int) -> int:
        """Where a track is, -1 if it is not here."""
        first = first_of_set(track_id, len(self.track_id))
        found = np.flatnonzero(self.track_id[first : first + SET] == track_id)
        return first + int(found[0]) if len(found) else -1

    def forget_moments(self) -> None:
        """Begin the moments anew, as where the pace of frames has changed."""
        self.sums[:] = 0
        self.partner[:] = self.points[:, None]


def empty_store(slots: int, window: int) -> Store:
    """Room for ``slots`` tracks (a multiple of 16) of ``window`` points; pages are lent when they are first written."""
    lags = int(np.searchsorted(LAGS, window))
    return Store(
        track_id=np.full(slots, -1, np.int64),
        points=np.zeros(slots, np.int64),
        ring=np.zeros((slots, window, 3)),
        sums=np.zeros((slots, lags, ORDERS)),
        partner=np.zeros((slots, lags), np.int64),
        doubted=np.zeros(slots, np.int64),
        judged_at=np.zeros(slots, np.int64),
        verdict=np.full((slots, len(ESTIMATES)), np.nan),
    )


@njit(nogil=True, cache=True)
def first_of_set(track_id, slots):  # type: ignore[no-untyped-def]
    """First slot of the set that a track belongs to (Knuth's multiplicative hash)."""
    return ((track_id * 2654435761) & 0xFFFFFFFF) % (slots // SET) * SET


@njit(nogil=True, cache=True)
def push(store, ids, x_um, y_um, time_s, interval_s, patience_s):  # type: ignore[no-untyped-def]
    """Take in the tracks seen at one time, (N,) each; returns how many found no room.

    Tracks unseen for ``patience_s`` give up their slot when another needs it.
    """
    turned_away = 0
    for n in range(len(ids)):
        if ids[n] < 0 or not (math.isfinite(x_um[n]) and math.isfinite(y_um[n])):
            continue
        slot = _room(store, ids[n], time_s, patience_s)
        if slot < 0:
            turned_away += 1
            continue
        take(store, slot, ids[n], x_um[n], y_um[n], time_s, interval_s)
    return turned_away


@njit(nogil=True, cache=True)
def _room(store, track_id, time_s, patience_s):  # type: ignore[no-untyped-def]
    """The slot that a track has or may have; -1 where there is no room."""
    first, free, longest = first_of_set(track_id, len(store.track_id)), -1, patience_s
    for slot in range(first, first + SET):
        if store.track_id[slot] == track_id:
            return slot
        if store.track_id[slot] < 0:
            free, longest = slot, math.inf
            continue
        newest = (store.points[slot] - 1) % store.ring.shape[1]
        unseen = abs(time_s - store.ring[slot, newest, 0])  # a clock that went back makes them strangers too
        if unseen > longest:
            free, longest = slot, unseen
    return free


@njit(nogil=True, cache=True)
def take(store, slot, track_id, x_um, y_um, time_s, interval_s):  # type: ignore[no-untyped-def]
    """One place of one track: O(lags).

    The same time twice is passed over, an earlier time begins the track anew. So does a jump that no motion makes, if
    the next place confirms it; else that place is left out.
    """
    window = store.ring.shape[1]
    afresh = store.track_id[slot] != track_id
    if not afresh:
        last = store.ring[slot, (store.points[slot] - 1) % window]
        elapsed_s = time_s - last[0]
        if elapsed_s == 0:
            return
        jump = (x_um - last[1]) ** 2 + (y_um - last[2]) ** 2
        afresh = elapsed_s < 0
        if not afresh and jump > _farthest(store.sums[slot, 0], elapsed_s / interval_s):
            if not store.doubted[slot]:
                store.doubted[slot] = 1
                return
            afresh = True
    store.doubted[slot] = 0
    if afresh:
        store.track_id[slot], store.points[slot], store.judged_at[slot] = track_id, 0, 0
        store.sums[slot] = 0.0
        store.partner[slot] = 0
        store.verdict[slot] = np.nan
    newest = store.ring[slot, store.points[slot] % window]
    newest[0], newest[1], newest[2] = time_s, x_um, y_um
    store.points[slot] += 1
    _pair(store, slot, interval_s)


@njit(nogil=True, cache=True)
def _farthest(first_lag, intervals):  # type: ignore[no-untyped-def]
    """Squared distance that is still believed after so many intervals, steady motion allowed for."""
    if first_lag[0] < 8 or not first_lag[2] > 0:
        return math.inf
    return OUTLIER * max(intervals, 1.0) ** 2 * first_lag[2] / first_lag[0]


@njit(nogil=True, cache=True)
def _pair(store, slot, interval_s):  # type: ignore[no-untyped-def]
    """The newest point paired with the one a lag before it, for every lag; each partner only ever moves on."""
    ring, sums, points = store.ring[slot], store.sums[slot], store.points[slot]
    window, slack = len(ring), OFF_BEAT * interval_s
    turn = (points - 1) // window * window  # number of the point at the ring's beginning
    new = ring[points - 1 - turn]
    for k in range(len(sums)):
        wanted = new[0] - LAGS[k] * interval_s
        old = max(store.partner[slot, k], points - window)
        at = old - turn if old >= turn else old - turn + window
        while old < points - 1 and ring[at, 0] < wanted - slack:
            old += 1
            at = at + 1 if at + 1 < window else 0
        store.partner[slot, k] = old
        if old < points - 1 and ring[at, 0] <= wanted + slack:
            dx, dy = new[1] - ring[at, 1], new[2] - ring[at, 2]
            distance, power = math.sqrt(dx * dx + dy * dy), 1.0
            for order in range(ORDERS):
                sums[k, order] += power
                power *= distance

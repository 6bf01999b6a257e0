"""How well places are known, from how little the steadiest tracks bend: what stands still or goes straight on does not.

A tracker's own standard errors hold for its prediction too, and can be twice too large. The second difference of three
places with independent errors has six times the variance of one of them, whatever the velocity; motion only adds to it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from smartscope_models.events.following import Doubles, Longs, carried, row_of

MEMORY = 40.0
"""Bends over which a track's are averaged."""
LEAST_BENDS = 20
STEADIEST = 0.1
"""Part of the tracks that is believed to bend by errors alone."""
EVEN = 1.2
"""Largest ratio of two intervals that are taken for one."""


class Seen(NamedTuple):
    """Of each track: its last two places (N, 2), px; mean square of its bends (N,), px², and their number."""

    last: Doubles
    before: Doubles
    bend: Doubles
    bends: Longs


class PlaceError:
    """Follows all tracks."""

    def __init__(self) -> None:
        self._ids: Longs = np.empty(0, np.int64)
        self._seen = Seen(np.empty((0, 2)), np.empty((0, 2)), np.empty(0), np.empty(0, np.int64))
        self._elapsed_s = 0.0

    def learn(self, ids: Longs, places: Doubles, elapsed_s: float) -> float:
        """Take in a frame's places (N, 2), NaN where not seen; at most so large (px) is their error."""
        last, before, bend, bends = carried(self._seen, row_of(self._ids, ids))
        shorter, longer = sorted((self._elapsed_s, elapsed_s))
        square = np.square(places - 2 * last + before).sum(axis=1) / 12
        new = np.isfinite(square) & (0 < longer <= EVEN * shorter)
        bends = np.where(new, np.minimum(bends + 1, MEMORY), bends).astype(np.int64)
        bend = np.where(np.isnan(bend), 0.0, bend)
        bend[new] += (square[new] - bend[new]) / bends[new]
        self._ids, self._seen, self._elapsed_s = ids, Seen(places, last, bend, bends), elapsed_s
        known = bend[bends >= LEAST_BENDS]
        return float(np.sqrt(np.quantile(known, STEADIEST))) if len(known) else float("inf")

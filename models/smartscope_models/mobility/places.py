"""Where the tracked objects truly were seen: trackers smooth, and smoothed places diffuse less than the objects do."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope.result import Detections, Tracks
from smartscope_models.mobility.store import Doubles

FARTHEST_PX = 2.0
"""Beside four standard errors of a track's place: how far its detection may be."""


def seen_places(tracks: Tracks, detections: Detections | None) -> tuple[Doubles, Doubles]:
    """(N,) x and y, ROI pixels, of the detection next to each track; the track's own where none is near."""
    x, y = tracks.x_px.astype(np.float64), tracks.y_px.astype(np.float64)
    if detections is not None and len(detections):
        order = np.argsort(detections.x_px)
        reach = np.minimum(4 * np.nan_to_num(tracks.sigma_px.astype(np.float64), posinf=0.0), 8.0) + FARTHEST_PX
        _snap(x, y, reach, detections.x_px[order].astype(np.float64), detections.y_px[order].astype(np.float64))
    return x, y


@njit(nogil=True, cache=True)
def _snap(x, y, reach, seen_x, seen_y):  # type: ignore[no-untyped-def]
    """Move each (x, y) to the nearest place seen within reach, in place; seen_x rises."""
    for n in range(len(x)):
        if not (math.isfinite(x[n]) and math.isfinite(y[n])):
            continue
        nearest, best = -1, reach[n] ** 2
        for k in range(np.searchsorted(seen_x, x[n] - reach[n]), len(seen_x)):
            if not seen_x[k] <= x[n] + reach[n]:
                break
            distance = (seen_x[k] - x[n]) ** 2 + (seen_y[k] - y[n]) ** 2
            if distance < best:
                nearest, best = k, distance
        if nearest >= 0:
            x[n], y[n] = seen_x[nearest], seen_y[nearest]

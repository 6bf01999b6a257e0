"""Which detection could belong to which object, and what believing so costs (a negative log likelihood ratio)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

EDGES_PER_OBJECT = 24
"""Room for candidates; more than that per object on average are dropped, and counted."""
STRANGER = 0.05
"""Probability that an object's size or brightness changes so much that it tells nothing."""


@njit(nogil=True, cache=True)
def bin_points(places, cell):  # type: ignore[no-untyped-def]
    """Sort points (D, 2) into square cells: origin (2,), cells along (y, x), first row of each cell, order (D,)."""
    low = np.array([places[:, 0].min(), places[:, 1].min()])
    columns = int((places[:, 0].max() - low[0]) / cell) + 1
    rows = int((places[:, 1].max() - low[1]) / cell) + 1
    first = np.zeros(rows * columns + 1, np.int64)
    key = np.empty(len(places), np.int64)
    for d in range(len(places)):
        key[d] = int((places[d, 1] - low[1]) / cell) * columns + int((places[d, 0] - low[0]) / cell)
        first[key[d] + 1] += 1
    for k in range(rows * columns):
        first[k + 1] += first[k]
    order = np.empty(len(places), np.int64)
    free = first[:-1].copy()
    for d in range(len(places)):
        order[free[key[d]]] = d
        free[key[d]] += 1
    return low, rows, columns, first, order


@njit(nogil=True, cache=True)
def _likeness(feature, other, link_variance, mean, variance):  # type: ignore[no-untyped-def]
    """Log likelihood ratio of the same object against any object, from log size and log brightness (2,)."""
    total = 0.0
    for k in range(2):
        same = math.exp(-0.5 * (feature[k] - other[k]) ** 2 / link_variance[k]) / math.sqrt(link_variance[k])
        anyone = math.exp(-0.5 * (other[k] - mean[k]) ** 2 / variance[k]) / math.sqrt(variance[k])
        total += math.log(((1 - STRANGER) * same + STRANGER * anyone + 1e-12) / (anyone + 1e-12))
    return total


@njit(nogil=True, cache=True)
def candidates(x, p, w, features, places, described, gate, measurement, threshold, looks):  # type: ignore[no-untyped-def]
    """Pairs cheaper than leaving the object without a detection.

    x (N, 2, 2), p (N, 2, 3), w (N, 2), features (N, 2): objects; places (D, 2), described (D, 2): detections.
    threshold: cost above which a pair is dropped, the constant terms of the cost taken in; looks (3, 2): link variance,
    mean and variance of the features. Returns start (N + 1,), detection (E,), cost (E,), and how many had no room.
    """
    count = len(w)
    room = EDGES_PER_OBJECT * count + 64
    start = np.zeros(count + 1, np.int64)
    detection, cost = np.empty(room, np.int64), np.empty(room)
    filled, dropped = 0, 0
    span = max(places[:, 0].max() - places[:, 0].min(), places[:, 1].max() - places[:, 1].min())
    cell = max(gate, span / 512)
    low, rows, columns, first, order = bin_points(places, cell)
    for n in range(count):
        cx = w[n, 0] * x[n, 0, 0] + w[n, 1] * x[n, 1, 0]
        cy = w[n, 0] * x[n, 0, 1] + w[n, 1] * x[n, 1, 1]
        left, right = math.floor((cx - gate - low[0]) / cell), math.floor((cx + gate - low[0]) / cell)
        top, bottom = math.floor((cy - gate - low[1]) / cell), math.floor((cy + gate - low[1]) / cell)
        for row in range(max(top, 0), min(bottom, rows - 1) + 1):
            for column in range(max(left, 0), min(right, columns - 1) + 1):
                here = row * columns + column
                for k in range(first[here], first[here + 1]):
                    d = order[k]
                    if (places[d, 0] - cx) ** 2 + (places[d, 1] - cy) ** 2 > gate * gate:
                        continue
                    likelihood = 1e-300
                    for m in range(2):
                        s = p[n, m, 0] + measurement
                        squared = (places[d, 0] - x[n, m, 0]) ** 2 + (places[d, 1] - x[n, m, 1]) ** 2
                        likelihood += w[n, m] * math.exp(-0.5 * squared / s) / (2 * math.pi * s)
                    c = -math.log(likelihood) - _likeness(features[n], described[d], looks[0], looks[1], looks[2])
                    if c >= threshold:
                        continue
                    if filled == room:
                        dropped += 1
                        continue
                    detection[filled], cost[filled] = d, c
                    filled += 1
        start[n + 1] = filled
    return start, detection[:filled], cost[:filled], dropped

"""What size and brightness tell about identity: how alike two sightings of one object are, and two of any objects."""

from __future__ import annotations

import math

from numba import njit

STRANGER = 0.05
"""Probability that an object's size or brightness changes so much that it tells nothing."""
ODD = 2e-3
"""Density, per unit of log size or brightness, of looks that no object had so far."""
STEADY_SIGHTINGS = 6.0
"""Of an object's latest sightings, so many make up what it is known to look like."""


@njit(nogil=True, cache=True)
def likeness(known, hits, seen, looks):  # type: ignore[no-untyped-def]
    """Log likelihood ratio of the same object against any object, from log size and log brightness (2,).

    looks (3, 2): variance of one sighting, mean and variance over all objects.
    """
    total = 0.0
    for k in range(2):
        variance = looks[0, k] * (1 + 1 / min(hits, STEADY_SIGHTINGS))
        same = math.exp(-0.5 * (known[k] - seen[k]) ** 2 / variance) / math.sqrt(2 * math.pi * variance)
        anyone = (
            math.exp(-0.5 * (seen[k] - looks[1, k]) ** 2 / looks[2, k]) / math.sqrt(2 * math.pi * looks[2, k]) + ODD
        )
        total += math.log((1 - STRANGER) * same / anyone + STRANGER)
    return total


@njit(nogil=True, cache=True)
def blend(known, hits, seen):  # type: ignore[no-untyped-def]
    """Take one more sighting into what an object is known to look like, in place."""
    gain = 1 / (1 + min(hits, STEADY_SIGHTINGS - 1))
    for k in range(2):
        known[k] += gain * (seen[k] - known[k])

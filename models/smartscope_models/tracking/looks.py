"""What size and brightness tell about identity: how alike two sightings of one object are, and two of any objects."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numba import njit

from smartscope_models.tracking.motion import REMEMBERED_LINKS, Doubles

STRANGER = 0.05
"""Probability that an object's size or brightness changes so much that it tells nothing."""
ODD = 2e-3
"""Density, per unit of log size or brightness, of looks that no object had so far."""
STEADY_SIGHTINGS = 6.0
"""Of an object's latest sightings, so many make up what it is known to look like."""


@dataclass(slots=True)
class Looks:
    """Log size and log brightness; columns (2,)."""

    change: Doubles = field(default_factory=lambda: np.array([0.1, 0.1]))
    """Variance of one sighting of an object."""
    mean: Doubles = field(default_factory=lambda: np.zeros(2))
    """Of all objects."""
    spread: Doubles = field(default_factory=lambda: np.ones(2))
    """Variance over all objects."""
    links: float = 15.0
    """So many links the knowledge of ``change`` rests on."""

    def packed(self) -> Doubles:
        """(3, 2) for compiled code; objects that all look the same tell nothing."""
        return np.stack([self.change, self.mean, np.maximum(self.spread, 2 * self.change)])

    def learn_population(self, look: Doubles) -> None:
        """From all sightings (D, 2) of a frame."""
        if len(look) > 1:
            rate = min(0.1, len(look) / 500) if self.mean.any() else 1.0
            mean, variance = _moments(look)
            self.mean = self.mean + rate * (mean - self.mean)
            self.spread = self.spread + rate * (np.maximum(variance, 1e-4) - self.spread)

    def learn_change(self, known: Doubles, hits: Doubles, look: Doubles) -> None:
        """From links (K, 2) that are beyond doubt; hits (K,): sightings that made up what was known."""
        if len(look):
            fresh = 1 + 1 / np.minimum(hits, STEADY_SIGHTINGS)
            squared = (look - known) ** 2 / fresh[:, None]
            limited = np.minimum(squared, 9 * self.change).mean(0)
            self.links = min(self.links + len(look), REMEMBERED_LINKS)
            rate = min(1.0, len(look) / self.links)
            self.change = self.change + rate * (np.maximum(limited, 1e-4) - self.change)


@njit(nogil=True, cache=True)
def _moments(look):  # type: ignore[no-untyped-def]
    """Mean and variance of the columns of (D, 2)."""
    mean, variance = np.zeros(2), np.zeros(2)
    for d in range(len(look)):
        mean += look[d]
    mean /= len(look)
    for d in range(len(look)):
        variance += (look[d] - mean) ** 2
    return mean, variance / len(look)


@njit(nogil=True, cache=True)
def of_anyone(seen, looks):  # type: ignore[no-untyped-def]
    """Density of each log size and log brightness, (D, M, 2), as any object's."""
    found = np.empty_like(seen)
    for k in range(2):
        height = 1 / math.sqrt(2 * math.pi * looks[2, k])
        for d in range(seen.shape[0]):
            for j in range(seen.shape[1]):
                found[d, j, k] = height * math.exp(-0.5 * (seen[d, j, k] - looks[1, k]) ** 2 / looks[2, k]) + ODD
    return found


@njit(nogil=True, cache=True)
def likeness(known, hits, seen, anyone, looks):  # type: ignore[no-untyped-def]
    """Likelihood ratio of the same object against any object, from log size and log brightness (2,).

    anyone (2,): density of what is seen as any object's; looks (3, 2): variance of one sighting, mean and variance over
    all objects.
    """
    ratio = 1.0
    for k in range(2):
        variance = looks[0, k] * (1 + 1 / min(hits, STEADY_SIGHTINGS))
        same = math.exp(-0.5 * (known[k] - seen[k]) ** 2 / variance) / math.sqrt(2 * math.pi * variance)
        ratio *= (1 - STRANGER) * same / anyone[k] + STRANGER
    return ratio


@njit(nogil=True, cache=True)
def blend(known, hits, seen):  # type: ignore[no-untyped-def]
    """Take one more sighting into what an object is known to look like, in place."""
    gain = 1 / (1 + min(hits, STEADY_SIGHTINGS - 1))
    for k in range(2):
        known[k] += gain * (seen[k] - known[k])

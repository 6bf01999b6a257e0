"""What a detector's word on where an object was in the frame before is worth: learned, and nothing until it is known.

A detector that only repeats where the object is now, or is wrong, errs by about as much as objects move; its word then
tells nothing that the motion does not tell already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from smartscope_models.tracking.motion import REMEMBERED_LINKS, Doubles

ENOUGH = 50.0
"""Links before it counts."""
BETTER = 0.25
"""Its variance over that of the objects' own moves, at most."""
MISTAKEN = 0.05
"""Probability that the word is about another object."""


@dataclass(slots=True)
class Backward:
    """Variances per axis, px²."""

    error: float = 0.0
    """Of the place told, against where the object was."""
    moved: float = 0.0
    """Of where it is now, against where it was."""
    links: float = 0.0

    def packed(self, gate_px: float) -> Doubles:
        """(2,) for compiled code: variance, 0 where it tells nothing; density of any other place, px⁻²."""
        trusted = self.links >= ENOUGH and self.error < BETTER * self.moved
        return np.array([max(self.error, 1e-4) if trusted else 0.0, 1 / (math.pi * gate_px**2)])

    def learn(self, told: Doubles, was: Doubles, is_now: Doubles) -> None:
        """From links beyond doubt, (K, 2) each; NaN where nothing was told."""
        known = ~np.isnan(told[:, 0])
        if count := int(known.sum()):
            self.links = min(self.links + count, REMEMBERED_LINKS)
            rate = min(1.0, count / self.links)
            self.error += rate * (float(((told - was)[known] ** 2).mean()) - self.error)
            self.moved += rate * (float(((is_now - was)[known] ** 2).mean()) - self.moved)


@njit(nogil=True, cache=True)
def retraced(told, was, backward):  # type: ignore[no-untyped-def]
    """Likelihood ratio of an object that was at ``was`` (2,) against any other, from the place ``told`` (2,)."""
    if backward[0] == 0.0 or math.isnan(told[0]) or math.isnan(was[0]):
        return 1.0
    squared = (told[0] - was[0]) ** 2 + (told[1] - was[1]) ** 2
    same = math.exp(-0.5 * squared / backward[0]) / (2 * math.pi * backward[0])
    return (1 - MISTAKEN) * same / backward[1] + MISTAKEN

"""What daughters are like: how far apart they are born, how they look beside their mother, how often; learned."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from smartscope_models.tracking.motion import Doubles

PRIOR = 3.0
"""Divisions that the start values are worth."""
LEAST_SHARE = 1e-4
MOST_REMEMBERED = 60.0
"""Divisions that make up what is typical."""
REMEMBERED = 2000.0
"""The share of objects that divide is an average over so many sightings."""


@dataclass(slots=True)
class Kinship:
    """How daughters lie and look; variances per axis, px², and of log size and log brightness."""

    apart: float
    """Logarithm of how far apart sisters are first seen, px."""
    astray: float
    """By how much the sisters' midpoint strays from where the mother was expected, beyond its own error: variance."""
    apart_variance: float = 0.2
    change: Doubles = field(default_factory=lambda: np.array([-0.3, -0.3]))
    """Daughter over mother, log size and log brightness."""
    change_variance: Doubles = field(default_factory=lambda: np.array([0.03, 0.15]))
    """Of the mean of both daughters."""
    unlike: Doubles = field(default_factory=lambda: np.array([0.05, 0.05]))
    """Mean square of the difference of sisters."""
    share: float = 0.003
    """Divisions per object and frame."""
    seen: float = PRIOR

    @classmethod
    def of_gate(cls, gate_px: float) -> Kinship:
        """Start values: sisters about a gate apart."""
        return cls(float(np.log(gate_px)), 0.01 * gate_px**2)

    def packed(self, reach: float) -> Doubles:
        """(10,) for compiled code."""
        looks = (*self.change, *self.change_variance, *self.unlike)
        return np.array([self.apart, *looks, reach, self.apart_variance, self.astray])

    def learn(self, observed: Doubles, weight: Doubles, objects: int) -> None:
        """From the divisions (K,) of a frame with ``objects``, each believed with a ``weight``.

        observed (K, 6): log distance of the sisters, squared error of the midpoint per axis beyond its own variance,
        change of log size and brightness, squared unlikeness of the two.
        """
        if objects:
            self.share += min(objects / REMEMBERED, 0.3) * (float(weight.sum()) / objects - self.share)
            self.share = max(self.share, LEAST_SHARE)
        for (apart, astray, *looks), sure in zip(observed, weight, strict=True):
            self.seen = min(self.seen + sure, MOST_REMEMBERED)
            rate = float(sure / self.seen)
            self.apart_variance += rate * (min((apart - self.apart) ** 2, 1.0) - self.apart_variance)
            self.apart += rate * (apart - self.apart)
            self.astray = max(self.astray + rate * (astray - self.astray), 0.0)
            off = np.array(looks[:2]) - self.change
            self.change_variance = self.change_variance + rate * (np.minimum(off**2, 0.5) - self.change_variance)
            self.change = self.change + rate * off
            self.unlike = self.unlike + rate * (np.minimum(looks[2:], 0.5) - self.unlike)

"""How wide spots really are: measured on those that stand alone, and remembered."""

from __future__ import annotations

import math

import numpy as np

from smartscope_models.localization.elongation import excess_variance
from smartscope_models.localization.groups import pairs_within
from smartscope_models.localization.joint import Bench, Doubles, Field

MEMORY = 500
"""Spots remembered."""
ENOUGH = 20
"""Spots below which nothing is concluded."""
ALONE = 5.0
"""Widths within which a spot that is measured has no other."""
LARGEST_CHANGE = 0.5
"""Excess of variance, over the model's, that one measurement may report: beyond, the first-order step is not valid."""
FIRM = 0.15
"""Standard error of that excess above which a spot is too faint to tell."""


class WidthMeter:
    """A running median of the variance of lone spots, over the configured one."""

    def __init__(self) -> None:
        self._recent = np.empty(MEMORY)
        self._seen = 0

    @property
    def known(self) -> bool:
        """Whether enough spots have been measured."""
        return self._seen >= ENOUGH

    @property
    def ratio(self) -> float:
        """Measured over configured width; 1 until it is known."""
        if not self.known:
            return 1.0
        return math.sqrt(float(np.median(self._recent[: min(self._seen, MEMORY)])))

    def learn(self, field: Field, table: Doubles, curve: Doubles, ratio: float, bench: Bench) -> None:
        """Measure the lone spots of table (K, 4), which were fitted with ``ratio`` times the configured width."""
        alone = np.ones(len(table), bool)
        alone[pairs_within(table, ALONE * curve[1]).ravel()] = False
        found = [excess_variance(field, spot, curve, bench) for spot in table[alone]]
        excess = np.array([value for value, error in found if error < FIRM])[:MEMORY]
        relative = ratio**2 * (1 + np.clip(excess, -LARGEST_CHANGE, LARGEST_CHANGE))
        self._recent[(self._seen + np.arange(len(relative))) % MEMORY] = relative
        self._seen += len(relative)

    def forget(self) -> None:
        """Begin anew: what was measured came from a model that was far off."""
        self._seen = 0

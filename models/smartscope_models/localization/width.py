"""How wide spots really are: measured on those that stand alone, and remembered."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

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

NARROWEST, WIDEST = 0.5, 2.5
"""Measured over configured width that is believed at most."""


@njit(nogil=True, cache=True)
def _excess_of_lone(field, table, reach, curve, bench):  # type: ignore[no-untyped-def]
    """Excess variance of the spots of table (K, 4) that have no other within ``reach``, if it can be told."""
    alone = np.ones(len(table), np.bool_)
    for a, b in pairs_within(table, reach):
        alone[a] = alone[b] = False
    out, count = np.empty(len(table)), 0
    for k in range(len(table)):
        if alone[k]:
            value, error = excess_variance(field, table[k], curve, bench)
            if error < FIRM:
                out[count] = value
                count += 1
    return out[:count]


def pairing(table: Doubles, reach_px: float) -> float:
    """Share of the spots of table (K, 4) that have another within ``reach_px``."""
    return len(np.unique(pairs_within(table, reach_px))) / max(len(table), 1)


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
        measured = math.sqrt(float(np.median(self._recent[: min(self._seen, MEMORY)])))
        return min(max(measured, NARROWEST), WIDEST)

    def learn(self, field: Field, table: Doubles, curve: Doubles, ratio: float, bench: Bench) -> None:
        """Measure the lone spots of table (K, 4), which were fitted with ``ratio`` times the configured width."""
        excess = _excess_of_lone(field, table, ALONE * curve[1], curve, bench)[:MEMORY]
        relative = ratio**2 * (1 + np.clip(excess, -LARGEST_CHANGE, LARGEST_CHANGE))
        self._recent[(self._seen + np.arange(len(relative))) % MEMORY] = relative
        self._seen += len(relative)

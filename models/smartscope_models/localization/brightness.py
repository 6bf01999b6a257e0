"""How bright molecules are in this sample, learned from those that stand alone: what tells one bright from two dim.

ln N is taken as normal about its running median, but for one molecule in ten, which may have any brightness: a change
of laser power or buffer must never make true molecules unlikely enough to be thrown away.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
MEMORY = 600
"""Molecules remembered."""
ENOUGH = 50
"""Molecules below which the frame's own are looked at, and if they too are fewer, only their median is used."""
UNSEEN = 6.0
"""ln N of what has never been seen."""
NARROWEST, WIDEST = 0.35, 1.5
"""Standard deviations of ln N that may be assumed."""
STRANGERS = 0.1
"""Share of molecules of any brightness."""
DECADES = math.log(1e4)
"""Range of ln N that a stranger may have."""
ROOT_2_PI = math.sqrt(2 * math.pi)


class Brightness:
    """A running sample of ln N."""

    def __init__(self) -> None:
        self._recent = np.empty(MEMORY)
        self._seen = 0

    def learn(self, shots: Doubles) -> None:
        """Take in the photons (K,), in shots, of molecules that were fitted well."""
        some = np.log(np.maximum(shots[:MEMORY], 1.0))
        self._recent[(self._seen + np.arange(len(some))) % MEMORY] = some
        self._seen += len(some)

    def known(self, fresh: Doubles) -> Doubles:
        """(4,): median of ln N, 1 / its variance, height of its density, and the density of strangers, both over ln N.

        fresh: (K,) a first estimate of the photons in this frame, used while too few have been seen.
        """
        known = min(self._seen, MEMORY)
        sample = self._recent[:known] if known >= ENOUGH else np.log(np.maximum(fresh, 1.0))
        if len(sample) == 0:
            return np.array([UNSEEN, WIDEST**-2, (1 - STRANGERS) / ROOT_2_PI, STRANGERS / DECADES])
        low, middle, high = np.quantile(sample, [0.16, 0.5, 0.84])
        enough = len(sample) >= ENOUGH
        width = min(max(0.5 * float(high - low), NARROWEST), WIDEST) if enough else WIDEST
        return np.array([middle, width**-2, (1 - STRANGERS) / ROOT_2_PI, STRANGERS / DECADES])

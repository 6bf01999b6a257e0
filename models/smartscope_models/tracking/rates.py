"""How often things happen: detection, death, births and false detections, learned from what was tracked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartscope_models.tracking.motion import Doubles
from smartscope_models.tracking.objects import Integers

LEAST, MOST = 0.5, 0.999
"""Of the probabilities of detection and survival."""
FLOOD = 8.0
"""Times the usual number of newcomers, and so many more: then most of them are false."""
MANY = 5
"""Objects that are not missed all at once by chance."""
FALSE_AGAIN = 0.2
"""Probability that something is taken for the return of a false detection."""
LIKELY_GONE = 0.02
"""An object that exists with less than this probability is given up."""


@dataclass(slots=True)
class Rates:
    """Running averages; each starts from a typical value that soon counts for little."""

    detected: float = 0.95
    """Probability that an object in view is detected."""
    survives: float = 0.99
    """Probability that an object is still there a frame later."""
    lasting: float = 0.6
    """Share of new objects that are real."""
    newcomers: float = 0.0
    """Detections per frame and px² that belong to no object known before."""

    def begin(self, detections: int, area_px2: float) -> None:
        """The first frame's density says how many newcomers to expect: a few of a hundred."""
        if not self.newcomers:
            self.newcomers = 0.03 * max(detections, 1) / max(area_px2, 1.0)

    def crowding(self, detections: int, expected: float, area_px2: float) -> float:
        """How many times more newcomers than usual this frame must hold; 1 unless it is a flood."""
        usual = self.newcomers * max(area_px2, 1.0)
        surplus = detections - expected
        return surplus / usual if surplus > FLOOD * usual + FLOOD else 1.0

    def learn_newcomers(self, newcomers: int, detections: int, area_px2: float) -> None:
        """From one frame; a flood counts as a few frames' worth only, and at least one in a hundred is new."""
        usual = self.newcomers * max(area_px2, 1.0)
        bounded = min(max(newcomers, 0.005 * detections), 3 * usual + 3)
        weight = max(usual, 1.0)
        self.newcomers += (bounded / max(area_px2, 1.0) - self.newcomers) * min(0.1, weight / 40)

    def learn_detection(self, seen: int, bridged: int) -> None:
        """``bridged``: misses of objects that came back, among ``seen`` sightings of known objects."""
        if total := seen + bridged:
            self.detected = _moved(self.detected, seen / total, total / 2000)

    def learn_survival(self, alive: int, gone: int) -> None:
        """``gone``: established objects given up; ``alive``: those that were seen."""
        if total := alive + gone:
            self.survives = _moved(self.survives, alive / total, total / 4000)

    def learn_lasting(self, second: int, never: int) -> None:
        """Newcomers that were seen again, and those that never were."""
        if total := second + never:
            share = min(second / total / self.detected, 1.0)
            self.lasting = min(max(self.lasting + min(total / 200, 0.2) * (share - self.lasting), 0.05), 0.95)

    def worth(self, later: Integers, frames: Integers) -> Doubles:
        """(D,) log likelihood ratio of a real object against a newcomer, from ``later`` sightings in ``frames``."""
        unseen = (1 - self.detected * self.survives) ** frames + (1 - self.survives) * (frames > 0)
        by_chance = np.where(later > 0, FALSE_AGAIN, 1 - FALSE_AGAIN) / np.where(later > 0, 1 - unseen, unseen)
        ratio = self.lasting + (1 - self.lasting) * by_chance
        return np.where(frames > 0, -np.log(ratio), 0.0)

    def after_miss(self, exists: Doubles, seen: int, visible: float) -> Doubles:
        """Probability of existence once an object was not seen, in a frame that shows ``seen`` of ``visible`` objects.

        A frame that shows hardly any of many, a blank one for example, says little about each.
        """
        dim = visible > MANY and seen < 0.5 * self.detected * visible
        detected = max(seen / visible, 0.05) if dim else self.detected
        missed: Doubles = exists * (1 - detected)
        return np.asarray(missed / (missed + 1 - exists + 1e-12))


def _moved(value: float, target: float, rate: float) -> float:
    return float(min(max(value + min(rate, 0.2) * (target - value), LEAST), MOST))

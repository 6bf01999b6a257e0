"""From the false alarms that a user allows in an hour to the score that must be passed, learnt while nothing happens.

A score that adds up evidence and falls back to zero (a CUSUM) goes on excursions. While nothing happens, the highest
points of long excursions are distributed exponentially (Siegmund, Sequential Analysis, 1985, chapter 2), so that few
hundred of them tell how often a far higher level is passed. If the score is a true logarithm of a likelihood ratio, a
level h is passed at most once in exp(h) steps (Lorden, Ann Math Stat 42:1897, 1971): what is believed before any data.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

BIN = 0.1
"""Of the histogram of highest points, in units of the score (nats)."""
BINS = 1024
BASIS = 600
"""Excursions, the highest ones below the level, on which the tail rests."""
LARGEST_SHARE = 0.2
"""Of all excursions: the lower ones are none of the tail."""
BELIEVED = 20.0
"""Excursions beyond the base that the belief before any data is worth."""
FORGET = 100_000.0
"""Excursions after which what was learnt counts half, for specimens change."""
LOWER, ROUNDS = 0.3, 3
"""Part of the tail from which its steepness is first guessed; how often it is then found anew."""
OUTLIER = 1.0
"""Beyond where exp(-1) excursions are expected there should be none."""
MOST_STEPS = 1e15
"""In an hour: clocks may stammer."""
STEEPEST, FLATTEST = 5.0, 0.15
"""Tails, per unit of the score."""


class AlarmLevel:
    """The level for one kind of event.

    Args:
        per_hour: false alarms in an hour, in the whole field.
        tail, rate: belief about how steeply highest points thin out, per unit of the score, and how many excursions
            begin in a step.
    """

    def __init__(self, per_hour: float, tail: float = 1.0, rate: float = 1.0) -> None:
        self.per_hour = per_hour
        self._believed_tail, self._believed_rate = tail, rate
        self._counts = np.zeros(BINS)
        self._steps = 0.0
        self._steps_per_hour = 0.0
        self._stale = True
        self._tail, self._from, self._rate = tail, 0.0, rate

    def learn(self, peaks: npt.NDArray[np.float64], steps: float, elapsed_s: float) -> None:
        """Take in the highest points (K,) of excursions that ended without an alarm, and the steps, object times frame,
        of ``elapsed_s``."""
        if peaks.size:
            self._counts += np.bincount(np.minimum(peaks / BIN, BINS - 1).astype(np.int64), minlength=BINS)
            self._stale = True
        self._steps += steps
        if elapsed_s > 0 and steps > 0:
            now = min(steps * 3600 / elapsed_s, MOST_STEPS)
            self._steps_per_hour += (now - self._steps_per_hour) * (1.0 if not self._steps_per_hour else 0.05)
        if self._counts.sum() > FORGET:
            self._counts /= 2
            self._steps /= 2

    @property
    def level(self) -> float:
        """The score from which on an event is told; infinite until it is known how fast time goes."""
        if not self._steps_per_hour:
            return math.inf
        if self._stale:
            self._fit()
        per_hour = self._rate * self._steps_per_hour
        return max(self._from + math.log(max(per_hour / self.per_hour, 1e-9)) / self._tail, BIN)

    def false_per_hour(self, score: float) -> float:
        """How often such a score, or a higher one, is reached in an hour while nothing happens."""
        return self.per_hour * math.exp(min(self._tail * (self.level - score), 50.0))

    def _fit(self) -> None:
        """Tail above a base: its steepness, and how many excursions a step brings that go beyond.

        What lies far above all that the tail explains is not counted: events that went unnoticed.
        """
        self._stale = False
        above = np.cumsum(self._counts[::-1])[::-1]
        basis = min(BASIS, LARGEST_SHARE * above[0])
        base = min(max(int(np.searchsorted(-above, -basis)), 1), BINS // 2)
        count = float(above[base])
        expected = self._believed_rate * math.exp(-self._believed_tail * base * BIN)
        steep = self._steep(base, count)
        self._tail = min(max(steep, FLATTEST), STEEPEST)
        self._from = base * BIN
        count = float(self._counts[base : base + _reach(count, steep, base)].sum())
        self._rate = (count + BELIEVED) / (self._steps + BELIEVED / expected)

    def _steep(self, base: int, count: float) -> float:
        """Steepness of the tail above a bin, what it cannot explain left out; the lower part of it is where to begin.

        The belief counts as so many excursions that follow it.
        """
        low = int(np.searchsorted(-np.cumsum(self._counts[base:][::-1])[::-1], -(1 - LOWER) * count))
        steep = (-math.log(1 - LOWER) * count + BELIEVED) / (max(low, 1) * BIN * count + BELIEVED / self._believed_tail)
        for _ in range(ROUNDS):
            reach = _reach(count, steep, base)
            told = self._counts[base : base + reach]
            excess = float((told * (np.arange(reach) + 0.5)).sum()) * BIN
            mean = (excess + BELIEVED / self._believed_tail) / (float(told.sum()) + BELIEVED)
            steep = _steepness(mean, reach * BIN)
        return steep


def _reach(count: float, steep: float, base: int) -> int:
    """Bins above the base beyond which so many excursions hardly go."""
    return min(1 + math.ceil((math.log(max(count, 1.0) + BELIEVED) + OUTLIER) / steep / BIN), BINS - base)


def _steepness(mean: float, length: float) -> float:
    """Of an exponential law cut off at ``length`` with this mean: by Newton's method."""
    steep = 1 / mean
    for _ in range(20):
        grown = math.expm1(min(steep * length, 500.0))
        value = 1 / steep - length / grown - mean
        slope = -1 / steep**2 + length**2 * (grown + 1) / grown**2
        step = value / slope if slope < 0 else 0.0
        steep = min(max(steep - step, FLATTEST / 4), 4 * STEEPEST)
        if abs(step) < 1e-6:
            break
    return steep

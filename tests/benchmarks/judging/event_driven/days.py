"""When events happen and what a detector says of each frame: stand-ins for specimen and network, from a seed.

Events of 30 s (from the constriction of a mitochondrion to its parted halves) begin at random, one after another where
they would overlap, so that at most the given part of the time holds one. The detector says 1 while one is going on and
0 else, with Gaussian noise; from time to time it is wrong for some seconds, as where two mitochondria cross.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EVENT_S = 30.0
WRONG_EVERY_S, WRONG_S, WRONG_SIGNAL = 300.0, 3.0, 0.8


@dataclass(frozen=True, slots=True)
class Day:
    """One run's events, s, and the detector's noise."""

    seconds: float
    onsets: tuple[float, ...]
    wrong: tuple[float, ...]
    """When it is wrong for a while."""
    noise: float
    seed: int

    @classmethod
    def of(cls, seed: int, seconds: float, present: float, noise: float) -> Day:
        """A day of which about this part holds an event."""
        rng = np.random.default_rng((seed, 1))
        count = max(1, round(present * seconds / EVENT_S))
        free = np.sort(rng.uniform(0, seconds - count * EVENT_S, count))
        onsets = free + EVENT_S * np.arange(count)
        wrong = np.sort(rng.uniform(0, seconds, rng.poisson(seconds / WRONG_EVERY_S)))
        return cls(seconds, tuple(onsets.tolist()), tuple(wrong.tolist()), noise, seed)

    def happens(self, t_s: float) -> bool:
        """Whether an event is going on."""
        return any(onset <= t_s < onset + EVENT_S for onset in self.onsets)

    def signal(self, t_s: float) -> float:
        """What the detector says of a frame exposed at this time: the same whenever it is asked."""
        rng = np.random.default_rng((self.seed, 2, round(t_s * 1e6)))
        wrong = any(begin <= t_s < begin + WRONG_S for begin in self.wrong)
        truth = 1.0 if self.happens(t_s) else WRONG_SIGNAL if wrong else 0.0
        return truth + self.noise * float(rng.normal())

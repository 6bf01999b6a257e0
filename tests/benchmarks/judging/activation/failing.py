"""Five ways in which a counter of molecules fails, behind an honest one: each is a stage that falsifies its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Result

Figures = dict[str, float]


def zero(figures: Figures, rng: np.random.Generator) -> Figures:
    """Finds nothing any more, and is sure of it."""
    return {**figures, "emitters": 0.0, "recall_health": 1.0}


def fifth(figures: Figures, rng: np.random.Generator) -> Figures:
    """Finds one in five."""
    return {**figures, "emitters": float(rng.binomial(round(figures["emitters"]), 0.2)), "recall_health": 1.0}


def collapses(figures: Figures, rng: np.random.Generator) -> Figures:
    """Finds fewer, the more there are."""
    found = figures["emitters"]
    return {**figures, "emitters": found * float(np.exp(-((found / 45) ** 2))), "recall_health": 1.0}


def frozen(figures: Figures, rng: np.random.Generator) -> Figures:
    """Says the same for ever, a little below the target."""
    return {**figures, "emitters": 50.0, "recall_health": 1.0}


def vanished(figures: Figures, rng: np.random.Generator) -> Figures:
    """Says nothing."""
    return {name: value for name, value in figures.items() if name not in ("emitters", "recall_health")}


WAYS: dict[str, Callable[[Figures, np.random.Generator], Figures]] = {
    way.__name__: way for way in (zero, fifth, collapses, frozen, vanished)
}


class Failing:
    """A stage behind the localiser that falsifies what it counted, from ``from_s`` on."""

    history = 0

    def __init__(self, setup: Instrument, way: str, from_s: float) -> None:
        self._way, self._from_s = WAYS[way], from_s
        self._rng = np.random.default_rng(1)
        self._began_s: float | None = None

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Nothing."""

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with other figures."""
        t_s = frames[-1].t_start_ns / 1e9
        self._began_s = t_s if self._began_s is None else self._began_s
        if t_s - self._began_s < self._from_s or "emitters" not in so_far.quality:
            return so_far
        return replace(so_far, quality=self._way(dict(so_far.quality), self._rng))

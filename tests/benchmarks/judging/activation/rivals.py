"""What is published for activation control, written anew from its description and source: htSMLM's counter and law.

jdeschamps/htSMLM (LGPL), ``ActivationTask``: N by local maxima of the blurred difference of two frames above
median + DynFactor (q80 - q20) / 0.6 of all maxima; dp <- dp + 0.1 + Fd p (1 - N / N0), p <- p + dp, then dp <- 0 where
|dp| > 1 or the pulse is at zero. One iteration every 100 ms and two frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter

from smartscope.command import Request, SetLight
from smartscope.frame import Frame
from smartscope.ports import Choice, Context, Instrument
from smartscope.result import Result

BLUR_PX, APART_PX = 3.0, 7
DYN_FACTOR = 1.5
LOW, HIGH = 0.2, 0.8


class PeakCounter:
    """The published counter: ``peaks`` that were there in the frame before, and are not in this one."""

    history = 1

    def __init__(self, setup: Instrument) -> None:
        pass

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Nothing."""

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with ``peaks``; without it after the first frame of an epoch."""
        if len(frames) < 2:
            return so_far
        before, now = (frame.pixels.astype(np.float32) for frame in frames[-2:])
        return replace(so_far, quality={**so_far.quality, "peaks": float(peaks(before - now))})


def peaks(difference: np.ndarray) -> int:
    """How many maxima of the blurred positive difference stand out from the rest of them."""
    blurred = np.maximum(gaussian_filter(difference, BLUR_PX), 0)
    highest = maximum_filter(blurred, 2 * APART_PX + 1)
    values = blurred[(blurred == highest) & (blurred > 0)]
    if not len(values):
        return 0
    low, median, high = np.quantile(values, (LOW, 0.5, HIGH))
    return int((values >= median + DYN_FACTOR * (high - low) / (HIGH - LOW)).sum())


@dataclass(frozen=True, slots=True)
class PulseState:
    """What the law remembers."""

    change: float = 0.0
    """dp"""
    next_s: float = 0.0
    window: tuple[float, ...] = ()


class PulseLaw:
    """The published law, its pulse as a light's power.

    Options:
        reads_figure: N; ``peaks`` as published, ``emitters`` where it is lent a better counter.
        n0: N to hold.
        mw_per_unit: of the pulse, whose constants 0.1 and 1 have a unit.
        every_s: between two iterations; frames: of which N is the mean.
    """

    reads = frozenset({"quality"})

    def __init__(
        self,
        light: str,
        n0: float,
        reads_figure: str = "peaks",
        mw_per_unit: float = 0.002,
        feedback: float = 0.4,
        every_s: float = 0.14,
        frames: int = 1,
    ) -> None:
        self.light, self.n0, self.figure = light, n0, reads_figure
        self.mw_per_unit, self.feedback, self.every_s, self.frames = mw_per_unit, feedback, every_s, frames

    def decide(self, context: Context) -> Choice:
        """One iteration, when it is due."""
        state: PulseState = context.state or PulseState(next_s=context.elapsed_s + self.every_s)
        counted: Any = context.result.quality.get(self.figure)
        if counted is None:
            return Choice(state=state)
        state = replace(state, window=(*state.window, counted)[-self.frames :])
        if context.elapsed_s < state.next_s:
            return Choice(state=state)
        pulse = context.settings.lights_mw[self.light] / self.mw_per_unit
        n = sum(state.window) / len(state.window)
        change = state.change + 0.1 + self.feedback * pulse * (1 - n / self.n0)
        most_mw = context.limits.lights[self.light].max_power_mw
        power_mw = min(max((pulse + change) * self.mw_per_unit, 0.0), most_mw)
        if change * change > 1 or (power_mw == 0 and change < 0):
            change = 0.0
        state = replace(state, change=change, next_s=context.elapsed_s + self.every_s)
        why = f"{n:.3g} {self.figure} of {self.n0:.3g}"
        return Choice([Request(SetLight(self.light, power_mw), why)], state)

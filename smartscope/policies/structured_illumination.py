"""When the next stack of structured illumination is taken, and with how much light: as little as keeps its verdict ok.

What a stack shows beyond widefield's limit, ``fine_detail``, is in proportion to its light as long as there is little
of both. The next stack gets the light for a target a little above what the verdict asks for, by exposure as far as
motion allows and by power beyond that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from smartscope.bursts import burst
from smartscope.command import Request, RunPlan
from smartscope.frame import Settings
from smartscope.ports import Choice, Context

NAME = "structured_illumination"
LARGEST_FACTOR = 2.0
"""By which the light of one stack differs from that of the one before."""
BACK_OFF = 0.6
"""Saturated stacks cut the light to this fraction: by how much they overshot cannot be known."""
MOVED_PX = 0.3
"""Motion between directions from which the exposure is made shorter, and the light stronger."""
PATIENCE = 3.0
"""A stack that has not come after so many times its own duration, and five seconds, will not come."""


@dataclass(frozen=True, slots=True)
class StackState:
    """What the policy remembers between frames."""

    light_ms_mw: float
    """Exposure x power of each raw frame of the next stack."""
    longest_ms: float
    """Exposure that motion allows."""
    asked_s: float = -math.inf
    """When the last stack was asked for, since the run began."""
    waiting: bool = False
    """Whether its result has not come yet."""
    said: str = "first stack"


class StructuredIlluminationPolicy:
    """Takes a stack every ``every_s``; holds its light at the least that keeps the verdict ok, within the dose budget.

    Reads ``structured_illumination_verdict`` and ``_saturated``, ``fine_detail`` and ``moved_px``. Where the budget
    does not last for stacks that are good enough, they are taken less often: one that is not ok costs its light for
    nothing.

    Options:
        light: that makes the fringes.
        every_s: between two stacks; 0: as often as they come.
        exposure_ms, power_mw: of the first stack's raw frames.
        longest_ms: exposure that is never exceeded; beyond it, power rises.
        target_detail: ``fine_detail`` that is held; the verdict is ok from about half of 0.08 on.
        hold: False keeps exposure and power as they are.
        stacks: in a row, in one burst; each frame after the first stack gives an image.
    """

    reads = frozenset({"quality"})

    def __init__(
        self,
        light: str,
        every_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0,
        exposure_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0,
        power_mw: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0,
        longest_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 50.0,
        target_detail: Annotated[float, Field(gt=0, lt=1)] = 0.08,
        deadband: Annotated[float, Field(ge=0, lt=0.5)] = 0.1,
        hold: bool = True,
        stacks: Annotated[int, Field(ge=1, le=1000)] = 1,
    ) -> None:
        self.light = light
        self.every_s = every_s
        self.first = StackState(exposure_ms * power_mw, longest_ms)
        self._first_exposure_ms = exposure_ms
        self.target_detail = target_detail
        self.deadband = deadband
        self.hold = hold
        self.stacks = stacks

    def decide(self, context: Context) -> Choice:
        """Learn from a stack that has come; ask for the next one when it is due."""
        state: StackState = self.first if context.state is None else context.state
        config = context.instrument.optics.structured_illumination
        if config is None or self.light not in context.limits.lights:
            return Choice(state=state)
        frames = config.angles * config.phases
        fine = context.result.super_resolved
        if fine is not None and fine.settings is not None:
            learned = self._learned(context, state, fine.settings) if self.hold else state
            state = replace(learned, waiting=False)
        exposure_ms, power_mw = self._split(context, state)
        since_s, lasts_s = context.elapsed_s - state.asked_s, frames * self.stacks * exposure_ms / 1e3
        if state.waiting and since_s < PATIENCE * lasts_s + 5.0:
            return Choice(state=state)
        wait_s = max(self.every_s, lasts_s, self._rest_s(context, lasts_s, power_mw))
        if since_s < wait_s or math.isinf(wait_s) or power_mw <= 0:
            return Choice(state=state)
        events = burst(context.instrument, exposure_ms, self.stacks)
        why = f"{state.said}: {exposure_ms:.3g} ms at {power_mw:.3g} mW"
        if wait_s > max(self.every_s, lasts_s):
            why += f", every {wait_s:.3g} s so that the dose lasts"
        asked = Request(RunPlan(NAME, events, {self.light: power_mw}), why)
        return Choice([asked], replace(state, asked_s=context.elapsed_s, waiting=True))

    def _learned(self, context: Context, state: StackState, used: Settings) -> StackState:
        """The light for the target, from what the stack of this result had."""
        quality = context.result.quality
        light_ms_mw = used.exposure_ms * used.lights_mw.get(self.light, 0.0)
        if light_ms_mw <= 0:
            return state
        longest_ms = state.longest_ms
        if quality.get("moved_px", 0.0) > MOVED_PX:
            longest_ms = max(context.limits.exposure_ms.low, min(longest_ms, used.exposure_ms) / 2)
        if quality.get("structured_illumination_saturated", 0.0) > 1e-3:
            return StackState(BACK_OFF * light_ms_mw, longest_ms, state.asked_s, said="the last stack was saturated")
        detail = quality.get("fine_detail", 0.0)
        if quality.get("structured_illumination_verdict", 0.0) == 0 or detail <= 0:
            said, factor = "the last stack failed", LARGEST_FACTOR
        else:
            said = f"fine detail {detail:.3g}, target {self.target_detail:.3g}"
            factor = min(max(self.target_detail / detail, 1 / LARGEST_FACTOR), LARGEST_FACTOR)
            if abs(factor - 1) <= self.deadband:
                factor = 1.0
        return StackState(factor * light_ms_mw, longest_ms, state.asked_s, said=said)

    def _split(self, context: Context, state: StackState) -> tuple[float, float]:
        """Exposure in ms and power in mW for the light of ``state``, within the limits."""
        limits, wall = context.limits.exposure_ms, context.limits.lights[self.light]
        start_mw = min(self.first.light_ms_mw / self._first_exposure_ms, wall.max_power_mw)
        if not self.hold:
            return self._first_exposure_ms, start_mw
        longest_ms = min(state.longest_ms, limits.high)
        exposure_ms = min(max(state.light_ms_mw / start_mw, limits.low), longest_ms)
        return exposure_ms, min(state.light_ms_mw / exposure_ms, wall.max_power_mw)

    def _rest_s(self, context: Context, lasts_s: float, power_mw: float) -> float:
        """Between stacks of this light, so that what is left of the budget lasts until the end of the run."""
        dose, per_mw = context.dose, context.dose.per_mw_j_per_cm2_s.get(self.light, 0.0)
        if math.isinf(dose.budget_j_per_cm2) or context.remaining_s is None:
            return 0.0
        affordable = dose.remaining_j_per_cm2 / max(lasts_s * power_mw * per_mw, 1e-12)
        return context.remaining_s / affordable if affordable > 0 else math.inf

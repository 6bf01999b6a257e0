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
from smartscope.config import StructuredIlluminationConfig
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
"""A burst that has not come after so many times its own duration, and five seconds, will not come."""
RETRY_S = 0.5
"""After a refusal, say because another plan is under way."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A burst that was asked for and has not come."""

    name: str
    """Of its plan: each has its own, so that a refusal is seen."""
    preview: bool
    at_s: float
    """Since the run began."""
    until_s: float
    """When it is given up."""
    before_s: float
    """When the one before it was asked for."""


@dataclass(frozen=True, slots=True)
class StackState:
    """What the policy remembers between frames."""

    light_ms_mw: float
    """Exposure x power of each raw frame of the next stack."""
    longest_ms: float
    """Exposure that motion allows."""
    taken_s: float = -math.inf
    """When the last stack was asked for and not refused, since the run began."""
    previewed_s: float = -math.inf
    """The same of the last preview."""
    not_before_s: float = -math.inf
    asked: Asked | None = None
    bursts: int = 0
    """Asked for so far."""
    said: str = "first stack"

    def marked(self, preview: bool, t_s: float) -> StackState:
        """The last stack, or preview, was asked for at this time."""
        return replace(self, previewed_s=t_s) if preview else replace(self, taken_s=t_s)


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
        fewest_directions: where the dose does not last for stacks of all directions, as many as it lasts for, but not
            fewer than this; finer than widefield along these alone. None: always all.
        preview_s: between previews of one frame of each direction, at the light of the last stack; None: none.
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
        fewest_directions: Annotated[int, Field(ge=1, le=9)] | None = None,
        preview_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
    ) -> None:
        self.light = light
        self.every_s = every_s
        self.first = StackState(exposure_ms * power_mw, longest_ms)
        self._first_exposure_ms = exposure_ms
        self.target_detail = target_detail
        self.deadband = deadband
        self.hold = hold
        self.stacks = stacks
        self.fewest_directions = fewest_directions
        self.preview_s = preview_s

    def decide(self, context: Context) -> Choice:
        """Learn from a stack that has come; ask for the next one when it is due."""
        state: StackState = self.first if context.state is None else context.state
        config = context.instrument.optics.structured_illumination
        if config is None or self.light not in context.limits.lights:
            return Choice(state=state)
        fine = context.result.super_resolved
        if self.hold and fine is not None and fine.settings is not None and not fine.preview:
            state = self._learned(context, state, fine.settings)
        state = _heard(context, state)
        exposure_ms, power_mw = self._split(context, state)
        if state.asked is not None or context.elapsed_s < state.not_before_s or power_mw <= 0:
            return Choice(state=state)
        directions, wait_s = self._affordable(context, config, exposure_ms, power_mw)
        if context.elapsed_s - state.taken_s < wait_s or math.isinf(wait_s):
            return self._preview(context, config, state, exposure_ms, power_mw)
        frames = directions * config.phases
        why = f"{state.said}: {exposure_ms:.3g} ms at {power_mw:.3g} mW"
        if directions < config.angles:
            why += f", {directions} of {config.angles} directions so that the dose lasts"
        elif wait_s > max(self.every_s, frames * self.stacks * exposure_ms / 1e3):
            why += f", every {wait_s:.3g} s so that the dose lasts"
        events = burst(context.instrument, exposure_ms, self.stacks, range(frames))
        return self._ask(context, state, RunPlan(NAME, events, {self.light: power_mw}), why)

    def _preview(
        self,
        context: Context,
        config: StructuredIlluminationConfig,
        state: StackState,
        exposure_ms: float,
        power_mw: float,
    ) -> Choice:
        """One frame of each direction between two stacks, where previews are wanted and a stack has come."""
        last_s = max(state.taken_s, state.previewed_s)
        if self.preview_s is None or state.taken_s < 0 or context.elapsed_s - last_s < self.preview_s:
            return Choice(state=state)
        one_each = range(0, config.angles * config.phases, config.phases)
        events = burst(context.instrument, exposure_ms, steps=one_each)
        plan = RunPlan(NAME, events, {self.light: power_mw})
        return self._ask(context, state, plan, "preview between stacks", preview=True)

    def _ask(self, context: Context, state: StackState, plan: RunPlan, why: str, preview: bool = False) -> Choice:
        now_s, number = context.elapsed_s, state.bursts + 1
        until_s = now_s + PATIENCE * sum(event.exposure or 0.0 for event in plan.events) / 1e3 + 5.0
        before_s = state.previewed_s if preview else state.taken_s
        plan = replace(plan, name=f"{NAME} {number}")
        asked = Asked(plan.name, preview, now_s, until_s, before_s)
        return Choice([Request(plan, why)], replace(state.marked(preview, now_s), asked=asked, bursts=number))

    def _affordable(
        self, context: Context, config: StructuredIlluminationConfig, exposure_ms: float, power_mw: float
    ) -> tuple[int, float]:
        """Directions of the next stack, and seconds between two, so that the budget lasts."""
        lasts_s = config.angles * config.phases * self.stacks * exposure_ms / 1e3
        wait_s = max(self.every_s, lasts_s)
        rest_s = self._rest_s(context, lasts_s, power_mw)
        if rest_s <= wait_s or self.fewest_directions is None or math.isinf(rest_s):
            return config.angles, max(wait_s, rest_s)
        fewest = min(self.fewest_directions, config.angles)
        directions = max(fewest, math.floor(config.angles * wait_s / rest_s))
        return directions, max(wait_s, rest_s * directions / config.angles)

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
            return replace(
                state,
                light_ms_mw=BACK_OFF * light_ms_mw,
                longest_ms=longest_ms,
                said="the last stack was saturated",
            )
        detail = quality.get("fine_detail", 0.0)
        if quality.get("structured_illumination_verdict", 0.0) == 0 or detail <= 0:
            said, factor = "the last stack failed", LARGEST_FACTOR
        else:
            said = f"fine detail {detail:.3g}, target {self.target_detail:.3g}"
            factor = min(max(self.target_detail / detail, 1 / LARGEST_FACTOR), LARGEST_FACTOR)
            if abs(factor - 1) <= self.deadband:
                factor = 1.0
        return replace(state, light_ms_mw=factor * light_ms_mw, longest_ms=longest_ms, said=said)

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


def _heard(context: Context, state: StackState) -> StackState:
    """What has become of the burst that was asked for: it came, was refused, or is given up."""
    asked, fine = state.asked, context.result.super_resolved
    if asked is None:
        return state
    if fine is not None and fine.preview == asked.preview:
        return replace(state, asked=None)
    plan = context.granted.get("plan")
    if not isinstance(plan, RunPlan) or plan.name != asked.name:
        return replace(state.marked(asked.preview, asked.before_s), asked=None, not_before_s=asked.at_s + RETRY_S)
    return replace(state, asked=None) if context.elapsed_s > asked.until_s else state

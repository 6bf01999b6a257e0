"""Laser power: how strong one light may be so that the dose budget lasts, evenly spent, to the end of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from smartscope.command import Request, SetLight
from smartscope.ports import Choice, Context

SMALLEST_RISE = 0.02
"""A rise of this fraction of the limit is always gentle enough, also from darkness."""
USE_RANGE = (0.02, 2.0)
"""Trust the measured use of a light within this range; outside, something else happened."""


@dataclass(frozen=True, slots=True)
class PowerState:
    """The last update, to see how much of the light's power became dose since."""

    updated_s: float
    spent_j_per_cm2: float
    use: float = 1.0
    """Dose spent over dose expected of a light that is always on: below 1 where the camera gates it."""


class LaserPowerPolicy:
    """Spends ``dose.budget_j_per_cm2`` at an even rate with one light, and switches it off at the end of the budget.

    What other lights spend, and the time a gated light rests, is measured and allowed for. Without a budget, or without
    limits for the light, it asks for nothing. The exposure policy may hold the image quality meanwhile.
    """

    reads: frozenset[str] = frozenset()
    """Nothing of a result: dose and time alone."""

    def __init__(
        self,
        light: str,
        reserve_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.02,
        update_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5,
        horizon_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 600.0,
        max_rise: Annotated[float, Field(gt=0, le=10)] = 0.25,
        deadband: Annotated[float, Field(ge=0, lt=0.5)] = 0.02,
    ) -> None:
        self.light = light
        self.reserve_fraction = reserve_fraction
        self.update_s = update_s
        self.horizon_s = horizon_s
        """How long the budget must last in a run without a planned end."""
        self.max_rise = max_rise
        """Largest rise per update, as a fraction of the present power."""
        self.deadband = deadband

    def decide(self, context: Context) -> Choice:
        """Ask for the power that the rest of the budget and of the time allow."""
        state: PowerState | None = context.state
        dose, now_mw = context.dose, context.settings.lights_mw.get(self.light, 0.0)
        per_mw = dose.per_mw_j_per_cm2_s.get(self.light, 0.0)
        if math.isinf(dose.budget_j_per_cm2) or per_mw <= 0 or self.light not in context.limits.lights:
            return Choice(state=state)
        usable = dose.remaining_j_per_cm2 - self.reserve_fraction * dose.budget_j_per_cm2
        if usable <= 0:
            return self._off(context, now_mw)
        if state is not None and context.elapsed_s - state.updated_s < self.update_s:
            return Choice(state=state)
        state = PowerState(context.elapsed_s, dose.spent_j_per_cm2, _use(context, state))
        time_left_s = self._time_left_s(context)
        others = sum(
            context.settings.lights_mw.get(name, 0.0) * rate
            for name, rate in dose.per_mw_j_per_cm2_s.items()
            if name != self.light
        )
        even_mw = (usable / time_left_s / state.use - others) / per_mw
        power_mw = self._within_limits(context, even_mw, now_mw)
        if abs(power_mw - now_mw) <= self.deadband * now_mw:
            return Choice(state=state)
        why = (
            f"{dose.remaining_j_per_cm2:.3g} of {dose.budget_j_per_cm2:.3g} J/cm2 left for {time_left_s:.3g} s: "
            f"{self.light} {now_mw:.3g} -> {power_mw:.3g} mW"
        )
        return Choice([Request(SetLight(self.light, power_mw), why)], state)

    def _off(self, context: Context, now_mw: float) -> Choice:
        if now_mw <= 0:
            return Choice(state=context.state)
        spent, budget = context.dose.spent_j_per_cm2, context.dose.budget_j_per_cm2
        why = f"dose budget used up ({spent:.3g} of {budget:.3g} J/cm2): {self.light} {now_mw:.3g} -> 0 mW"
        return Choice([Request(SetLight(self.light, 0.0), why)], context.state)

    def _time_left_s(self, context: Context) -> float:
        """Never below one update: what is left then is spent before the next look."""
        left_s = self.horizon_s - context.elapsed_s if context.remaining_s is None else context.remaining_s
        return max(left_s, self.update_s)

    def _within_limits(self, context: Context, power_mw: float, now_mw: float) -> float:
        limits = context.limits.lights[self.light]
        rise_mw = max(self.max_rise * now_mw, SMALLEST_RISE * limits.max_power_mw)
        if limits.max_step_mw is not None:
            rise_mw = min(rise_mw, limits.max_step_mw)
        return max(0.0, min(power_mw, now_mw + rise_mw, limits.max_power_mw))


def _use(context: Context, last: PowerState | None) -> float:
    """Dose spent since the last update over the dose of lights always on, averaged with what was known."""
    if last is None:
        return 1.0
    spent = context.dose.spent_j_per_cm2 - last.spent_j_per_cm2
    expected = context.dose.rate_j_per_cm2_s * (context.elapsed_s - last.updated_s)
    if spent <= 0 or expected <= 0:  # another place with its own account, or darkness
        return last.use
    return (last.use + min(max(spent / expected, USE_RANGE[0]), USE_RANGE[1])) / 2

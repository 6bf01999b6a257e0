"""The laser-power policy against a dose ledger of one line: never above budget, evenly spent, dark at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest

from smartscope.command import SetLight
from smartscope.policies.laser_power import LaserPowerPolicy, PowerState
from smartscope.ports import DoseState
from smartscope.testing.policy_contract import LIGHT, LIMITS, SETTINGS, context

STEP_S = 0.05


@dataclass
class Ledger:
    """Counts the dose of the light, and of another that nobody controls."""

    budget_j_per_cm2: float = 100.0
    per_mw: float = 0.5
    duty: float = 1.0
    other_mw: float = 0.0
    power_mw: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=lambda: [0.0])

    def run(
        self,
        policy: LaserPowerPolicy,
        seconds: float,
        planned: bool = True,
        start_mw: float = 2.0,
        state: PowerState | None = None,
    ) -> None:
        settings = replace(SETTINGS, lights_mw={LIGHT: start_mw, "other": self.other_mw})
        rates = {LIGHT: self.per_mw, "other": 0.1}
        for tick in range(round(seconds / STEP_S)):
            t_s = tick * STEP_S
            rate = sum(settings.lights_mw[name] * rates[name] for name in rates)
            dose = DoseState(self.spent[-1], self.budget_j_per_cm2, rate, rates)
            left_s = seconds - t_s if planned else None
            choice = policy.decide(context(t_s, settings=settings, dose=dose, remaining_s=left_s, state=state))
            state = choice.state
            for request in choice.requests:
                assert isinstance(request.command, SetLight)
                settings = replace(settings, lights_mw={**settings.lights_mw, LIGHT: request.command.power_mw})
            self.power_mw.append(settings.lights_mw[LIGHT])
            rate = sum(settings.lights_mw[name] * rates[name] for name in rates)
            self.spent.append(self.spent[-1] + rate * self.duty * STEP_S)

    def unevenness(self) -> float:
        """Standard deviation over mean of the power after the first third."""
        late = self.power_mw[len(self.power_mw) // 3 : -10]
        mean = sum(late) / len(late)
        return math.sqrt(sum((p - mean) ** 2 for p in late) / len(late)) / mean


@pytest.mark.parametrize("duty", [1.0, 0.3])
@pytest.mark.parametrize("other_mw", [0.0, 5.0])
@pytest.mark.parametrize("start_mw", [0.0, 2.0, 39.0])
def test_spends_the_budget_evenly_and_never_more(duty: float, other_mw: float, start_mw: float) -> None:
    ledger = Ledger(duty=duty, other_mw=other_mw)
    ledger.run(LaserPowerPolicy(LIGHT), 30, start_mw=start_mw)
    assert 0.93 * ledger.budget_j_per_cm2 < ledger.spent[-1] < 0.99 * ledger.budget_j_per_cm2
    assert ledger.unevenness() < 0.1
    assert max(ledger.power_mw) <= LIMITS.lights[LIGHT].max_power_mw


def test_goes_dark_at_the_end_of_the_budget() -> None:
    """What was spent between two updates ends it at once, not at the next update."""
    ledger = Ledger(budget_j_per_cm2=1.0)
    ledger.run(LaserPowerPolicy(LIGHT, update_s=5), 3, start_mw=39, state=PowerState(0.0, 0.0))
    assert ledger.power_mw[-1] == 0
    assert ledger.spent[-1] == ledger.spent[-20]


def test_lasts_the_horizon_without_a_planned_end() -> None:
    ledger = Ledger()
    ledger.run(LaserPowerPolicy(LIGHT, horizon_s=20), 25, planned=False)
    assert ledger.spent[round(20 / STEP_S)] == pytest.approx(98, abs=3)
    assert ledger.spent[-1] <= 100


def test_says_why() -> None:
    (request,) = LaserPowerPolicy(LIGHT).decide(context(dose=DoseState(40, 100, 2, {LIGHT: 0.1}))).requests
    assert request.why == "60 of 100 J/cm2 left for 99 s: laser_488 2 -> 2.8 mW"
    (request,) = LaserPowerPolicy(LIGHT).decide(context(dose=DoseState(99, 100, 2, {LIGHT: 0.1}))).requests
    assert request.why == "dose budget used up (99 of 100 J/cm2): laser_488 2 -> 0 mW"


def test_rises_gently_and_falls_at_once() -> None:
    plenty, little = DoseState(0, 1e6, 2, {LIGHT: 1.0}), DoseState(98, 101, 2, {LIGHT: 1.0})
    (rise,) = LaserPowerPolicy(LIGHT, max_rise=0.5).decide(context(dose=plenty)).requests
    assert rise.command == SetLight(LIGHT, 3.0)
    strong = replace(SETTINGS, lights_mw={LIGHT: 38.0})
    (rise,) = LaserPowerPolicy(LIGHT, max_rise=5).decide(context(settings=strong, dose=plenty)).requests
    assert rise.command == SetLight(LIGHT, 40.0)
    (fall,) = LaserPowerPolicy(LIGHT).decide(context(settings=strong, dose=little)).requests
    assert isinstance(fall.command, SetLight)
    assert fall.command.power_mw < 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"dose": DoseState(10, math.inf, 2, {LIGHT: 1.0})},
        {"dose": DoseState(10, 100, 2, {})},
        {"state": PowerState(0.8, 9.0)},
        {"settings": replace(SETTINGS, lights_mw={LIGHT: 0.0}), "dose": DoseState(100, 100, 0, {LIGHT: 1.0})},
    ],
)
def test_leaves_power_alone(changes: dict[str, object]) -> None:
    assert not LaserPowerPolicy(LIGHT).decide(context(**changes)).requests  # type: ignore[arg-type]


def test_another_place_has_its_own_account() -> None:
    """The stage went on: less is spent here than before, which says nothing of the light's use."""
    state = PowerState(0.0, 50.0, use=0.4)
    choice = LaserPowerPolicy(LIGHT).decide(context(dose=DoseState(1, 100, 2, {LIGHT: 1.0}), state=state))
    assert choice.state.use == 0.4

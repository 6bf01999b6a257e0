"""The policy of structured illumination against a specimen whose fine detail is in proportion to its light."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from smartscope.command import RunPlan
from smartscope.config import (
    CameraCalibration,
    GratingConfig,
    LightConfig,
    OpticsConfig,
    SlmConfig,
    StructuredIlluminationConfig,
)
from smartscope.policies.structured_illumination import BACK_OFF, StackState, StructuredIlluminationPolicy
from smartscope.ports import Choice, DoseState, Instrument
from smartscope.result import SuperResolved
from smartscope.testing.policy_contract import LIGHT, LIMITS, SETTINGS, context

GRATING = GratingConfig(device="Grating", property="Step", values=tuple("012345678"))
INSTRUMENT = Instrument(
    CameraCalibration(pixel_size_nm=65.0),
    OpticsConfig(structured_illumination=StructuredIlluminationConfig(grating=GRATING)),
    lights=(LightConfig(name=LIGHT),),
)
FINE = SuperResolved(np.empty((0, 0), np.float32), 2, "ok", settings=SETTINGS)


def decide(
    policy: StructuredIlluminationPolicy, t_s: float = 1.0, *, stack=None, quality=None, refused=False, **changes
) -> Choice:
    """What it answers; ``stack``: (exposure, power) of one that has just come."""
    unlimited = DoseState(0.0, math.inf, 0.0, {LIGHT: 1.0})
    asked = getattr(changes.get("state"), "asked", None)
    granted = {} if asked is None or refused else {"plan": RunPlan(asked.name, ())}
    given = context(
        t_s, quality=quality or {}, **{"instrument": INSTRUMENT, "dose": unlimited, "granted": granted, **changes}
    )
    if stack is not None:
        settings = replace(SETTINGS, exposure_ms=stack[0], lights_mw={LIGHT: stack[1]})
        given = replace(given, result=replace(given.result, super_resolved=replace(FINE, settings=settings)))
    return policy.decide(given)


def plan(choice: Choice) -> RunPlan | None:
    if not choice.requests:
        return None
    (request,) = choice.requests
    assert isinstance(request.command, RunPlan)
    return request.command


def exposure_ms(asked: RunPlan) -> float:
    (only,) = {event.exposure for event in asked.events}
    assert only is not None
    return only


@dataclass
class Sample:
    """Fine detail from light, as of an instrument with little of both; bleaches with the light that it gets."""

    detail_per_ms_mw: float
    bleaching: float = 0.0
    moved_px_per_ms: float = 0.0
    light: list[float] = field(default_factory=list)
    asked: list[RunPlan] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def run(self, policy: StructuredIlluminationPolicy, seconds: float, **changes) -> None:
        state, stack, quality = None, None, {}
        for tick in range(round(10 * seconds)):
            choice = decide(policy, tick / 10, stack=stack, quality=quality, state=state, **changes)
            state, stack, quality = choice.state, None, {}
            if (asked := plan(choice)) is None:
                continue
            used = exposure_ms(asked), asked.lights_mw[LIGHT]
            stack, light = used, used[0] * used[1]
            self.detail_per_ms_mw *= math.exp(-self.bleaching * light)
            detail = self.detail_per_ms_mw * light
            verdict = 2.0 if detail > 0.05 else 0.0 if detail < 0.01 else 1.0
            quality = {
                "structured_illumination_verdict": verdict,
                "fine_detail": detail,
                "moved_px": self.moved_px_per_ms * used[0],
            }
            self.light.append(light)
            self.asked.append(asked)
            self.seconds.append(tick / 10)


@pytest.mark.parametrize("per_ms_mw", [1e-4, 1e-3, 1e-2])
def test_finds_and_holds_the_light_for_its_target(per_ms_mw: float) -> None:
    sample = Sample(per_ms_mw, bleaching=per_ms_mw / 8)  # by a hundredth with each stack
    sample.run(StructuredIlluminationPolicy(LIGHT, longest_ms=100), 40)
    late = np.array(sample.light[15:])
    assert len(late) > 15
    assert np.all(np.abs(late * sample.detail_per_ms_mw / 0.08 - 1) < 0.6)
    assert late[-1] > late[0], "a bleaching specimen needs more"


def test_exposure_first_then_power() -> None:
    sample = Sample(1e-4)
    sample.run(StructuredIlluminationPolicy(LIGHT, exposure_ms=10, power_mw=1, longest_ms=50), 30)
    assert exposure_ms(sample.asked[-1]) == 50
    assert sample.asked[-1].lights_mw[LIGHT] == pytest.approx(16, rel=0.15)


def test_motion_shortens_the_exposure_and_raises_the_power() -> None:
    sample = Sample(1e-3, moved_px_per_ms=0.01)
    sample.run(StructuredIlluminationPolicy(LIGHT, longest_ms=100), 30)
    assert exposure_ms(sample.asked[-1]) * 0.01 <= 0.3
    assert sample.light[-1] * 1e-3 == pytest.approx(0.08, rel=0.15)


def test_fixed_light_stays() -> None:
    sample = Sample(1e-3, moved_px_per_ms=1.0)
    sample.run(StructuredIlluminationPolicy(LIGHT, exposure_ms=20, power_mw=3, hold=False), 10)
    assert {(exposure_ms(asked), asked.lights_mw[LIGHT]) for asked in sample.asked} == {(20.0, 3.0)}


def test_a_stack_for_every_interval_and_several_in_a_burst() -> None:
    sample = Sample(1e-2)
    sample.run(StructuredIlluminationPolicy(LIGHT, every_s=2, stacks=3), 20)
    assert np.allclose(np.diff(sample.seconds), 2)
    assert len(sample.asked[0].events) == 27
    assert [event.metadata["pattern"] for event in sample.asked[0].events[:10]] == [*range(9), 0]


def test_the_budget_lasts_until_the_end() -> None:
    # a stack of 9 x 10 ms at 1 mW costs 0.09 J/cm2; 1 J/cm2 pays for 11 of them in 100 s, not for one a second
    poor = DoseState(0.0, 1.0, 0.0, {LIGHT: 1.0})
    asked = decide(StructuredIlluminationPolicy(LIGHT), 20.0, dose=poor, state=StackState(10.0, 50.0, taken_s=15.0))
    assert plan(asked) is None
    later = decide(StructuredIlluminationPolicy(LIGHT), 20.0, dose=poor, state=StackState(10.0, 50.0, taken_s=12.0))
    assert "so that the dose lasts" in later.requests[0].why
    spent = DoseState(1.0, 1.0, 0.0, {LIGHT: 1.0})
    assert plan(decide(StructuredIlluminationPolicy(LIGHT), dose=spent)) is None


def test_fewer_directions_where_the_dose_does_not_last_for_all() -> None:
    # a stack of three directions costs 0.09 J/cm2; 1.6 J/cm2 in 40 s pay for 17 of them, or for 26 of two
    dose, state = DoseState(0.0, 1.6, 0.0, {LIGHT: 1.0}), StackState(10.0, 50.0, taken_s=58.0)
    given = {"dose": dose, "state": state, "remaining_s": 26.0}
    assert plan(decide(StructuredIlluminationPolicy(LIGHT, every_s=1), 60.0, **given)) is not None
    policy = StructuredIlluminationPolicy(LIGHT, every_s=1, fewest_directions=1)
    two = decide(policy, 60.0, **given)
    asked = plan(two)
    assert asked is not None
    assert [event.metadata["pattern"] for event in asked.events] == list(range(6))
    assert "2 of 3 directions" in two.requests[0].why
    poorer = decide(policy, 60.0, **{**given, "dose": DoseState(0.0, 0.5, 0.0, {LIGHT: 1.0})})
    assert [event.metadata["pattern"] for event in plan(poorer).events] == list(range(3))


def test_previews_between_stacks() -> None:
    policy = StructuredIlluminationPolicy(LIGHT, every_s=10, preview_s=2)
    came = replace(decide(policy, 1.0).state, asked=None)
    assert plan(decide(policy, 2.0, state=came)) is None
    first = decide(policy, 3.5, state=came)
    asked = plan(first)
    assert asked is not None
    assert [event.metadata["pattern"] for event in asked.events] == [0, 3, 6]
    assert plan(decide(policy, 9.0, state=first.state)) is not None, "one that does not come is given up"
    shown = replace(first.state, asked=None)
    assert plan(decide(policy, 4.5, state=shown)) is None
    assert len(plan(decide(policy, 11.5, state=shown)).events) == 9


def test_waits_for_the_stack_but_not_for_ever() -> None:
    policy = StructuredIlluminationPolicy(LIGHT)
    first = decide(policy, 1.0)
    assert plan(first) is not None
    assert plan(decide(policy, 5.0, state=first.state)) is None
    assert plan(decide(policy, 7.0, state=first.state)) is not None


def test_asks_again_soon_after_a_refusal() -> None:
    policy = StructuredIlluminationPolicy(LIGHT, every_s=10)
    first = decide(policy, 1.0)
    refused = decide(policy, 1.2, state=first.state, refused=True)
    assert plan(refused) is None
    assert refused.state.taken_s == -math.inf
    again = plan(decide(policy, 1.6, state=refused.state))
    assert again is not None
    assert again.name != plan(first).name


def test_a_failed_stack_gets_twice_the_light_and_a_saturated_one_less() -> None:
    policy = StructuredIlluminationPolicy(LIGHT)
    state = decide(policy, 1.0).state
    failed = decide(policy, 9.0, stack=(10, 1), quality={"structured_illumination_verdict": 0.0}, state=state)
    assert failed.state.light_ms_mw == 20
    assert "failed" in failed.requests[0].why
    quality = {"structured_illumination_verdict": 1.0, "fine_detail": 0.08, "structured_illumination_saturated": 0.1}
    assert decide(policy, 9.0, stack=(10, 1), quality=quality, state=state).state.light_ms_mw == 10 * BACK_OFF


def test_within_the_limits() -> None:
    wall = LIMITS.lights[LIGHT].max_power_mw
    asked = plan(decide(StructuredIlluminationPolicy(LIGHT), state=StackState(1e6, 1e4)))
    assert asked is not None
    assert exposure_ms(asked) == LIMITS.exposure_ms.high
    assert asked.lights_mw[LIGHT] == wall


def test_silent_without_fringes_or_limits() -> None:
    plain = replace(INSTRUMENT, optics=OpticsConfig())
    assert plan(decide(StructuredIlluminationPolicy(LIGHT), instrument=plain)) is None
    assert plan(decide(StructuredIlluminationPolicy("other"))) is None


def test_stacks_of_an_slm_are_the_same_plan_again() -> None:
    fringes = StructuredIlluminationConfig(slm=SlmConfig(shape=(256, 256), pixel_size_nm=45.0))
    with_slm = replace(INSTRUMENT, optics=OpticsConfig(structured_illumination=fringes))
    policy = StructuredIlluminationPolicy(LIGHT)
    one, two = (plan(decide(policy, instrument=with_slm)) for _ in range(2))
    assert one is not None
    assert two is not None
    shown, again = ([bytes(np.asarray(event.slm_image.data)) for event in asked.events] for asked in (one, two))
    assert shown == again
    assert len(set(shown)) == 9

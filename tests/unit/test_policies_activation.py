"""The activation policy on molecules that switch: settled soon, held, never led up by a counter that fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from activation_plant import FRAME_S, LIGHT, Driven, Plant, Quality, drive
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from smartscope.command import EndRun, SetLight
from smartscope.config import LightLimits
from smartscope.errors import PluginError
from smartscope.frame import Settings
from smartscope.policies.activation import ActivationPolicy, ActivationState
from smartscope.ports import Context, DoseState
from smartscope.testing.policy_contract import LIMITS, SETTINGS, context

TARGET = 60.0
STEADY_MW = 48.0
"""About what the fresh pool needs for the target."""


def policy(**options: Any) -> ActivationPolicy:
    return ActivationPolicy(LIGHT, target_emitters=TARGET, **{"floor_mw": 10.0, **options})


def at_rest(seconds: float, **changes: Any) -> Driven:
    """A run that begins near its target, with a counter that fails after 20 s if it ``breaks``."""
    return drive(policy(), seconds, Plant(3), start_mw=STEADY_MW, breaks_at_s=20.0, **changes)


def changes_of_power(driven: Driven) -> list[tuple[float, float]]:
    return [(t_s, command.power_mw) for t_s, command, _ in driven.said if isinstance(command, SetLight)]


# ---------------------------------------------------------------- the law


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_settles_soon_and_holds_while_the_pool_depletes(seed: int) -> None:
    driven = drive(policy(), 120, Plant(seed))
    per_second, settled_s = driven.per_second(), driven.settled_s(TARGET)
    assert settled_s <= 15
    assert per_second.max() <= 1.15 * TARGET
    rms = np.sqrt(np.mean((per_second[settled_s:] / TARGET - 1) ** 2))
    assert rms < 0.05  # blinking alone: 0.034
    assert driven.plant.pool < 0.85 * 120_000
    assert driven.power_mw[-1] > 1.1 * driven.power_mw[round(20 / FRAME_S)]
    assert driven.state.trips == 0


def test_the_same_by_density() -> None:
    area_um2 = SETTINGS.roi.width * SETTINGS.roi.height * 0.1**2
    by_density = ActivationPolicy(LIGHT, target_density_per_um2=TARGET / area_um2, floor_mw=10.0)
    assert drive(by_density, 10, Plant(1)).said == drive(policy(), 10, Plant(1)).said


def test_molecules_that_glow_for_a_second_are_waited_for() -> None:
    """Where the on-time is measured, slow blinking is not taken for an error."""
    said = {
        measured: drive(
            policy(floor_mw=1.0),
            60,
            Plant(1, on_s=1.0, pool=15_000),
            breaks=lambda t_s, q, plant, measured=measured: {**q, **({"on_time_ms": 1000.0} if measured else {})},
        ).per_second()
        for measured in (True, False)
    }
    assert said[True].max() < 1.4 * TARGET < said[False].max()
    assert np.std(said[True][20:]) / TARGET < 0.18  # blinking alone


def test_each_decision_says_why() -> None:
    first, *_, last = [why for _, _, why in drive(policy(), 20, Plant(1)).said]
    assert first.endswith(f"emitters, target 60: {LIGHT} 0 -> 10 mW")
    assert "emitters, target 60: " in last


def test_never_more_than_twice_and_never_above_the_gates_step() -> None:
    for largest_mw in (None, 4.0):
        powers = drive(policy(ki=1.0), 20, Plant(2), max_step_mw=largest_mw).power_mw
        rises = powers[1:] - powers[:-1]
        lit = powers[:-1] > 0
        assert np.all(powers[1:][lit] <= 2.0 * powers[:-1][lit] + 1e-9)
        assert largest_mw is None or rises.max() <= largest_mw


def test_proportional_action_answers_the_change_of_the_error() -> None:
    plain, quick = (drive(policy(kp=kp), 20, Plant(2)).said for kp in (0.0, 0.3))
    assert plain != quick
    assert drive(policy(kp=0.3), 60, Plant(2)).per_second()[20:].mean() == pytest.approx(TARGET, rel=0.03)


def test_floor_and_darkness_where_molecules_switch_on_by_themselves() -> None:
    crowded = drive(policy(), 30, Plant(1, spontaneous_per_s=0.04), start_mw=100.0)
    assert crowded.power_mw[-1] == 0
    assert 10.0 in {mw for _, mw in changes_of_power(crowded)}
    enough = drive(policy(), 30, Plant(1, spontaneous_per_s=0.019), start_mw=100.0)
    assert set(enough.power_mw[-500:]) <= {0.0, 10.0}
    assert changes_of_power(drive(policy(floor_mw=None), 2, Plant(1)))[0][1] == 1.0  # a thousandth of the limit


def test_a_device_that_rounds_or_is_clipped_does_not_wind_it_up() -> None:
    rounding = drive(policy(), 60, Plant(1), device=lambda mw: round(mw / 4) * 4.0)
    assert rounding.per_second()[20:].mean() == pytest.approx(TARGET, rel=0.05)
    weak = drive(policy(), 40, Plant(1), device=lambda mw: min(mw, 20.0))
    assert max(mw for _, mw in changes_of_power(weak)) <= 40.0  # twice what is there, however long it asks


# ---------------------------------------------------------------- caps


def test_the_dose_budget_lasts_to_the_end() -> None:
    share, budget = 0.5, 600.0

    def dose(t_s: float) -> DoseState:
        return DoseState(0.0, budget, 1.0, {LIGHT: 1.0})

    driven = drive(policy(dose_share=share), 30, Plant(1), dose=dose)
    t_s = np.arange(len(driven.power_mw)) * FRAME_S
    assert np.all(driven.power_mw <= share * budget / (30 - t_s - 1.1).clip(1.0) + 1e-6)
    assert any("held by the dose budget" in why for *_, why in driven.said)
    unplanned = drive(policy(dose_share=share, horizon_s=100.0), 10, Plant(1), dose=dose, planned=False)
    assert unplanned.power_mw.max() == pytest.approx(share * budget / 90, rel=0.02)
    spent = drive(policy(), 5, Plant(1), start_mw=5.0, dose=lambda t_s: DoseState(10.0, 10.0, 1.0, {LIGHT: 1.0}))
    assert spent.power_mw[-1] == 0


@pytest.mark.parametrize("when", ["end", "hold", "off"])
def test_an_exhausted_pool(when: str) -> None:
    small = drive(policy(when_exhausted=when, exhausted_s=10.0), 60, Plant(1, pool=2000), max_power_mw=100.0)
    told = [(t_s, command, why) for t_s, command, why in small.said if "out of reach" in why]
    assert len(told) == 1
    t_s, command, why = told[0]
    assert "the pool exhausted: " in why
    assert why.endswith("s at the light's limit")
    expected = {"end": EndRun(), "hold": SetLight(LIGHT, 100.0), "off": SetLight(LIGHT, 0.0)}
    assert command == expected[when]
    assert (small.ended != "") == (when == "end")
    assert small.power_mw[-1] == (0.0 if when == "off" else 100.0)
    assert t_s >= 10


# ---------------------------------------------------------------- no estimate: hold, lower, off, and back


def vanishing(t_s: float, quality: Quality, plant: Plant) -> Quality:
    return {}


def ill(t_s: float, quality: Quality, plant: Plant) -> Quality:
    return {**quality, "emitters": 10.0, "recall_health": 0.3}


def saturated(t_s: float, quality: Quality, plant: Plant) -> Quality:
    return {**quality, "emitters": 10.0, "saturated_fraction": 0.01}


@pytest.mark.parametrize(
    ("breaks", "why"),
    [
        (vanishing, "nobody counted the emitters"),
        (ill, "recall health 0.3 below 0.5"),
        (saturated, "1 % of the pixels saturated"),
    ],
)
def test_without_an_estimate_it_holds_then_lowers_then_goes_dark(breaks: Any, why: str) -> None:
    driven = at_rest(40, breaks=breaks)
    before_mw = driven.power_mw[round(20 / FRAME_S)]
    after = driven.power_mw[round(20.5 / FRAME_S) :]
    assert after.max() <= before_mw * 1.1
    assert np.all(np.diff(after) <= 0)
    assert after[round(1.5 / FRAME_S)] > 0.9 * before_mw
    assert after[round(11 / FRAME_S)] == 0
    assert any(why in said and "no estimate for" in said for *_, said in driven.said)


def test_without_trust_nothing_rises() -> None:
    driven = drive(policy(), 20, Plant(1), trust=0.1, start_mw=5.0)
    assert driven.power_mw.max() == 5.0
    assert driven.power_mw[-1] == 0
    assert any("trust 0.1 below 0.25" in why for *_, why in driven.said)


def test_it_comes_back_from_the_floor() -> None:
    driven = at_rest(60, breaks=lambda t_s, q, plant: {} if t_s < 35 else q)
    assert driven.power_mw[round(34 / FRAME_S)] == 0
    assert changes_of_power(driven)[-1][1] > 30
    back = next(mw for t_s, mw in changes_of_power(driven) if t_s > 35)
    assert back == 10.0
    assert driven.per_second()[-5:].mean() == pytest.approx(TARGET, rel=0.1)


def test_off_goes_off_between_windows_too() -> None:
    """A camera of one frame in three seconds fills no window in time."""
    slow = policy(window_s=3.0, hold_s=3.0, off_s=4.0)
    state: ActivationState | None = None
    asked = []
    for t_s in (1.0, 4.0, 7.0):
        choice = slow.decide(_at(t_s, {}, power_mw=5.0, state=state))
        state = choice.state
        asked += [request.command for request in choice.requests]
    assert asked == [SetLight(LIGHT, 0.0)]


def test_after_silence_the_next_result_fresh_or_not_darkens() -> None:
    """The decider forgets what a stale result made it remember, so that silence grows until it is too long."""
    first = policy().decide(_at(1.0, {"emitters": 20.0}, power_mw=5.0))
    assert not first.requests
    (request,) = policy().decide(_at(11.5, {"emitters": 20.0}, power_mw=5.0, state=first.state)).requests
    assert request.command == SetLight(LIGHT, 0.0)
    assert request.why == "no fresh result for 10.5 s: laser_405 5 -> 0 mW"


def test_frames_that_never_show_the_power_are_no_estimate() -> None:
    state, asked = None, []
    for t_s in np.arange(0.0, 12.0, 0.5):
        choice = policy().decide(_at(t_s, {"emitters": 5.0}, power_mw=5.0, frame_mw=1.0, state=state))
        state = choice.state
        asked += choice.requests
    assert [request.command for request in asked] == [SetLight(LIGHT, 0.0)] * len(asked)
    assert "no frame under the present power" in asked[0].why


def test_nothing_is_done_on_a_result_that_is_not_believed_itself() -> None:
    """Every third frame is ill; the window's others are believed, and the power rises with one of those."""
    rng = np.random.default_rng(5)
    state = None
    for k in range(120):
        health = 0.2 if k % 3 == 2 else 1.0
        quality = {"emitters": float(rng.poisson(20)), "recall_health": health}
        choice = policy().decide(_at(k * FRAME_S, quality, power_mw=5.0, state=state))
        state = choice.state
        assert not choice.requests or health == 1.0
    assert state is not None
    assert state.last is not None


# ---------------------------------------------------------------- a counter that fails

RNG = np.random.default_rng(11)


def nothing(t_s: float, quality: Quality, plant: Plant) -> Quality:
    return {**quality, "emitters": 0.0}


def a_fifth(t_s: float, quality: Quality, plant: Plant) -> Quality:
    return {**quality, "emitters": float(RNG.binomial(int(quality["emitters"]), 0.2))}


def crowding(t_s: float, quality: Quality, plant: Plant) -> Quality:
    """A threshold that rises with density."""
    return {**quality, "emitters": quality["emitters"] * float(np.exp(-((quality["emitters"] / 45) ** 2)))}


def frozen(t_s: float, quality: Quality, plant: Plant) -> Quality:
    return {**quality, "emitters": 50.0}


def frozen_noisy(t_s: float, quality: Quality, plant: Plant) -> Quality:
    return {**quality, "emitters": float(RNG.poisson(50))}


FAILING = (nothing, a_fifth, crowding, frozen, vanishing)


@pytest.mark.parametrize("witness", ["light_e", "spot_background", "none"])
@pytest.mark.parametrize("breaks", FAILING)
def test_a_counter_that_fails_at_work_takes_the_light_down(breaks: Any, witness: str) -> None:
    without = {"light_e": (), "spot_background": ("light_e",), "none": ("light_e", "spot_background")}[witness]
    driven = at_rest(60, breaks=breaks, without=without)
    before_mw = driven.power_mw[: round(20 / FRAME_S)].max()
    after = driven.power_mw[round(20 / FRAME_S) :]
    assert after.max() <= 2 * before_mw
    assert after[round(20 / FRAME_S) :].mean() < before_mw
    assert driven.per_second()[20:].max() < 1.5 * TARGET
    assert driven.per_second()[45:].mean() < TARGET


@pytest.mark.parametrize("breaks", FAILING)
def test_a_counter_that_fails_from_the_start_never_brings_too_many(breaks: Any) -> None:
    driven = drive(policy(), 60, Plant(3), breaks=breaks)
    assert driven.per_second().max() < 1.15 * TARGET
    assert driven.per_second()[40:].mean() < 0.8 * TARGET


def test_a_count_that_stands_still_near_the_target_is_found_by_the_light() -> None:
    driven = at_rest(60, breaks=frozen_noisy)
    assert driven.power_mw.max() <= 2 * STEADY_MW
    assert driven.per_second().max() < 1.6 * TARGET
    assert driven.state.latch is not None
    assert "while the count went from" in driven.state.latch.why
    assert any("; at most" in why and "mW for 60 s" in why for *_, why in driven.said)


def test_molecules_that_hardly_wake_are_no_failure() -> None:
    """The first doublings from a low floor show nothing at all, neither in the count nor in the light."""
    sleepy = drive(policy(floor_mw=1.0), 30, Plant(2, spontaneous_per_s=0.0, per_s_mw=4e-5), max_power_mw=5000.0)
    assert sleepy.state.trips == 0
    assert sleepy.settled_s(TARGET) <= 15


def test_a_dark_field_stops_even_where_light_is_watched() -> None:
    dark = drive(policy(floor_mw=1.0), 30, Plant(2, pool=0))
    assert 64 <= dark.power_mw.max() < 150
    assert dark.state.latch is not None
    assert "times the power brought 0 emitters after 0" in dark.state.latch.why


def test_power_that_nothing_answers_stops_at_four_times() -> None:
    """No raw light is measured, and the counter makes numbers up."""
    driven = drive(policy(), 60, Plant(3), breaks=frozen_noisy, without=("light_e", "spot_background"))
    assert 10 < driven.power_mw.max() < 45
    assert any("times the power brought" in why for *_, why in driven.said)
    assert driven.state.latch.ceiling_mw <= 11
    assert driven.power_mw[-1] <= 11


def test_a_latch_opens_after_its_time_and_closes_for_twice_as_long() -> None:
    """Out of focus for three seconds: the light goes down at once, and is where it was soon after."""
    driven = at_rest(40, breaks=lambda t_s, q, plant: {**q, "emitters": 3.0 * RNG.random()} if t_s < 23 else q)
    assert driven.power_mw.min() < 0.3 * STEADY_MW
    assert driven.power_mw[round(38 / FRAME_S) :].mean() == pytest.approx(STEADY_MW, rel=0.15)
    quick = policy(latch_s=5.0)
    again = drive(quick, 90, Plant(3), start_mw=STEADY_MW, breaks=frozen_noisy, breaks_at_s=10.0)
    lasted = [why.partition(" mW for ")[2].partition(" s:")[0] for *_, why in again.said if "; at most" in why]
    assert lasted[0] == "5"
    assert "10" in lasted
    assert again.power_mw.max() <= 2 * STEADY_MW


def test_a_counter_that_stays_blind_stays_latched_while_haze_fades() -> None:
    """Light that fades hides what the power brings: the count alone must prove that it works again."""

    def blind_in_fading_haze(t_s: float, quality: Quality, plant: Plant) -> Quality:
        hazy = {**quality, "light_e": quality["light_e"] + 20.0 * float(np.exp(-t_s / 40))}
        return hazy if t_s < 20 else {**hazy, "emitters": 0.0}

    driven = drive(policy(), 120, Plant(3), start_mw=STEADY_MW, breaks=blind_in_fading_haze)
    fails = round(21 / FRAME_S)
    assert driven.power_mw[fails:].max() <= driven.power_mw[:fails].max()
    assert driven.power_mw[-1] > 0
    assert driven.state.latch is not None
    assert driven.state.latch.until_s > 120


# ---------------------------------------------------------------- scenes


def moving(t_s: float, settings: Settings) -> Settings:
    return replace(settings, x_um=0.0 if t_s < 10 else 50.0)


def longer(t_s: float, settings: Settings) -> Settings:
    return replace(settings, exposure_ms=20.0 if t_s < 10 else 30.0)


def brighter(t_s: float, settings: Settings) -> Settings:
    return replace(settings, lights_mw={**settings.lights_mw, "laser_640": 50.0 if t_s < 10 else 100.0})


@pytest.mark.parametrize("scene", [moving, longer, brighter])
def test_another_scene_is_learned_anew(scene: Any) -> None:
    """Less than half the count at once would otherwise be a counter that fails."""
    halved = drive(
        policy(),
        11.5,
        Plant(2),
        start_mw=STEADY_MW,
        breaks=lambda t_s, q, plant: {**q, "emitters": 0.4 * q["emitters"]},
        breaks_at_s=10.0,
        scene=scene,
    )
    assert halved.state.trips == 0
    assert halved.state.scene.x_um == (50.0 if scene is moving else 0.0)
    unmoved = drive(
        policy(),
        11.5,
        Plant(2),
        start_mw=STEADY_MW,
        breaks=lambda t_s, q, plant: {**q, "emitters": 0.4 * q["emitters"]},
        breaks_at_s=10.0,
    )
    assert unmoved.state.trips == 1


def test_a_light_without_limits_is_left_alone() -> None:
    assert not ActivationPolicy("laser_561", target_emitters=9).decide(context()).requests


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs one target"),
        ({"target_emitters": 1.0, "target_density_per_um2": 1.0}, "needs one target"),
        ({"target_emitters": 1.0, "window_s": 4.0}, "hold_s 3 is not between window_s 4 and off_s 10"),
        ({"target_emitters": 1.0, "off_s": 2.0}, "hold_s 3 is not between"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        ActivationPolicy(LIGHT, **options)


# ---------------------------------------------------------------- whatever the figures


def _at(
    t_s: float,
    quality: Quality,
    *,
    power_mw: float,
    frame_mw: float | None = None,
    state: object = None,
    trust: float = 1.0,
    granted: Mapping[str, Any] | None = None,
) -> Context:
    now = replace(SETTINGS, lights_mw={LIGHT: power_mw})
    limits = LIMITS.model_copy(update={"lights": {LIGHT: LightLimits(max_power_mw=100.0, max_step_mw=30.0)}})
    return context(
        t_s,
        settings=now,
        frame_settings=now if frame_mw is None else replace(now, lights_mw={LIGHT: frame_mw}),
        quality=quality,
        trust=trust,
        limits=limits,
        state=state,
        granted=dict(granted or {}),
        dose=DoseState(per_mw_j_per_cm2_s={LIGHT: 1.0}),
    )


figures = st.fixed_dictionaries(
    {},
    optional={
        "emitters": st.floats(0, 1e6) | st.floats(0, 100),
        "recall_health": st.floats(0, 1),
        "light_e": st.floats(0, 1e6),
        "spot_background": st.floats(0, 1e6),
        "spot_photons": st.floats(0, 1e6),
        "saturated_fraction": st.sampled_from([0.0, 0.5]),
    },
)


class WhateverTheFigures(RuleBasedStateMachine):
    """Limit, slew and trust hold for every sequence of results."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = policy(floor_mw=1.0)
        self.t_s, self.power_mw, self.state = 0.0, 2.0, None
        self.granted: dict[str, Any] = {}

    @rule(quality=figures, trust=st.sampled_from([0.0, 0.3, 1.0]), frames=st.integers(1, 80), noisy=st.booleans())
    def results(self, quality: Quality, trust: float, frames: int, noisy: bool) -> None:
        """Many alike, as a run brings them; blinking or frozen."""
        for k in range(frames):
            self.t_s += FRAME_S
            shown = dict(quality)
            if noisy and "emitters" in shown:
                shown["emitters"] *= 1 + 0.3 * (-1) ** k
            given = _at(self.t_s, shown, power_mw=self.power_mw, state=self.state, trust=trust, granted=self.granted)
            self.heed(given, self.policy.decide(given))

    @rule(seconds=st.floats(0.1, 30))
    def silence(self, seconds: float) -> None:
        self.t_s += seconds

    @rule(power_mw=st.sampled_from([0.0, 0.5, 50.0]))
    def somebody_else_sets_the_light(self, power_mw: float) -> None:
        self.power_mw = power_mw

    def heed(self, given: Context, choice: Any) -> None:
        self.state = choice.state
        for request in choice.requests:
            assert isinstance(request.command, SetLight)
            now_mw, next_mw, quality = self.power_mw, request.command.power_mw, given.result.quality
            assert 0 <= next_mw <= 100.0
            if next_mw > now_mw:
                assert next_mw <= max(2.2 * now_mw, 1.0)  # twice what was granted, a tenth of rounding allowed for
                assert next_mw <= now_mw + 30.0
                assert quality["emitters"] < TARGET * 1.5 or next_mw <= 1.0
                assert given.result.trust >= 0.25
                assert quality.get("recall_health", 1.0) >= 0.5
                assert quality.get("saturated_fraction", 0.0) == 0
            self.granted[request.command.setting] = request.command
            self.power_mw = next_mw


TestWhateverTheFigures = WhateverTheFigures.TestCase
TestWhateverTheFigures.settings = hypothesis_settings(max_examples=30, stateful_step_count=12, deadline=None)

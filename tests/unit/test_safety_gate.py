"""The gate: each limit by its key, and whatever the sequence, nothing granted is beyond the limits or the budget."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from smartscope.command import (
    Command,
    EndRun,
    MoveFocus,
    MoveStage,
    Request,
    RunAutofocus,
    SetExposure,
    SetInterval,
    SetLight,
    SetPreset,
    SetRoi,
)
from smartscope.config import DoseConfig, LightConfig, LimitsConfig, OpticsConfig
from smartscope.errors import Refused
from smartscope.frame import Roi, Settings
from smartscope.ports import Capabilities
from smartscope.safety.gate import Arm, SafetyGate, Verdict
from smartscope.safety.ledger import DoseLedger

SECOND = 1_000_000_000
LIGHTS = (LightConfig(name="blue"), LightConfig(name="red"), LightConfig(name="unlimited"))
LIMITS: dict[str, Any] = {
    "exposure_ms": {"low": 1, "high": 50},
    "lights": {"blue": {"max_power_mw": 40, "max_step_mw": 10}, "red": {"max_power_mw": 20, "max_duty": 0.5}},
    "x_um": {"low": -100, "high": 100},
    "y_um": {"low": -100, "high": 100},
    "z_um": {"low": -5, "high": 5},
    "max_stage_step_um": 20,
    "max_focus_step_um": 2,
}
ALL = Capabilities(
    sensor_shape=(200, 300),
    bit_depth=16,
    exposure_range_ms=(2.0, 1000.0),
    lights=("blue", "red", "unlimited"),
    has_xy=True,
    has_z=True,
    has_roi=True,
    has_interval=True,
    has_autofocus=True,
    presets={"Filter": ("green", "open")},
)
NONE = Capabilities(
    sensor_shape=(200, 300),
    bit_depth=16,
    exposure_range_ms=(2.0, 9.0),
    lights=(),
    has_xy=False,
    has_z=False,
    has_roi=False,
)
NOW = Settings(exposure_ms=10, roi=Roi(0, 0, 300, 200), lights_mw={"blue": 5.0, "red": 0.0})


def make(
    arm: Arm = "armed", capabilities: Capabilities = ALL, budget: float | None = None, **limits: Any
) -> SafetyGate:
    ledger = DoseLedger(DoseConfig(budget_j_per_cm2=budget), OpticsConfig(), LIGHTS, pixel_size_nm=100)
    return SafetyGate(LimitsConfig.model_validate({**LIMITS, **limits}), ledger, capabilities, arm)


def judged(gate: SafetyGate, command: Any, now: Settings = NOW, t_ns: int = 0) -> Verdict:
    return gate.judge(Request(command, "a test"), now, t_ns)


@pytest.mark.parametrize(
    "command",
    [
        SetExposure(20.0),
        SetInterval(5000.0),
        SetLight("blue", 15.0),
        SetLight("blue", 0.0),
        SetLight("unlimited", 0.0),
        MoveStage(12.0, -16.0),
        MoveFocus(-2.0),
        SetRoi(Roi(10, 20, 64, 64)),
        RunAutofocus(),
        SetPreset("Filter", "green"),
        EndRun(),
    ],
)
def test_what_is_within_the_limits_passes_unchanged(command: Command) -> None:
    assert judged(make(), command) == Verdict(command, would_grant=command)


@pytest.mark.parametrize(
    ("asked", "granted", "by"),
    [
        (SetExposure(0.5), SetExposure(2.0), "capabilities.exposure_range_ms"),
        (SetExposure(80.0), SetExposure(50.0), "limits.exposure_ms"),
        (SetInterval(-1.0), SetInterval(0.0), "limits.interval_ms"),
        (SetInterval(1e12), SetInterval(3_600_000.0), "limits.interval_ms"),
        (SetLight("blue", 99.0), SetLight("blue", 15.0), "limits.lights.blue.max_step_mw"),
        (SetLight("red", 99.0), SetLight("red", 20.0), "limits.lights.red.max_power_mw"),
        (SetLight("red", -1.0), SetLight("red", 0.0), "limits.power_mw"),
        (SetLight("unlimited", 1.0), SetLight("unlimited", 0.0), "limits.lights.unlimited"),
        (MoveStage(0.0, 40.0), MoveStage(0.0, 20.0), "limits.max_stage_step_um"),
        (MoveFocus(4.0), MoveFocus(2.0), "limits.max_focus_step_um"),
        (SetRoi(Roi(290, -3, 64, 64)), SetRoi(Roi(236, 0, 64, 64)), "capabilities.sensor_shape"),
        (SetRoi(Roi(0, 0, 8, 999)), SetRoi(Roi(0, 0, 32, 200)), "limits.min_roi_px"),
    ],
)
def test_what_is_beyond_is_clipped_or_refused_by_its_key(asked: Command, granted: Command, by: str) -> None:
    clipped = judged(make(), asked)
    assert (clipped.granted, clipped.clipped_by) == (granted, by)
    assert clipped.why
    refused = judged(make(on_violation="refuse"), asked)
    assert (refused.granted, refused.clipped_by) == (None, by)


def test_ranges_of_the_stages_end_moves() -> None:
    now = Settings(exposure_ms=10, roi=NOW.roi, x_um=90, y_um=0, z_um=4)
    assert judged(make(), MoveStage(105, 0), now).granted == MoveStage(100, 0)
    assert judged(make(), MoveStage(105, 0), now).clipped_by == "limits.x_um"
    assert judged(make(), MoveFocus(5.5), now).granted == MoveFocus(5)
    assert judged(make(y_um=None), MoveStage(91, 7), now).granted == MoveStage(91, 0)


def test_a_stage_outside_its_limits_is_not_moved_in_small_steps() -> None:
    far = Settings(exposure_ms=10, roi=NOW.roi, x_um=500, z_um=50)
    assert judged(make(), MoveStage(0, 0), far).granted is None
    assert judged(make(), MoveFocus(0), far).granted is None
    lost = Settings(exposure_ms=10, roi=NOW.roi, x_um=math.nan, z_um=math.nan)
    assert judged(make(), MoveStage(0, 0), lost).granted is None
    assert judged(make(), MoveFocus(0), lost).granted is None


@pytest.mark.parametrize(
    ("command", "by"),
    [
        (SetLight("blue", 1.0), "capabilities.lights"),
        (MoveStage(0, 0), "capabilities.has_xy"),
        (MoveFocus(0), "capabilities.has_z"),
        (SetRoi(Roi(0, 0, 64, 64)), "capabilities.has_roi"),
        (RunAutofocus(), "capabilities.has_autofocus"),
        (SetPreset("Filter", "green"), "capabilities.presets"),
        (SetExposure(1.0), "limits.exposure_ms"),
        (SetInterval(100.0), "capabilities.has_interval"),
    ],
)
def test_what_the_microscope_cannot_do_is_refused(command: Command, by: str) -> None:
    verdict = judged(make(capabilities=NONE, exposure_ms={"low": 10, "high": 50}), command)
    assert (verdict.granted, verdict.clipped_by) == (None, by)


def test_a_light_that_would_stay_on_forbids_to_rest() -> None:
    """Rest spares the sample only where the light rests with the camera."""
    gate = make()
    gate.ledger.set_light("blue", 1.0, 0)
    refused = judged(gate, SetInterval(1000.0))
    assert (refused.granted, refused.clipped_by) == (None, "lights.gated_by_camera")
    assert "blue would stay on" in refused.why
    assert judged(gate, SetInterval(0.0)).granted == SetInterval(0.0)
    gate.ledger.set_light("blue", 0.0, 0)
    assert judged(gate, SetInterval(1000.0)).granted == SetInterval(1000.0)


def test_autofocus_needs_a_focus_that_may_move() -> None:
    assert judged(make(z_um=None), RunAutofocus()).clipped_by == "limits.z_um"


NONSENSE: list[Any] = [
    "light on",
    None,
    SetExposure(math.nan),
    SetExposure("5"),  # type: ignore[arg-type]
    SetLight("blue", math.inf),
    SetLight("blue", 10**400),
    SetLight(["blue"], 1.0),  # type: ignore[arg-type]
    MoveStage(math.nan, 0.0),
    MoveFocus(-math.inf),
    MoveFocus(1j),  # type: ignore[arg-type]
    SetRoi((0, 0, 64, 64)),  # type: ignore[arg-type]
    SetRoi(Roi(0, 0, 64.5, 64)),  # type: ignore[arg-type]
    SetPreset("Filter", 3),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("command", NONSENSE, ids=repr)
def test_nonsense_is_refused(command: Any) -> None:
    verdict = judged(make(), command)
    assert (verdict.granted, verdict.clipped_by) == (None, "command")


def test_numbers_of_numpy_are_numbers() -> None:
    granted = judged(make(), SetExposure(np.float32(20))).granted
    assert granted == SetExposure(20.0)
    assert isinstance(granted, SetExposure)
    assert type(granted.exposure_ms) is float


def test_shadow_says_what_it_would_grant_and_grants_nothing() -> None:
    verdict = judged(make("shadow"), SetExposure(80.0))
    assert (verdict.granted, verdict.would_grant, verdict.shadow) == (None, SetExposure(50.0), True)


def test_clamped_allows_a_quarter() -> None:
    assert judged(make("clamped"), SetLight("red", 20.0)).granted == SetLight("red", 5.0)
    assert make("clamped").limits.max_stage_step_um == 5


def test_lights_are_held_dark_until_released() -> None:
    gate = make()
    gate.hold_dark("laser_off")
    assert judged(gate, SetLight("blue", 5.0)).clipped_by == "hold_dark"
    assert judged(gate, SetLight("blue", 0.0)).granted == SetLight("blue", 0.0)
    assert judged(gate, SetExposure(20.0)).granted == SetExposure(20.0)
    gate.release()
    assert judged(gate, SetLight("blue", 5.0)).granted == SetLight("blue", 5.0)


def test_a_plan_keeps_the_camera_for_itself() -> None:
    gate = make()
    gate.begin_plan("z-stack")
    assert judged(gate, SetExposure(20.0)).clipped_by == "plan"
    assert judged(gate, SetLight("blue", 0.0)).granted == SetLight("blue", 0.0)
    assert judged(gate, EndRun()).granted == EndRun()
    gate.end_plan()
    assert judged(gate, SetExposure(20.0)).granted == SetExposure(20.0)


def test_dose_ends_the_light_and_forbids_the_way_back_to_a_spent_field() -> None:
    gate = make(budget=100)
    gate.ledger.set_light("blue", 5.0, 0)
    end_ns = gate.ledger.exhausted_at_ns(0)
    assert end_ns is not None
    assert gate.overdue(end_ns - 10 * SECOND // 1000, lead_ns=0) == []
    (off,) = gate.overdue(end_ns - 10 * SECOND // 1000, lead_ns=20 * SECOND // 1000)
    assert (off.granted, off.clipped_by) == (SetLight("blue", 0.0), "dose")
    gate.ledger.advance(end_ns + 1000)
    assert judged(gate, SetLight("blue", 1.0), t_ns=end_ns + 1000).clipped_by == "dose"
    gate.ledger.move(100, 100, end_ns + 1000)
    there = Settings(exposure_ms=10, roi=NOW.roi, x_um=59, y_um=59)
    assert judged(gate, MoveStage(45, 45), there, end_ns + 1000).clipped_by == "dose"
    gate.ledger.set_light("blue", 0.0, end_ns + 1000)
    assert judged(gate, MoveStage(45, 45), there, end_ns + 1000).granted == MoveStage(45, 45)


def test_duty_ends_the_light() -> None:
    gate = make()
    gate.ledger.set_light("red", 5.0, 0)
    assert gate.overdue(4 * SECOND) == []
    (off,) = gate.overdue(5 * SECOND)
    assert (off.granted, off.clipped_by) == (SetLight("red", 0.0), "limits.lights.red.max_duty")
    gate.ledger.set_light("red", 0.0, 5 * SECOND)
    assert judged(gate, SetLight("red", 5.0), t_ns=6 * SECOND).clipped_by == "limits.lights.red.max_duty"
    assert judged(gate, SetLight("red", 5.0), t_ns=11 * SECOND).granted == SetLight("red", 5.0)


def test_tightening_lowers_what_is_above() -> None:
    gate = make()
    gate.ledger.set_light("red", 15.0, 0)
    gate.tighten(LimitsConfig.model_validate({**LIMITS, "lights": {"red": {"max_power_mw": 10, "max_duty": 0.5}}}))
    (lower,) = gate.overdue(0)
    assert lower.granted == SetLight("red", 10.0)
    with pytest.raises(Refused, match="loosened"):
        gate.tighten(LimitsConfig.model_validate(LIMITS))


NUMBERS = st.one_of(st.floats(-200, 200), st.floats())
COMMANDS = st.one_of(
    st.builds(SetExposure, NUMBERS),
    st.builds(SetLight, st.sampled_from(["blue", "red", "unlimited", "unknown"]), NUMBERS),
    st.builds(MoveStage, NUMBERS, NUMBERS),
    st.builds(MoveFocus, NUMBERS),
    st.builds(SetRoi, st.builds(Roi, *[st.integers(-400, 400)] * 4)),
    st.builds(SetPreset, st.sampled_from(["Filter", "Core"]), st.sampled_from(["green", "laser"])),
    st.just(RunAutofocus()),
    st.sampled_from(NONSENSE),
)


class NothingGrantedIsUnsafe(RuleBasedStateMachine):
    """A microscope that does whatever is granted, and a loop that looks for overdue lights in time."""

    LEAD_NS = SECOND

    @initialize(
        arm=st.sampled_from(["clamped", "armed", "armed", "shadow"]),
        on_violation=st.sampled_from(["clip", "refuse"]),
        budget=st.sampled_from([200.0, None]),
    )
    def begin(self, arm: Arm, on_violation: str, budget: float | None) -> None:
        self.gate = make(arm, budget=budget, on_violation=on_violation)
        self.budget = budget or math.inf
        self.now = Settings(exposure_ms=10, roi=NOW.roi, lights_mw=dict.fromkeys(ALL.lights, 0.0))
        self.t_ns = 0

    @rule(command=COMMANDS)
    def anything(self, command: Any) -> None:
        self.ask(command)

    def ask(self, command: Any) -> None:
        verdict = judged(self.gate, command, self.now, self.t_ns)
        assert bool(verdict.clipped_by) == bool(verdict.why)
        assert verdict.granted is None or not verdict.shadow
        if verdict.granted is not None:
            self.carry_out(verdict.granted)

    @rule(light=st.sampled_from(["blue", "red"]), power_mw=st.floats(0, 50))
    def light(self, light: str, power_mw: float) -> None:
        self.ask(SetLight(light, power_mw))

    @rule(dx_um=st.floats(-30, 30), dy_um=st.floats(-30, 30))
    def follow(self, dx_um: float, dy_um: float) -> None:
        self.ask(MoveStage(self.now.x_um + dx_um, self.now.y_um + dy_um))

    @rule(share=st.floats(0.5, 1))
    def wait(self, share: float) -> None:
        for verdict in self.gate.overdue(self.t_ns, self.LEAD_NS):
            assert isinstance(verdict.granted, SetLight)
            self.carry_out(verdict.granted)
        self.t_ns += int(share * self.LEAD_NS)
        self.gate.ledger.advance(self.t_ns)

    def carry_out(self, command: Command) -> None:
        limits = self.gate.limits
        match command:
            case SetExposure(exposure_ms):
                assert max(limits.exposure_ms.low, 2.0) <= exposure_ms <= limits.exposure_ms.high
            case SetLight(light, power_mw):
                self.carry_out_light(light, power_mw)
            case MoveStage(x_um, y_um):
                assert math.hypot(x_um - self.now.x_um, y_um - self.now.y_um) <= limits.max_stage_step_um + 1e-9
                assert -100 <= x_um <= 100
                assert -100 <= y_um <= 100
                self.now = Settings(10, NOW.roi, self.now.lights_mw, x_um, y_um, self.now.z_um)
                self.gate.ledger.move(x_um, y_um, self.t_ns)
            case MoveFocus(z_um):
                assert abs(z_um - self.now.z_um) <= limits.max_focus_step_um + 1e-9
                assert -5 <= z_um <= 5
                self.now = Settings(10, NOW.roi, self.now.lights_mw, self.now.x_um, self.now.y_um, z_um)
            case SetRoi(roi):
                assert min(roi.x, roi.y) >= 0
                assert roi.x + roi.width <= 300
                assert roi.y + roi.height <= 200
                assert min(roi.width, roi.height) >= limits.min_roi_px
            case SetPreset(group, preset):
                assert (group, preset) == ("Filter", "green")

    def carry_out_light(self, light: str, power_mw: float) -> None:
        if power_mw > 0:
            limit, now_mw = self.gate.limits.lights[light], self.now.lights_mw[light]
            assert power_mw <= limit.max_power_mw
            assert power_mw <= now_mw + (limit.max_step_mw or math.inf)
        lights = {**self.now.lights_mw, light: power_mw}
        self.now = Settings(10, NOW.roi, lights, self.now.x_um, self.now.y_um, self.now.z_um)
        self.gate.ledger.set_light(light, power_mw, self.t_ns)

    @invariant()
    def dose_and_duty_are_kept(self) -> None:
        if hasattr(self, "gate"):
            most = max((field.j_per_cm2 for field in self.gate.ledger.by_field()), default=0.0)
            assert most <= self.budget * (1 + 1e-9)
            assert self.gate.ledger.on_fraction("red", self.t_ns) <= 0.5 + 1e-9


NothingGrantedIsUnsafe.TestCase.settings = hypothesis_settings(max_examples=100, stateful_step_count=50, deadline=None)
TestNothingGrantedIsUnsafe = NothingGrantedIsUnsafe.TestCase

"""Plans pass the gate whole or not at all."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import useq

from smartscope.config import DoseConfig, LightConfig, LimitsConfig, OpticsConfig
from smartscope.errors import Refused
from smartscope.frame import Roi, Settings
from smartscope.ports import Capabilities
from smartscope.safety import plan_gate
from smartscope.safety.gate import Arm, SafetyGate
from smartscope.safety.ledger import DoseLedger
from smartscope.safety.plan_gate import PlanGate

SECOND = 1_000_000_000
BLUE = LightConfig(name="blue", device="Laser488", power_property="Power", switch_device="Shutter488")
CAMERA: dict[str, Any] = {
    "sensor_shape": (200, 300),
    "bit_depth": 16,
    "exposure_range_ms": (2.0, 40.0),
    "lights": ("blue",),
    "has_xy": True,
    "has_z": True,
    "has_roi": True,
    "has_autofocus": True,
    "presets": {"Channel": ("GFP",)},
    "frame_period_overhead_ms": 1.0,
}
LIMITS: dict[str, Any] = {
    "exposure_ms": {"low": 1, "high": 50},
    "lights": {"blue": {"max_power_mw": 40}},
    "x_um": {"low": -100, "high": 100},
    "z_um": {"low": -5, "high": 5},
    "max_stage_step_um": 60,
}
NOW = Settings(exposure_ms=10, roi=Roi(0, 0, 300, 200), lights_mw={"blue": 5.0})


def make(
    arm: Arm = "armed", light: LightConfig = BLUE, budget: float | None = None, camera: Any = CAMERA, **limits: Any
) -> PlanGate:
    ledger = DoseLedger(DoseConfig(budget_j_per_cm2=budget), OpticsConfig(), (light,), pixel_size_nm=100)
    walls = LimitsConfig.model_validate({**LIMITS, **limits})
    return PlanGate(SafetyGate(walls, ledger, Capabilities(**camera), arm), (light,))


def event(**fields: Any) -> useq.MDAEvent:
    return useq.MDAEvent(**fields)


def test_a_plan_within_the_limits_comes_back_as_a_list() -> None:
    sequence = useq.MDASequence(
        stage_positions=[(0.0, 0.0, 0.0), (50.0, 0.0, 0.0)],
        channels=[{"config": "GFP", "exposure": 5}],
        z_plan={"range": 4, "step": 1},
    )
    plan = make().check(iter(sequence), NOW, 0)
    assert plan == list(sequence)


def test_events_may_have_masks_properties_rois_and_autofocus() -> None:
    events = [
        event(slm_image={"data": [[1]], "device": "SLM"}, properties=[("Camera", "Gain", 2)]),
        event(roi=(0, 0, 64, 64)),
        event(action=useq.HardwareAutofocus(autofocus_motor_offset=0.0)),
    ]
    assert make().check(events, NOW, 0) == events


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"exposure": 0.5}, r"exposure of 0\.5 ms; allowed: 1 to 50 ms"),
        ({"exposure": 45}, r"exposure of 45 ms; allowed: 2 to 40 ms \(exposure of the camera\)"),
        ({"min_start_time": float("inf")}, "start time inf"),
        ({"x_pos": 101}, r"x = 101 um; allowed: -100 to 100 um; remedy: .*limits\.x_um"),
        ({"x_pos": float("nan")}, "x = nan um"),
        ({"y_pos": 1}, r"y = 1 um; allowed: 0 um, without limits\.y_um"),
        ({"z_pos": -6}, "z = -6 um"),
        ({"x_pos": 61}, r"stage step of 61 um; allowed: 60 um; .*limits\.max_stage_step_um"),
        ({"z_pos": 5.0}, "focus step of 5 um; allowed: 4 um"),
        ({"channel": {"group": "Channel", "config": "DAPI"}}, r"channel Channel/DAPI; allowed: .*GFP"),
        ({"channel": {"group": "Laser", "config": "on"}}, "channel Laser/on"),
        ({"properties": [("Laser488", "Power", 9)]}, r"property Laser488\.Power = 9"),
        ({"properties": [("Shutter488", "State", 1)]}, r"property Shutter488\.State"),
        ({"properties": [("Core", "AutoShutter", 1)]}, r"property Core\.AutoShutter"),
        ({"roi": (0, 0, 16, 64)}, "ROI of 16 x 64 px"),
        ({"roi": (250, 0, 64, 64)}, r"ROI of 64 x 64 px at \(250, 0\)"),
        ({"action": useq.CustomAction(name="fire")}, "custom action 'fire'"),
    ],
)
def test_a_bad_event_is_named_with_value_limit_and_remedy(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=f"plan event 1: {message}"):
        make(max_focus_step_um=4).check([event(), event(**bad)], NOW, 0)


def test_autofocus_needs_the_device_and_a_focus_that_may_move() -> None:
    find_focus = [event(action=useq.HardwareAutofocus(autofocus_motor_offset=0.0))]
    with pytest.raises(Refused, match="no hardware autofocus"):
        make(camera={**CAMERA, "has_autofocus": False}).check(find_focus, NOW, 0)
    with pytest.raises(Refused, match=r"without limits\.z_um"):
        make(z_um=None).check(find_focus, NOW, 0)


def test_steps_count_from_the_event_before() -> None:
    make().check([event(x_pos=50), event(x_pos=100)], NOW, 0)
    with pytest.raises(Refused, match="plan event 2: stage step of 100 um"):
        make().check([event(x_pos=50), event(), event(x_pos=-50)], NOW, 0)


def test_an_endless_plan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_gate, "MAX_EVENTS", 100)
    with pytest.raises(Refused, match="does not end"):
        make().check(itertools.repeat(event()), NOW, 0)


def test_shadow_runs_no_plan() -> None:
    with pytest.raises(Refused, match="arm with"):
        make("shadow").check([event()], NOW, 0)


def dose_of_a_frame(exposure_ms: float) -> float:
    """J/cm² of 5 mW for one exposure with the default optics."""
    ledger = DoseLedger(DoseConfig(), OpticsConfig(), (BLUE,), pixel_size_nm=100)
    ledger.set_light("blue", 5.0, 0)
    return ledger.state(round(exposure_ms * 1e6)).spent_j_per_cm2


def test_the_dose_of_the_whole_plan_must_be_there() -> None:
    # ungated light burns for 10 ms of exposure and 1 ms of overhead with each frame but the last
    checker = make(budget=dose_of_a_frame(10 * 10 + 9) * 1.0001)
    assert len(checker.check([event()] * 10, NOW, 0)) == 10
    with pytest.raises(Refused, match=r"plan event 10: the plan's dose reaches .* J/cm²"):
        checker.check([event()] * 11, NOW, 0)


def test_light_gated_by_the_camera_costs_exposures_only_and_waiting_costs_the_others() -> None:
    waiting = [event(min_start_time=i) for i in range(10)]
    budget = dose_of_a_frame(10 * 10) * 1.0001
    gated = BLUE.model_copy(update={"gated_by_camera": True})
    assert len(make(light=gated, budget=budget).check(waiting, NOW, 0)) == 10
    with pytest.raises(Refused, match="plan event 1: the plan's dose"):
        make(budget=budget).check(waiting, NOW, 0)


def test_far_fields_have_accounts_of_their_own() -> None:
    there_and_back = [event(x_pos=100 * (i % 2)) for i in range(10)]
    budget = dose_of_a_frame(60)
    make(max_stage_step_um=200, budget=budget).check(there_and_back, NOW, 0)
    with pytest.raises(Refused, match="dose"):
        make(budget=budget).check([event()] * 10, NOW, 0)


def test_lights_of_a_plan_are_judged_and_their_dose_is_reserved() -> None:
    budget = dose_of_a_frame(10 * 10 + 9) * 1.0001  # of 5 mW
    checker = make(budget=budget)
    assert len(checker.check([event()] * 10, NOW, 0, {"blue": 5.0})) == 10
    assert len(checker.check([event()] * 19, NOW, 0, {"blue": 2.5})) == 19
    with pytest.raises(Refused, match=r"plan event 5: the plan's dose"):
        checker.check([event()] * 10, NOW, 0, {"blue": 10.0})
    with pytest.raises(Refused, match=r"plan light blue: 41 mW during the plan: .*limits\.lights\.blue\.max_power_mw"):
        checker.check([event()], NOW, 0, {"blue": 41.0})
    with pytest.raises(Refused, match="no light 'green'"):
        checker.check([event()], NOW, 0, {"green": 1.0})
    with pytest.raises(Refused, match="nan mW"):
        checker.check([event()], NOW, 0, {"blue": float("nan")})


def test_checking_spends_nothing() -> None:
    checker = make(budget=dose_of_a_frame(15))
    for _ in range(3):
        checker.check([event()], NOW, 0)

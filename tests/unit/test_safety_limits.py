"""Limits are tightened, never loosened."""

from __future__ import annotations

from typing import Any

import pytest

from smartscope.config import LimitsConfig
from smartscope.errors import Refused
from smartscope.safety.limits import clamped, tightened

LIMITS: dict[str, Any] = {
    "exposure_ms": {"low": 1, "high": 50},
    "lights": {"laser": {"max_power_mw": 40, "max_step_mw": 10, "max_duty": 0.5}},
    "x_um": {"low": -100, "high": 100},
    "z_um": {"low": -5, "high": 5},
    "on_violation": "refuse",
}


def limits(**changes: Any) -> LimitsConfig:
    return LimitsConfig.model_validate({**LIMITS, **changes})


def test_clamped_takes_a_fraction_of_powers_and_steps_and_leaves_ranges() -> None:
    reduced = clamped(limits())
    assert (reduced.lights["laser"].max_power_mw, reduced.lights["laser"].max_step_mw) == (10, 2.5)
    assert (reduced.max_stage_step_um, reduced.max_focus_step_um) == (12.5, 1.25)
    assert reduced.exposure_ms == limits().exposure_ms


def test_clamped_keeps_an_unlimited_step_unlimited() -> None:
    assert clamped(limits(lights={"laser": {"max_power_mw": 4}})).lights["laser"].max_step_mw is None


@pytest.mark.parametrize(
    "tighter",
    [
        {},
        {"exposure_ms": {"low": 2, "high": 40}},
        {"lights": {}},
        {"x_um": None},
        {"min_roi_px": 64},
        {"max_stage_step_um": 1},
        {"lights": {"laser": {"max_power_mw": 1, "max_step_mw": 1, "max_duty": 0.1}}},
    ],
)
def test_tighter_limits_are_taken(tighter: dict[str, Any]) -> None:
    assert tightened(limits(), limits(**tighter)) == limits(**tighter)


@pytest.mark.parametrize(
    ("looser", "key"),
    [
        ({"exposure_ms": {"low": 0.5, "high": 50}}, "exposure_ms"),
        ({"y_um": {"low": 0, "high": 1}}, "y_um"),
        ({"z_um": {"low": -5, "high": 6}}, "z_um"),
        ({"max_stage_step_um": 51}, "max_stage_step_um"),
        ({"max_focus_step_um": 6}, "max_focus_step_um"),
        ({"clamped_fraction": 0.5}, "clamped_fraction"),
        ({"min_roi_px": 16}, "min_roi_px"),
        ({"on_violation": "clip"}, "on_violation"),
        ({"lights": {"other": {"max_power_mw": 0}}}, r"lights\.other"),
        ({"lights": {"laser": {"max_power_mw": 41, "max_step_mw": 10, "max_duty": 0.5}}}, r"laser\.max_power_mw"),
        ({"lights": {"laser": {"max_power_mw": 40, "max_duty": 0.5}}}, r"laser\.max_step_mw"),
        ({"lights": {"laser": {"max_power_mw": 40, "max_step_mw": 10}}}, r"laser\.max_duty"),
    ],
)
def test_a_looser_limit_is_refused_by_its_key(looser: dict[str, Any], key: str) -> None:
    with pytest.raises(Refused, match=rf"would be loosened: .*{key}"):
        tightened(limits(), limits(**looser))

"""The policies that come with smartscope and a user's own keep the contract; the contract finds those that do not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from smartscope.command import MoveFocus, Request, SetExposure
from smartscope.plugins import build, check_options, find
from smartscope.policies.activation import ActivationPolicy
from smartscope.policies.event_driven import EventDrivenPolicy
from smartscope.policies.exposure import ExposurePolicy
from smartscope.policies.field_of_view import FieldOfViewPolicy
from smartscope.policies.laser_power import LaserPowerPolicy
from smartscope.policies.overview import OverviewPolicy
from smartscope.policies.stop import StopPolicy
from smartscope.policies.structured_illumination import StructuredIlluminationPolicy
from smartscope.policies.target_lock import TargetLockPolicy
from smartscope.ports import Choice, Context, Policy
from smartscope.testing.policy_contract import LIGHT, PolicyContract, situations


class TestExposure(PolicyContract):
    def make(self) -> Policy:
        return ExposurePolicy(target_signal_to_noise=10)


class TestLaserPower(PolicyContract):
    def make(self) -> Policy:
        return LaserPowerPolicy(light=LIGHT)


class TestFieldOfViewByStage(PolicyContract):
    def make(self) -> Policy:
        return FieldOfViewPolicy(deadband_um=0.5, margin_um=0.5)


class TestFieldOfViewByRoi(PolicyContract):
    def make(self) -> Policy:
        return FieldOfViewPolicy(mode="roi", label="any", roi_px=32, choose="brightest")


class TestTargetLockByStage(PolicyContract):
    def make(self) -> Policy:
        return TargetLockPolicy()


class TestTargetLockByBoth(PolicyContract):
    def make(self) -> Policy:
        return TargetLockPolicy(mode="both", smallest_roi_px=32, choose="brightest")


class TestEventDriven(PolicyContract):
    def make(self) -> Policy:
        return EventDrivenPolicy(figure="signal_to_noise", fast_at=4, slow_below=2, burst_frames=2)


class TestOverview(PolicyContract):
    def make(self) -> Policy:
        return OverviewPolicy(columns=2, rows=3, counts="detections", dwell_frames=2)


class TestStructuredIllumination(PolicyContract):
    def make(self) -> Policy:
        return StructuredIlluminationPolicy(light=LIGHT)


class TestActivation(PolicyContract):
    def make(self) -> Policy:
        return ActivationPolicy(light=LIGHT, target_emitters=60, when_exhausted="end")


class TestActivationByDensity(PolicyContract):
    def make(self) -> Policy:
        return ActivationPolicy(light=LIGHT, target_density_per_um2=0.5)


class TestStopWhen(PolicyContract):
    def make(self) -> Policy:
        return StopPolicy(resolution_nm=30, localizations=1000, fewer_emitters=5, estimates=1)


class TestUsersOwn(PolicyContract):
    """What the README's example looks like."""

    class Refocus:
        def __init__(self, z_um: float = 1.0) -> None:
            self.z_um = z_um

        def decide(self, context: Context) -> Choice:
            return Choice([Request(MoveFocus(self.z_um), "because")], (context.state or 0) + 1)

    def make(self) -> Policy:
        return self.Refocus()


class _Counts:
    calls = 0

    def decide(self, context: Context) -> Choice:
        self.calls += 1
        return Choice([Request(SetExposure(float(self.calls)), "counting")])


class _Wild:
    def decide(self, context: Context) -> Choice:
        return Choice([Request(SetExposure(math.nan), "who knows")])


class _Secretive:
    """Says that it reads nothing, and looks at the tracks."""

    reads: frozenset[str] = frozenset()

    def decide(self, context: Context) -> Choice:
        tracks = context.result.tracks
        return Choice([Request(SetExposure(1.0), "crowded")] if tracks is not None and len(tracks) else ())


class _Mute:
    def decide(self, context: Context) -> Choice:
        return Choice([Request(SetExposure(1.0), " ")])


class _Forgetful:
    """Its state cannot be compared, so a replay cannot be either."""

    def decide(self, context: Context) -> Choice:
        return Choice(state=object())


def _contract(policy: type[Any]) -> PolicyContract:
    class Broken(PolicyContract):
        def make(self) -> Policy:
            return policy()  # type: ignore[no-any-return]

    return Broken()


@pytest.mark.parametrize("policy", [_Counts, _Forgetful])
def test_contract_finds_impurity(policy: type[Any]) -> None:
    with pytest.raises(AssertionError):
        _contract(policy).test_is_pure("all is well")


@pytest.mark.parametrize(("policy", "message"), [(_Wild, "not finite"), (_Mute, "no reason")])
def test_contract_finds_nonsense(policy: type[Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        _contract(policy).test_answers_in_any_situation("all is well")


def test_contract_finds_secrets() -> None:
    with pytest.raises(AssertionError, match="reads more than"):
        _contract(_Secretive).test_reads_what_it_says("all is well")


def test_contract_wants_a_maker() -> None:
    with pytest.raises(NotImplementedError, match="must build the policy"):
        PolicyContract().make()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("exposure", {"target_signal_to_noise": 10}),
        ("laser_power", {"light": LIGHT}),
        ("field_of_view", {"label": "cell"}),
        ("smartscope.policies.activation:ActivationPolicy", {"light": LIGHT, "target_emitters": 60}),
        ("smartscope.policies.stop:StopPolicy", {"localizations": 10}),
    ],
)
def test_built_by_name(name: str, options: dict[str, Any]) -> None:
    policy = build("policies", name, options)
    assert isinstance(policy.decide(situations()["all is well"]), Choice)


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("exposure", {}, "options.target_signal_to_noise"),
        ("exposure", {"target_signal_to_noise": -1}, "options.target_signal_to_noise"),
        ("exposure", {"target_signal_to_noise": 10, "deadband": 0.5}, "options.deadband"),
        ("laser_power", {"light": LIGHT, "reserve_fraction": 1.0}, "options.reserve_fraction"),
        ("laser_power", {"light": LIGHT, "power": 1.0}, "options.power"),
        ("field_of_view", {"label": "mouse"}, "options.label"),
        ("smartscope.policies.activation:ActivationPolicy", {"light": LIGHT, "ki": 0.0}, "options.ki"),
        (
            "smartscope.policies.activation:ActivationPolicy",
            {"light": LIGHT, "when_exhausted": "cry"},
            "options.when_exhausted",
        ),
        ("smartscope.policies.stop:StopPolicy", {"localizations": 0}, "options.localizations"),
        ("field_of_view", {"mode": "roi", "roi_px": 3}, "options.roi_px"),
        ("smartscope.policies.target_lock:TargetLockPolicy", {"sigmas": 0}, "options.sigmas"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, Any], key: str) -> None:
    assert [problem.key for problem in check_options(find("policies", name), options, "options")] == [key]

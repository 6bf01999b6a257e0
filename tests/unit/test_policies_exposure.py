"""The exposure policy against a plant of one equation: settles, holds through bleaching, never saturates for long."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.command import SetExposure
from smartscope.config import CameraCalibration, LimitsConfig, OpticsConfig, Range
from smartscope.frame import Certainty
from smartscope.policies.exposure import ExposurePolicy, ExposureState, light_for, signal_to_noise
from smartscope.ports import Instrument
from smartscope.testing.policy_contract import LIGHT, LIMITS, QUALITY, SETTINGS, context

READ_NOISE_E = CameraCalibration().read_noise_e
FULL_E = 30_000.0


@dataclass
class Plant:
    """A specimen that gives photo-electrons per ms and mW; figures with relative noise; a loop with a delay."""

    signal_e: float = 0.8
    background_e: float = 0.1
    brightest: float = 5.0
    """Brightest pixel over the mean signal."""
    noise: float = 0.03
    delay_frames: int = 3
    bleaching_per_s: float = 0.0
    excess: float = 1.0
    """Noise that the model does not know, as a factor."""

    def run(self, policy: ExposurePolicy, seconds: float, power_mw: Callable[[float], float] = lambda t: 2.0) -> Trace:
        chance, trace = random.Random(1), Trace([], [], [], [])
        settings = replace(SETTINGS, exposure_ms=5.0)
        coming, state, t_s = [settings] * self.delay_frames, None, 0.0
        while t_s < seconds:
            t_s += max(settings.exposure_ms, 2.0) / 1000
            settings = replace(settings, lights_mw={LIGHT: power_mw(t_s)})
            coming.append(settings)
            used = coming.pop(0)
            light = used.exposure_ms * used.lights_mw[LIGHT]
            left = math.exp(-self.bleaching_per_s * t_s)
            wobble = 1 + chance.gauss(0, self.noise)
            signal, background = self.signal_e * left * light * wobble, self.background_e * light
            true = signal_to_noise(signal / wobble, background, READ_NOISE_E) / self.excess
            filled = self.brightest * (signal + background) / FULL_E
            quality = {
                "signal_to_noise": signal_to_noise(signal, background, READ_NOISE_E) / self.excess,
                "signal_e": signal,
                "background_e": background,
                "saturated_fraction": 0.01 if filled > 1 else 0.0,
                "saturation_headroom": max(0.0, 1 - filled),
            }
            choice = policy.decide(
                context(
                    t_s, settings=settings, frame_settings=used, quality=quality, state=state, trust=1 - (filled > 1)
                )
            )
            state = choice.state
            for request in choice.requests:
                assert isinstance(request.command, SetExposure)
                settings = replace(settings, exposure_ms=request.command.exposure_ms)
            trace.add(t_s, true, settings.exposure_ms, filled > 1)
        return trace


@dataclass
class Trace:
    """What became of a run."""

    t_s: list[float]
    signal_to_noise: list[float]
    exposure_ms: list[float]
    saturated: list[bool]

    def add(self, t_s: float, true: float, exposure_ms: float, saturated: bool) -> None:
        self.t_s.append(t_s)
        self.signal_to_noise.append(true)
        self.exposure_ms.append(exposure_ms)
        self.saturated.append(saturated)

    def within(self, target: float, after_s: float, fraction: float = 0.1) -> float:
        """Share of the frames within a fraction of the target."""
        late = [s for t, s in zip(self.t_s, self.signal_to_noise, strict=True) if t > after_s]
        return sum(abs(s / target - 1) <= fraction for s in late) / len(late)

    def changes(self, after_s: float) -> int:
        late = [e for t, e in zip(self.t_s, self.exposure_ms, strict=True) if t > after_s]
        return sum(a != b for a, b in pairwise(late))


@pytest.mark.parametrize("target", [4.0, 10.0, 14.0])
@pytest.mark.parametrize("excess", [1.0, math.sqrt(2)])
def test_settles_within_two_seconds_and_rests(target: float, excess: float) -> None:
    trace = Plant(signal_e=2.0, excess=excess).run(ExposurePolicy(target), 6)
    assert trace.within(target, after_s=1.0) > 0.99
    assert trace.changes(after_s=2.0) <= 4, "hunts around the target"


def test_follows_bleaching_until_the_limit() -> None:
    trace = Plant(signal_e=2.0, bleaching_per_s=0.1).run(ExposurePolicy(10), 20)
    limited = trace.exposure_ms.index(LIMITS.exposure_ms.high)
    assert trace.t_s[limited] > 10
    before = Trace(*(column[:limited] for column in astuple(trace)))
    assert before.within(10, after_s=1.0) > 0.99
    assert set(trace.exposure_ms[limited:]) == {LIMITS.exposure_ms.high}


def test_allows_at_once_for_a_new_power() -> None:
    """Frames lit with the old power predict the ratio under the new one."""
    trace = Plant(signal_e=2.0).run(ExposurePolicy(10), 6, lambda t: 2.0 if t < 3 else 4.0)
    assert trace.within(10, after_s=3.1) > 0.99


def test_goes_as_far_as_no_pixel_saturates() -> None:
    trace = Plant(signal_e=3.0, brightest=300.0).run(ExposurePolicy(10), 6)
    assert sum(trace.saturated) == 0
    assert 0.7 < trace.exposure_ms[-1] / (FULL_E / (300 * 3.1 * 2)) < 0.95


def test_backs_off_at_once_from_saturation() -> None:
    trace = Plant(signal_e=3.0, brightest=4000.0).run(ExposurePolicy(10), 6)
    assert sum(trace.saturated) < 0.02 * len(trace.saturated)


def test_saturation_counts_even_without_trust_and_headroom() -> None:
    quality = {**QUALITY, "saturated_fraction": 0.01}
    del quality["saturation_headroom"]
    first = ExposurePolicy(10).decide(context(quality=quality, trust=0.0))
    (request,) = first.requests
    assert request.command == SetExposure(pytest.approx(0.6 * SETTINGS.exposure_ms))
    assert request.why == "1 % of the pixels saturated: exposure 10 -> 6 ms"
    now = replace(SETTINGS, exposure_ms=6.0)
    again = ExposurePolicy(10).decide(context(settings=now, state=first.state))
    assert not again.requests, "climbs back to what has just saturated"


def test_says_why() -> None:
    (request,) = ExposurePolicy(10).decide(context()).requests
    assert request.why == "signal-to-noise 5, target 10: exposure 10 -> 37.9 ms"


def test_rests_within_the_deadband() -> None:
    assert not ExposurePolicy(5.1).decide(context()).requests


def test_one_request_changes_by_four_at_most() -> None:
    (request,) = ExposurePolicy(1000).decide(context()).requests
    assert request.command == SetExposure(40.0)


def test_does_not_beg_at_the_limit() -> None:
    limits = LimitsConfig(exposure_ms=Range(low=1, high=10))
    assert not ExposurePolicy(10).decide(context(limits=limits)).requests


@pytest.mark.parametrize(
    "changes",
    [
        {"trust": 0.4},
        {"certainty": {f"light:{LIGHT}": Certainty.MIXED}},
        {"frame_settings": replace(SETTINGS, exposure_ms=5.0)},
        {"frame_settings": replace(SETTINGS, lights_mw={LIGHT: 0.0})},
        {"settings": replace(SETTINGS, lights_mw={LIGHT: 0.0})},
        {"quality": {}},
    ],
)
def test_ignores_what_says_nothing(changes: dict[str, object]) -> None:
    state = ExposureState(ceiling_ms_mw=77.0)
    choice = ExposurePolicy(10).decide(context(state=state, **changes))  # type: ignore[arg-type]
    assert not choice.requests
    assert choice.state == state


def test_em_gain_lowers_read_noise() -> None:
    instrument = Instrument(CameraCalibration(em_gain=100, read_noise_e=50), OpticsConfig())
    quality = {**QUALITY, "signal_to_noise": signal_to_noise(30, 4, 0.5)}
    choice = ExposurePolicy(10).decide(context(quality=quality, instrument=instrument))
    assert choice.state.recent[-1].agreement == pytest.approx(1)


@given(st.floats(0.5, 100), st.floats(1e-3, 1e3), st.floats(0, 1e3), st.floats(0, 20))
def test_light_for_inverts_signal_to_noise(target: float, signal_e: float, background_e: float, read_e: float) -> None:
    light = light_for(target, signal_e, background_e, read_e)
    assert signal_to_noise(signal_e * light, background_e * light, read_e) == pytest.approx(target, rel=1e-6)

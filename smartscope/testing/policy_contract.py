"""What every policy must keep: pure, calm on poor input, its state a value. Subclass and say how yours is made::

    class TestMine(PolicyContract):
        def make(self) -> Policy:
            return MyPolicy(gain=2.0)

``context`` builds the situations, and is as useful in a policy's own tests.
"""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from smartscope.command import Request
from smartscope.config import CameraCalibration, LightLimits, LimitsConfig, OpticsConfig, Range
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.ports import READABLE, Choice, Context, Delay, DoseState, Instrument, Policy
from smartscope.result import Result, Tracks, empty_detections, empty_tracks

LIGHT = "laser_488"
SENSOR = (64, 64)
SETTINGS = Settings(10.0, Roi(0, 0, 64, 64), {LIGHT: 2.0})
LIMITS = LimitsConfig(
    exposure_ms=Range(low=1, high=100),
    lights={LIGHT: LightLimits(max_power_mw=40, max_step_mw=10)},
    x_um=Range(low=-500, high=500),
    y_um=Range(low=-500, high=500),
    z_um=Range(low=-50, high=50),
)
QUALITY = {
    "signal_to_noise": 5.0,
    "signal_e": 30.0,
    "background_e": 4.0,
    "saturated_fraction": 0.0,
    "saturation_headroom": 0.9,
    "light_e": 6.0,
    "emitters": 20.0,
    "recall_health": 0.9,
    "spot_photons": 500.0,
    "spot_background": 5.0,
    "localizations": 900.0,
    "ring_resolution_nm": 40.0,
}


def tracks(*rows: tuple[int, float, float], label: int = 1, age: int = 10, missed: int = 0) -> Tracks:
    """Tracks at rest from rows of (track_id, x_px, y_px)."""
    n = len(rows)
    floats = np.array([row[1:] for row in rows], np.float32).reshape(n, 2)
    zero, one = np.zeros(n, np.float32), np.ones(n, np.float32)
    return Tracks(
        track_id=np.array([row[0] for row in rows], np.int32),
        parent_id=np.full(n, -1, np.int32),
        x_px=floats[:, 0],
        y_px=floats[:, 1],
        vx_px_s=zero,
        vy_px_s=zero,
        sigma_px=0.2 * one,
        steady=zero,
        v_error_px_s=one,
        diffusion_px2_s=one,
        age_frames=np.full(n, age, np.int32),
        missed_frames=np.full(n, missed, np.int32),
        size_px=10 * one,
        intensity=1000 * one,
        label=np.full(n, label, np.int32),
    )


def context(
    t_s: float = 1.0,
    *,
    settings: Settings = SETTINGS,
    frame_settings: Settings | None = None,
    certainty: dict[str, Certainty] | None = None,
    quality: dict[str, float] | None = None,
    found: Tracks | None = None,
    trust: float = 1.0,
    age_ms: float = 20.0,
    **changes: Any,
) -> Context:
    """A situation ``t_s`` into the run, about a frame whose exposure was half over ``age_ms`` ago.

    ``frame_settings`` are those of the frame where they differ from the ``settings`` true now; ``changes`` replace
    fields of the context itself (dose, delay, state, ...).
    """
    used = frame_settings or settings
    t_ns, half_ns = round(t_s * 1e9), round(used.exposure_ms * 5e5)
    mid_ns = t_ns - round(age_ms * 1e6)
    pixels = np.zeros((used.roi.height, used.roi.width), np.uint16)
    index = round(t_s * 100)
    frame = Frame(pixels, 0, index, index, used, certainty or {}, mid_ns - half_ns, mid_ns + half_ns, t_ns)
    result = Result(
        frame,
        detections=empty_detections(),
        tracks=found,
        quality=QUALITY if quality is None else quality,
        trust=trust,
        ready_ns=t_ns,
    )
    plain = Context(
        result=result,
        t_ns=t_ns,
        elapsed_s=t_s,
        remaining_s=100.0 - t_s,
        settings=settings,
        granted={},
        delay=Delay(30.0, 5.0),
        dose=DoseState(10.0, 100.0, 2.0, {LIGHT: 1.0}),
        limits=LIMITS,
        instrument=Instrument(CameraCalibration(), OpticsConfig()),
        sensor_shape=SENSOR,
        stage_affine=((0.1, 0.0), (0.0, 0.1)),
        state=None,
    )
    return replace(plain, **changes)


def situations() -> dict[str, Context]:
    """One context for each kind of poor or unusual input that a run can bring."""
    dark = replace(SETTINGS, lights_mw={LIGHT: 0.0})
    plenty = tracks(*((i, 3.0 + 7 * i, 60.0 - 7 * i) for i in range(8)))
    return {
        "all is well": context(found=plenty),
        "a spot": context(found=tracks((3, 5.0, 60.0), label=0)),
        "nothing known": context(quality={}, found=None),
        "no objects": context(found=empty_tracks()),
        "only lost tracks": context(found=tracks((1, 9.0, 9.0), missed=4)),
        "no trust": context(found=plenty, trust=0.0),
        "figures of zero": context(quality=dict.fromkeys(QUALITY, 0.0), found=plenty),
        "huge figures": context(quality=dict.fromkeys(QUALITY, 1e12), found=plenty),
        "saturated": context(quality={**QUALITY, "saturated_fraction": 0.5, "saturation_headroom": 0.0}),
        "mixed": context(certainty={"xy": Certainty.MIXED, "exposure_ms": Certainty.MIXED}, found=plenty),
        "older settings": context(frame_settings=replace(SETTINGS, exposure_ms=5.0, x_um=3.0), found=plenty),
        "part of the sensor": context(settings=replace(SETTINGS, roi=Roi(16, 8, 32, 32)), found=plenty),
        "no stage affine": context(found=plenty, stage_affine=None),
        "no stage": context(found=plenty, limits=LimitsConfig(lights=LIMITS.lights)),
        "no lights": context(settings=replace(SETTINGS, lights_mw={}), found=plenty, dose=DoseState()),
        "dark": context(settings=dark, found=plenty),
        "no limits for lights": context(found=plenty, limits=LimitsConfig()),
        "no budget": context(found=plenty, dose=DoseState(10.0, math.inf, 2.0, {LIGHT: 1.0})),
        "exhausted dose": context(found=plenty, dose=DoseState(101.0, 100.0, 2.0, {LIGHT: 1.0})),
        "no end": context(found=plenty, remaining_s=None),
        "at the end": context(found=plenty, remaining_s=0.0),
        "no delay measured": context(found=plenty, delay=Delay()),
    }


class PolicyContract:
    """Collected by pytest through a subclass named ``Test...``."""

    def make(self) -> Policy:
        """A policy as an experiment would build it."""
        raise NotImplementedError(f"{type(self).__name__}.make() must build the policy under test")

    def test_is_a_policy(self) -> None:
        """It has the port's method; what it says to read is there to be read."""
        policy = self.make()
        assert isinstance(policy, Policy)
        assert getattr(policy, "reads", READABLE) <= READABLE

    @pytest.mark.parametrize("name", situations())
    def test_answers_in_any_situation(self, name: str) -> None:
        """Never raises; a Choice of Requests with finite commands and reasons."""
        choice = self.make().decide(situations()[name])
        assert isinstance(choice, Choice)
        for request in choice.requests:
            assert isinstance(request, Request)
            assert request.why.strip(), f"no reason for {request.command}"
            for value in _numbers(astuple(request.command)):
                assert math.isfinite(value), f"{request.command} is not finite"

    @pytest.mark.parametrize("name", situations())
    def test_is_pure(self, name: str) -> None:
        """The same context gives the same choice; neither context nor policy is changed."""
        policy, given = self.make(), situations()[name]
        before = pickle.dumps((policy, given))
        first = policy.decide(given)
        assert policy.decide(given) == first
        assert pickle.dumps((policy, given)) == before, "decide() changed the policy or its context"
        assert self.make().decide(situations()[name]) == first, "two policies made alike decide differently"

    @pytest.mark.parametrize("name", situations())
    def test_reads_what_it_says(self, name: str) -> None:
        """Values that ``reads`` leaves out make no difference: a policy cannot rest on what it does not own up to."""
        policy, given = self.make(), situations()[name]
        nothing: dict[str, Any] = dict.fromkeys(READABLE - {"quality"}) | {"quality": {}}
        unread = {value: nothing[value] for value in READABLE - getattr(policy, "reads", READABLE)}
        without = replace(given, result=replace(given.result, **unread))
        assert policy.decide(without) == policy.decide(given), f"it reads more than {sorted(READABLE - set(unread))}"

    def test_state_is_a_value(self) -> None:
        """A diary of situations is decided alike when the state is copied or stored in between: replay rests on it."""
        policy = self.make()
        kept: Any = None
        copied: Any = None
        stored: Any = None
        for t, given in enumerate((*situations().values(), *situations().values())):
            at = replace(given, elapsed_s=float(t), t_ns=given.t_ns + t * 10**9)
            choice = policy.decide(replace(at, state=kept))
            assert policy.decide(replace(at, state=copied)) == choice
            assert policy.decide(replace(at, state=stored)) == choice
            kept, copied = choice.state, copy.deepcopy(choice.state)
            stored = pickle.loads(pickle.dumps(choice.state))


def _numbers(values: tuple[Any, ...]) -> list[float]:
    """All numbers in a command, nested ones too."""
    found: list[float] = []
    for value in values:
        if isinstance(value, tuple):
            found += _numbers(value)
        elif isinstance(value, int | float):
            found.append(float(value))
    return found

"""Darks in the dark, then exposures from short to just below saturation; the light is off whatever happens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import SHAPE, FakeMicroscope

from smartscope.camera_calibration.photon_transfer import photon_transfer
from smartscope.camera_calibration.series import TOP, Series, SeriesTaker, Wanted
from smartscope.clock import VirtualClock
from smartscope.command import Applied, Command, SetExposure, SetLight
from smartscope.errors import CameraStopped, DeviceError, DeviceTimeout
from smartscope.frame import Certainty, Frame

FEW = Wanted(dark_frames=20, frames=10, levels=4)
SATURATION_ADU = 4095.0


class LitMicroscope(FakeMicroscope):
    """Counts of 1 e at an offset of 100, ``e_per_ms`` for each mW; 12 bits."""

    def __init__(self, clock: VirtualClock, e_per_ms: float = 20.0) -> None:
        super().__init__(clock)
        self.random = np.random.default_rng(1)
        self.e_per_ms = e_per_ms
        self.mixed_for = 0
        self.light_stays = False

    def next_frame(self, timeout_s: float) -> Frame | None:
        frame = super().next_frame(timeout_s)
        if frame is None:
            return None
        settings = frame.settings
        light_e = self.e_per_ms * settings.exposure_ms * sum(settings.lights_mw.values())
        counts = 100 + self.random.poisson(light_e, SHAPE) + self.random.normal(0, 2, SHAPE)
        self.mixed_for -= 1
        certainty = {"exposure_ms": Certainty.MIXED} if self.mixed_for >= 0 else {}
        pixels = np.clip(np.rint(counts), 0, SATURATION_ADU).astype(np.uint16)
        return replace(frame, pixels=pixels, certainty=certainty)

    def dark(self, since_ns: int = 0) -> None:
        if not self.light_stays:
            super().dark(since_ns)

    def apply(self, command: Command) -> Applied:
        if isinstance(command, SetLight) and command.light == "broken":
            raise DeviceError("does not confirm", where="broken")
        return super().apply(command)


def take(microscope: LitMicroscope, low_ms: float = 0.1, high_ms: float = 1000.0, **options: Any) -> Series:
    taker = SeriesTaker(
        microscope, microscope.clock, exposure_range_ms=(low_ms, high_ms), saturation_adu=SATURATION_ADU
    )
    arguments = {"exposure_ms": 5.0, "lights_mw": {"laser": 1.0}, "wanted": FEW, "advance": lambda done, total: None}
    return taker.take(**{**arguments, **options})


@pytest.mark.parametrize("e_per_ms", [0.5, 20.0, 3000.0])  # far too dim at first, right, far too bright
def test_exposures_reach_up_to_saturation_and_not_into_it(e_per_ms: float) -> None:
    microscope = LitMicroscope(VirtualClock(), e_per_ms)
    told: list[tuple[int, int]] = []
    series = take(microscope, high_ms=10_000.0, advance=lambda *step: told.append(step))
    assert series.dark.mean_adu.mean() == pytest.approx(100, abs=0.1)
    brightest = [np.percentile(level.mean_adu, 99.9) - 100 for level in series.lights]
    assert max(brightest) == pytest.approx(TOP * (SATURATION_ADU - 100), rel=0.25)
    assert brightest == sorted(brightest)
    assert len(series.lights) == FEW.levels
    assert told == [(n, 60) for n in range(1, 61)]
    assert microscope.now.lights_mw == {"laser": 0.0}
    found = photon_transfer(series.dark, series.lights, saturation_adu=SATURATION_ADU)
    assert found.electrons_per_adu == pytest.approx(1, rel=0.03)
    assert found.read_noise_e == pytest.approx(np.sqrt(4 + 1 / 12), rel=0.05)


def test_the_light_is_on_for_the_series_alone() -> None:
    microscope = LitMicroscope(VirtualClock())
    series = take(microscope)
    first = next(k for k, command in enumerate(microscope.applied) if isinstance(command, SetLight))
    assert microscope.applied[:first] == [SetExposure(5.0)]
    assert series.dark_exposure_ms == 5.0
    assert sum(isinstance(command, SetLight) for command in microscope.applied) == 1
    assert microscope.calls.count("start") == microscope.calls.count("stop")


def test_one_exposure_alone_where_limits_leave_no_more() -> None:
    series = take(LitMicroscope(VirtualClock()), low_ms=5.0, high_ms=5.0)
    assert [level.exposure_ms for level in series.lights] == [5.0]


def test_a_camera_whose_ring_overflows_is_started_again() -> None:
    microscope = LitMicroscope(VirtualClock())
    microscope.dies_at = 7  # frames after each start
    assert [level.frames for level in take(microscope).lights] == [FEW.frames] * FEW.levels


def test_a_dead_camera_ends_it_in_the_dark() -> None:
    microscope = LitMicroscope(VirtualClock())
    microscope.dies_at = 0
    with pytest.raises(CameraStopped):
        take(microscope)
    assert microscope.now.lights_mw == {"laser": 0.0}


def test_a_silent_camera() -> None:
    microscope = LitMicroscope(VirtualClock())
    microscope.silent_from = 25
    with pytest.raises(DeviceTimeout, match="no frame within 5 s"):
        take(microscope, wanted=Wanted(30, 10, 2))
    assert microscope.now.lights_mw == {"laser": 0.0}


def test_frames_of_before_do_not_count() -> None:
    microscope = LitMicroscope(VirtualClock())
    microscope.mixed_for = 3
    assert take(microscope).dark.frames == FEW.dark_frames
    microscope = LitMicroscope(VirtualClock())
    microscope.mixed_for = 1000
    with pytest.raises(DeviceTimeout, match=r"SetExposure\(exposure_ms=5.0\) does not show in the frames"):
        take(microscope)


def test_light_that_does_not_go_off() -> None:
    microscope = LitMicroscope(VirtualClock())
    microscope.light_stays = True
    microscope.now = replace(microscope.now, lights_mw={"laser": 3.0})
    with pytest.raises(DeviceError, match="laser did not go off"):
        take(microscope)


def test_a_light_that_fails_leaves_the_others_dark() -> None:
    microscope = LitMicroscope(VirtualClock())
    with pytest.raises(DeviceError, match="does not confirm"):
        take(microscope, lights_mw={"laser": 1.0, "broken": 1.0})
    assert microscope.now.lights_mw == {"laser": 0.0}


def test_too_bright_and_too_dark() -> None:
    with pytest.raises(DeviceError, match=r"saturated even at 5 ms; remedy: lower start.lights_mw"):
        take(LitMicroscope(VirtualClock(), 5000.0), low_ms=5.0)
    with pytest.raises(DeviceError, match=r"ADU above the dark even at 5 ms: no light to speak of"):
        take(LitMicroscope(VirtualClock(), 0.01), high_ms=5.0)

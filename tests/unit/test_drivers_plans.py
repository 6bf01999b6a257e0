"""Planned parts: each setting confirmed, events merged into hardware sequences where devices can, all undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import useq

from smartscope.clock import LiveClock, VirtualClock
from smartscope.command import SetExposure, SetLight, SetPreset
from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.errors import DeviceError, DeviceTimeout
from smartscope.frame import Certainty, Roi
from smartscope.ports import MicroscopeSetup
from smartscope_drivers import plan_engine
from smartscope_drivers.micromanager import MicroManagerMicroscope
from smartscope_drivers.plans import Plan
from smartscope_drivers.simulated.microscope import SimulatedMicroscope

CFG = Path(__file__).parents[2] / "configs" / "demo_camera.cfg"
LED = LightConfig(name="led", device="LightPower", power_property="Voltage", power_per_mw=0.1)
LASER = LightConfig(name="laser", device="Laser", power_property="Power_mW")


@pytest.fixture
def demo() -> Iterator[MicroManagerMicroscope]:
    pytest.importorskip("mm_test_adapters", reason="pip install mm-test-adapters")
    setup = MicroscopeSetup(MicroscopeConfig(lights=(LED,)), LiveClock(), None)
    microscope = MicroManagerMicroscope(setup, cfg=str(CFG), live_exposure=True, ring_mb=16)
    yield microscope
    microscope.close()


@pytest.fixture
def simulated() -> Iterator[SimulatedMicroscope]:
    config = MicroscopeConfig(sensor=(32, 48), lights=(LASER,))
    microscope = SimulatedMicroscope(MicroscopeSetup(config, VirtualClock(), None), specimen="beads")
    yield microscope
    microscope.close()


def count_bursts(microscope: MicroManagerMicroscope, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the hardware sequences that will be run."""
    bursts: list[int] = []
    original = microscope._camera.start_burst

    def counting(frames: int) -> None:
        bursts.append(frames)
        original(frames)

    monkeypatch.setattr(microscope._camera, "start_burst", counting)
    return bursts


def test_a_stack_is_one_hardware_sequence(demo: MicroManagerMicroscope, monkeypatch: pytest.MonkeyPatch) -> None:
    demo._core.setProperty("Z", "UseSequences", "Yes")
    bursts = count_bursts(demo, monkeypatch)
    before = demo.settings()
    stack = useq.MDASequence(
        z_plan={"range": 4, "step": 1}, channels=[{"group": "Channel", "config": "Red", "exposure": 3}]
    )
    frames = list(demo.run_plan(stack))
    assert bursts == [5]
    assert [frame.settings.z_um for frame in frames] == [-2.0, -1.0, 0.0, 1.0, 2.0]
    assert {frame.settings.exposure_ms for frame in frames} == {3.0}
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].certainty["z"] is Certainty.ASSUMED
    assert demo.settings() == before
    assert demo._core.getPosition("Z") == pytest.approx(before.z_um, abs=0.01)
    assert demo._core.getCurrentConfig("Channel") == "Green"


def test_light_splits_sequences_and_goes_through_its_owner(
    demo: MicroManagerMicroscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    bursts = count_bursts(demo, monkeypatch)
    demo.apply(SetLight("led", 1.0))
    powers = [("LightPower", "Voltage", v) for v in (0.3, 0.3, 0.6, 0.6, 0.6)]
    frames = list(demo.run_plan([useq.MDAEvent(exposure=2.0, properties=[power]) for power in powers]))
    assert bursts == [2, 3]
    assert [round(frame.settings.lights_mw["led"], 6) for frame in frames] == [3.0, 3.0, 6.0, 6.0, 6.0]
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4]
    assert demo.settings().lights_mw == {"led": 1.0}


def test_a_frame_that_does_not_come_ends_the_plan_in_the_dark(
    demo: MicroManagerMicroscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.apply(SetLight("led", 1.0))
    monkeypatch.setattr(plan_engine, "SLACK_S", 0.0)
    monkeypatch.setattr(demo._camera, "next_image", lambda _: None)
    with pytest.raises(DeviceTimeout, match="hardware-triggered frame did not come"):
        list(demo.run_plan([useq.MDAEvent(exposure=2.0)] * 3))
    assert demo.settings().lights_mw == {"led": 0.0}


def test_everything_of_an_event_is_set(simulated: SimulatedMicroscope) -> None:
    pattern = np.zeros((32, 48), np.uint8)
    event = useq.MDAEvent(
        x_pos=2.0,
        z_pos=1.0,
        exposure=4.0,
        channel={"group": "Filter", "config": "ND10"},
        roi={"offset_x": 8, "offset_y": 4, "width": 16, "height": 8},
        properties=[("Laser", "Power_mW", 3.0), ("FilterWheel", "State", 2)],
        slm_image=useq.SLMImage(data=pattern),
        min_start_time=0.5,
    )
    [frame] = simulated.run_plan([event])
    now = frame.settings
    assert (now.x_um, now.y_um, now.z_um, now.exposure_ms) == (2.0, 0.0, 1.0, 4.0)
    assert now.roi == Roi(8, 4, 16, 8)
    assert frame.pixels.shape == (8, 16)
    assert now.lights_mw == {"laser": 3.0}
    assert not frame.mixed
    assert frame.t_start_ns >= 500_000_000
    shown = [simulated.world.pattern.at(t_ns) for t_ns in (frame.t_mid_ns, simulated._clock.now_ns())]
    assert [set(np.unique(pattern)) for pattern in shown] == [{0.0}, {1.0}]  # type: ignore[arg-type]
    assert str(simulated._core.getProperty("FilterWheel", "State")) == "0"
    assert simulated.settings().roi == Roi(0, 0, 48, 32)
    assert simulated._core.getCurrentConfig("Filter") == "Emission"


def test_actions(simulated: SimulatedMicroscope) -> None:
    focused = useq.MDAEvent(action=useq.HardwareAutofocus(autofocus_motor_offset=None))
    assert list(simulated.run_plan([focused])) == []
    with pytest.raises(DeviceError, match="cannot carry out the action 'dance'"):
        list(simulated.run_plan([useq.MDAEvent(action=useq.CustomAction(name="dance"))]))


def test_a_device_that_does_not_obey_ends_the_plan_in_the_dark(simulated: SimulatedMicroscope) -> None:
    simulated.apply(SetLight("laser", 1.0))
    simulated.apply(SetExposure(6.0))
    with pytest.raises(DeviceError, match="preparing an event failed"):
        list(simulated.run_plan([useq.MDAEvent(exposure=3.0), useq.MDAEvent(properties=[("Nobody", "Home", 1)])]))
    assert simulated.settings().lights_mw == {"laser": 0.0}
    assert simulated.settings().exposure_ms == 6.0


def test_no_slm(demo: MicroManagerMicroscope) -> None:
    with pytest.raises(DeviceError, match="no SLM"):
        list(demo.run_plan([useq.MDAEvent(slm_image=useq.SLMImage(data=True))]))


def test_presets_of_a_plan_are_undone_only_where_they_can(simulated: SimulatedMicroscope) -> None:
    simulated.apply(SetPreset("Filter", "ND10"))
    events: list[Any] = [useq.MDAEvent(channel={"group": "Filter", "config": "Closed"}, exposure=2.0)]
    assert len(list(simulated.run_plan(events))) == 1
    assert simulated._core.getCurrentConfig("Filter") == "ND10"


def test_light_goes_down_before_anything_else_returns_and_up_after_all(
    simulated: SimulatedMicroscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated.apply(SetExposure(5.0))
    done: list[Any] = []
    original = simulated.apply
    monkeypatch.setattr(simulated, "apply", lambda command: done.append(command) or original(command))
    for before_mw, during_mw, place in ((1.0, 4.0, 0), (4.0, 1.0, -1)):
        original(SetLight("laser", before_mw))
        plan = simulated.run_plan([useq.MDAEvent(exposure=9.0, x_pos=3.0, y_pos=4.0)], {"laser": during_mw})
        list(plan)
        returning = done[max(k for k, command in enumerate(done) if command == SetExposure(9.0)) + 1 :]
        assert len(returning) == 3
        assert returning[place] == SetLight("laser", before_mw)
        simulated.apply(SetExposure(5.0))
        done.clear()


def test_a_plan_whose_settings_do_not_return_ends_in_the_dark(
    simulated: SimulatedMicroscope, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated.apply(SetLight("laser", 2.0))

    def stuck(self: Plan) -> None:
        raise DeviceError("does not move", where="SLM")

    monkeypatch.setattr(Plan, "_straighten", stuck)
    with pytest.raises(DeviceError, match="does not move"):
        list(simulated.run_plan([useq.MDAEvent(exposure=9.0)]))
    assert simulated.settings().lights_mw == {"laser": 0.0}

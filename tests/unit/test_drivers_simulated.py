"""The simulated microscope as assembled: options, lights of either owner, faults through the port, virtual frames."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from smartscope.clock import LiveClock, VirtualClock
from smartscope.command import MoveFocus, MoveStage, RunAutofocus, SetExposure, SetLight
from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.errors import CameraStopped, DeviceError, DeviceTimeout
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.ports import LightsSetup, MicroscopeSetup
from smartscope_drivers.simulated.faults import BlockedCall, FaultOptions
from smartscope_drivers.simulated.lights import SimulatedLights
from smartscope_drivers.simulated.microscope import SimulatedMicroscope
from smartscope_drivers.simulated.options import WorldOptions
from smartscope_drivers.stamping import Stamper

LASER = LightConfig(name="laser", device="Laser", power_property="Power_mW")
LAMP = LightConfig(name="lamp", owner="controller")
CONFIG = MicroscopeConfig(sensor=(32, 48), lights=(LASER, LAMP))


def virtual(**options: Any) -> tuple[SimulatedMicroscope, VirtualClock]:
    clock = VirtualClock()
    setup = MicroscopeSetup(CONFIG, clock, None, seed=1)
    return SimulatedMicroscope(setup, **{"specimen": "beads", **options}), clock


def take(microscope: SimulatedMicroscope, clock: VirtualClock) -> Frame:
    clock.advance_to(microscope.frame_due_ns())
    frame = microscope.next_frame(0.0)
    assert frame is not None
    return frame


def test_every_option_of_the_world_can_be_given() -> None:
    ours = set(inspect.signature(SimulatedMicroscope.__init__).parameters) - {
        "self",
        "setup",
        "ring_mb",
        "move_timeout_s",
    }
    assert ours == set(WorldOptions.model_fields)


def test_devices_that_cannot_be_loaded() -> None:
    twins = MicroscopeConfig(lights=(LASER, LASER.model_copy(update={"name": "twin"})))
    with pytest.raises(DeviceError, match="loading the simulated devices failed"):
        SimulatedMicroscope(MicroscopeSetup(twins, LiveClock(), None))


def test_lights_of_two_owners() -> None:
    supervisor = SimulatedLights(LightsSetup((LASER,), CONFIG, "two-owners"))
    setup = MicroscopeSetup(CONFIG, LiveClock(), supervisor, token="two-owners")
    microscope = SimulatedMicroscope(setup, specimen="beads")
    try:
        microscope.apply(SetLight("laser", 2.0))
        microscope.apply(SetLight("lamp", 3.0))
        assert supervisor.read_back() == {"laser": 2.0}
        assert (microscope.world.power_mw("laser"), microscope.world.power_mw("lamp")) == (2.0, 3.0)
        with pytest.raises(DeviceError, match="belongs to the supervisor"):
            microscope._core._pydevices["Laser"].set_power_mw(9.0)  # type: ignore[attr-defined]
    finally:
        microscope.close()
        supervisor.close()


def test_virtual_frames_are_the_same_from_the_same_seed() -> None:
    runs = []
    for _ in range(2):
        microscope, clock = virtual()
        microscope.apply(SetLight("laser", 20.0))
        microscope.start(0)
        runs.append([take(microscope, clock) for _ in range(5)])
        microscope.close()
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert (one.settings, one.t_start_ns, one.t_end_ns) == (other.settings, other.t_start_ns, other.t_end_ns)


def test_a_virtual_exposure_keeps_the_length_it_began_with() -> None:
    microscope, clock = virtual(readout_ms=1.0)
    microscope.apply(SetExposure(10.0))
    microscope.start(0)
    clock.sleep(0.004)
    microscope.apply(SetExposure(20.0))
    assert microscope.frame_due_ns() == 11_000_000
    first, second = take(microscope, clock), take(microscope, clock)
    assert [(f.t_start_ns, f.t_end_ns) for f in (first, second)] == [(0, 10_000_000), (11_000_000, 31_000_000)]
    assert [f.settings.exposure_ms for f in (first, second)] == [10.0, 20.0]
    assert not first.mixed, "the camera tells its exposure itself"
    microscope.close()


def test_frames_lost_before_the_core_leave_gaps() -> None:
    microscope, clock = virtual(faults=FaultOptions(lose_frames=frozenset({0, 3})))
    microscope.start(0)
    assert [take(microscope, clock).number for _ in range(3)] == [1, 2, 4]
    microscope.stop()
    microscope.start(1)
    assert take(microscope, clock).number == 0
    microscope.close()


@pytest.mark.parametrize("faults", [FaultOptions(stop_after_frame=0), FaultOptions(raise_at_frame=1)])
def test_a_virtual_camera_dies_too(faults: FaultOptions) -> None:
    microscope, clock = virtual(faults=faults)
    microscope.start(0)
    take(microscope, clock)
    clock.advance_to(microscope.frame_due_ns())
    with pytest.raises(CameraStopped, match="told to"):
        microscope.next_frame(0.0)
    assert microscope.next_frame(0.0) is None
    microscope.close()


def test_a_stage_that_stalls() -> None:
    microscope, clock = virtual(faults=FaultOptions(stall_stage_at_call=0), move_timeout_s=0.5)
    with pytest.raises(DeviceTimeout, match="XY: still busy"):
        microscope.apply(MoveStage(10.0, 0.0))
    assert microscope.settings().x_um == pytest.approx(5.0)
    assert clock.now_ns() == pytest.approx(0.5e9, rel=0.01)
    microscope.close()


def test_an_autofocus_that_fails_and_one_that_does_not() -> None:
    microscope, _ = virtual(faults=FaultOptions(autofocus_fails=True))
    with pytest.raises(DeviceError, match="found no focal plane"):
        microscope.apply(RunAutofocus())
    microscope.close()
    microscope, _ = virtual(focal_plane_um=6.0)
    assert microscope.apply(RunAutofocus()).made_true == MoveFocus(6.0)
    assert microscope.settings().z_um == 6.0
    microscope.close()


def test_dark_does_not_wait_for_a_blocked_stage() -> None:
    """A blocked call of one device, on another thread, must not hold up the light."""
    import threading

    faults = FaultOptions(block=(BlockedCall(device="stage", for_ms=600_000, at_call=0),))
    setup = MicroscopeSetup(CONFIG, LiveClock(), None)
    microscope = SimulatedMicroscope(setup, specimen="beads", faults=faults)
    microscope.apply(SetLight("laser", 5.0))
    blocked = threading.Thread(target=microscope.apply, args=(MoveStage(1.0, 0.0),))
    blocked.start()
    try:
        microscope.dark()
        assert microscope.world.power_mw("laser") == 0.0
        assert blocked.is_alive()
    finally:
        microscope.world.faults.release()
        blocked.join()
        microscope.close()


# -------------------------------------------------------------------- stamping


def stamper() -> Stamper:
    initial = Settings(10.0, Roi(0, 0, 8, 8), {"laser": 0.0})
    return Stamper(initial, {"xy"}, now_ns=0, presets={"Filter": "Open"})


def test_stamps_of_steady_and_changing_settings() -> None:
    memory = stamper()
    steady = memory.stamp(100, 200)
    assert steady.certainty == {
        "exposure_ms": Certainty.ASSUMED,
        "xy": Certainty.EXACT,
        "z": Certainty.ASSUMED,
        "light:laser": Certainty.ASSUMED,
    }
    assert memory.stamp(300, 400) is steady, "nothing changed: nothing is looked up"
    memory.begin("xy", 450)
    assert memory.stamp(400, 500).certainty["xy"] is Certainty.MIXED, "still on its way"
    assert memory.stamp(400, 450).certainty["xy"] is Certainty.EXACT
    memory.finish("xy", (3.0, 4.0), 450, 600)
    assert memory.stamp(500, 700).certainty["xy"] is Certainty.MIXED
    after = memory.stamp(600, 700)
    assert (after.settings.x_um, after.settings.y_um, after.certainty["xy"]) == (3.0, 4.0, Certainty.EXACT)
    assert memory.stamp(300, 400).settings.x_um == 0.0, "an older frame, taken late"


def test_the_cameras_own_word_on_its_exposure_counts() -> None:
    memory = stamper()
    memory.begin("exposure_ms", 100)
    memory.finish("exposure_ms", 20.0, 100, 110)
    told = memory.stamp(90, 190, exposure_ms=10.0)
    assert (told.settings.exposure_ms, told.certainty["exposure_ms"]) == (10.0, Certainty.EXACT)
    assert memory.stamp(90, 190).certainty["exposure_ms"] is Certainty.MIXED
    assert memory.exposure_at(99) == 10.0
    assert memory.exposure_at(120) == 20.0


def test_a_preset_shows_only_while_it_changes() -> None:
    memory = stamper()
    memory.begin("preset:Filter", 100)
    assert memory.stamp(90, 190).certainty["preset:Filter"] is Certainty.MIXED
    memory.finish("preset:Filter", "Closed", 100, 120)
    assert "preset:Filter" not in memory.stamp(130, 190).certainty

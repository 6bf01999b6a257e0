"""The simulated lights: limits, confirmation, and dark whatever else hangs."""

import threading
import uuid

import pytest

from smartscope.clock import LiveClock, VirtualClock
from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.errors import DeviceError
from smartscope.ports import Lights, LightsSetup
from smartscope_drivers.simulated.bench import LightBench
from smartscope_drivers.simulated.faults import BlockedCall, FaultOptions, Faults
from smartscope_drivers.simulated.lights import SimulatedLights

RED, GREEN = LightConfig(name="red", wavelength_nm=640), LightConfig(name="green")


def setup(lights=(RED, GREEN), **options) -> LightsSetup:
    """A bench of its own, some of whose lights are opened."""
    microscope = MicroscopeConfig(lights=(RED, GREEN), options=options)
    return LightsSetup(lights=lights, microscope=microscope, token=uuid.uuid4().hex)


@pytest.fixture(autouse=True)
def _bench_in_tmp_path(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_power_is_set_read_back_and_seen_by_the_bench() -> None:
    made = setup(laser_max_mw=50)
    lights = SimulatedLights(made)
    assert isinstance(lights, Lights)
    assert lights.set_power("green", 12.5) == 12.5
    assert lights.read_back() == {"red": 0.0, "green": 12.5}
    bench = LightBench(made.token, ["red", "green"])
    before_ns = LiveClock().now_ns()
    assert bench.power_history("green", before_ns, before_ns + 1)[0][2] == 12.5
    lights.dark()
    lights.dark()
    assert bench.read_back() == {"red": 0.0, "green": 0.0}
    lights.set_power("red", 1.0)
    lights.close()
    lights.close()
    assert bench.read_back() == {"red": 0.0, "green": 0.0}
    bench.close()


def test_a_laser_has_limits_of_its_own() -> None:
    lights = SimulatedLights(setup(laser_max_mw=50))
    for power_mw in (-1.0, 50.1, float("nan")):
        with pytest.raises(DeviceError, match=r"allowed: 0 to 50\.0 mW"):
            lights.set_power("green", power_mw)
    assert lights.read_back()["green"] == 0
    lights.close()


def test_lights_of_others_are_left_alone() -> None:
    lights = SimulatedLights(setup(lights=(RED,)))
    assert lights.read_back() == {"red": 0.0}
    with pytest.raises(DeviceError, match="no light 'green'; allowed: red"):
        lights.set_power("green", 1.0)
    lights.close()


def test_virtual_time_stamps() -> None:
    clock, made = VirtualClock(), setup()
    lights = SimulatedLights.in_process(made, clock, Faults(FaultOptions(), clock))
    clock.advance_to(70)
    lights.set_power("red", 2.0)
    bench = LightBench(made.token, ["red", "green"])
    assert bench.changes_since("red", 0) == (1, [(70, 2.0)])
    bench.close()
    lights.close()


def test_dark_does_not_wait_for_a_call_that_hangs_and_is_not_undone_by_it() -> None:
    class Told(Faults):
        def call(self, device):
            hanging.set()
            return super().call(device)

    hanging = threading.Event()
    options = FaultOptions(block=(BlockedCall(device="light", at_call=1, for_ms=60_000),))
    lights = SimulatedLights.in_process(setup(), LiveClock(), faults := Told(options, LiveClock()))
    lights.set_power("red", 5.0)
    hanging.clear()
    errors: list[DeviceError] = []

    def set_late() -> None:
        try:
            lights.set_power("red", 9.0)
        except DeviceError as error:
            errors.append(error)

    thread = threading.Thread(target=set_late)
    thread.start()
    hanging.wait()
    lights.dark()
    assert lights.read_back()["red"] == 0.0
    faults.release()
    thread.join()
    assert lights.read_back()["red"] == 0.0
    assert "darkened while the power was being set" in str(errors[0])
    lights.close()


def test_closed_lights_stay_dark() -> None:
    lights = SimulatedLights(setup())
    lights.close()
    with pytest.raises(DeviceError, match="darkened"):
        lights.set_power("red", 1.0)
    lights.dark()


def test_without_a_token_there_is_no_bench() -> None:
    with pytest.raises(DeviceError, match="cannot name a light bench"):
        SimulatedLights(LightsSetup(lights=(), microscope=MicroscopeConfig()))

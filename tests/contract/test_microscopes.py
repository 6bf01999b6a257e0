"""The three drivers keep the contract: simulated (live and virtual), Micro-Manager's DemoCamera, recorded movies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from smartscope.clock import VirtualClock
from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.plugins import build, names
from smartscope.ports import Clock, LightsSetup, Microscope, MicroscopeSetup
from smartscope.testing.microscope_contract import MicroscopeContract

LASER = LightConfig(name="laser", device="Laser", power_property="Power_mW", owner="supervisor")
LED = LightConfig(name="led", device="LightPower", power_property="Voltage", power_per_mw=0.1)
SIMULATED = MicroscopeConfig(driver="simulated", sensor=(64, 96), lights=(LASER,), options={"specimen": "beads"})
CFG = Path(__file__).parents[2] / "configs" / "demo_camera.cfg"
DEMO = MicroscopeConfig(driver="micromanager", lights=(LED,), options={"cfg": str(CFG), "live_exposure": True})


def opened(config: MicroscopeConfig, setup: MicroscopeSetup) -> Microscope:
    """As the app opens it: by name, options checked."""
    microscope: Microscope = build("microscopes", config.driver, config.options, setup)
    return microscope


class TestSimulated(MicroscopeContract):
    def make(self) -> Microscope:
        return opened(SIMULATED, MicroscopeSetup(SIMULATED, self.clock, None, seed=1))


class TestSimulatedOnAVirtualClock(MicroscopeContract):
    clock: Clock = VirtualClock()

    def make(self) -> Microscope:
        return opened(SIMULATED, MicroscopeSetup(SIMULATED, self.clock, None, seed=1))


class TestSimulatedWithSupervisedLights(MicroscopeContract):
    def make(self) -> Microscope:
        # no process here: the supervisor's side of the light bench, opened by name as the supervisor does
        token = "contract"
        self.lights = build("lights", "simulated", {}, LightsSetup((LASER,), SIMULATED, token))
        return opened(SIMULATED, MicroscopeSetup(SIMULATED, self.clock, self.lights, seed=1, token=token))

    @pytest.fixture(autouse=True)
    def _close_lights(self) -> object:
        yield
        self.lights.close()


class TestDemoCamera(MicroscopeContract):
    def make(self) -> Microscope:
        pytest.importorskip("mm_test_adapters", reason="pip install mm-test-adapters")
        return opened(DEMO, MicroscopeSetup(DEMO, self.clock, None))


class TestReplay(MicroscopeContract):
    @pytest.fixture(autouse=True)
    def _movie(self, tmp_path: Path) -> None:
        self.path = tmp_path / "movie.tif"
        tifffile.imwrite(self.path, np.arange(40 * 64 * 96, dtype=np.uint16).reshape(40, 64, 96))

    def make(self) -> Microscope:
        config = MicroscopeConfig(driver="replay", options={"movie": str(self.path), "interval_ms": 3, "loop": True})
        return opened(config, MicroscopeSetup(config, self.clock, None))


class TestReplayOnAVirtualClock(TestReplay):
    clock: Clock = VirtualClock()


def test_every_registered_driver_is_judged_here() -> None:
    assert set(names("microscopes")) == {"simulated", "micromanager", "replay"}


def test_the_suite_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="must open the microscope"):
        MicroscopeContract().make()
    suite = TestSimulatedOnAVirtualClock()
    with suite.opened() as microscope:
        microscope.start(0)
        with pytest.raises(AssertionError, match="not within"):
            suite.soon(microscope, lambda frame: frame.settings.exposure_ms == 123)

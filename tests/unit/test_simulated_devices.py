"""The simulated devices, seen through a Micro-Manager core as any driver sees them."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from pymmcore_plus.experimental.unicore import UniMMCore

from smartscope.clock import LiveClock, VirtualClock
from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.errors import CameraStopped, DeviceError
from smartscope.ports import Clock, LightsSetup
from smartscope_drivers.core_tools import close_core, open_core
from smartscope_drivers.simulated import devices
from smartscope_drivers.simulated.lights import SimulatedLights
from smartscope_drivers.simulated.modulators import SimulatedSlm
from smartscope_drivers.simulated.options import WorldOptions
from smartscope_drivers.simulated.world import World

LASER = LightConfig(name="laser", wavelength_nm=488, device="Laser", power_property="Power_mW")
BEADS = {"specimen": "beads", "specimen_options": {"beads": 20, "area_um": 10.0}}
SENSOR = (64, 96)


class Rig:
    """A core with all simulated devices over one world."""

    def __init__(self, clock: Clock, **options) -> None:
        self.clock = clock
        config = MicroscopeConfig(sensor=SENSOR, lights=(LASER,))
        self.world = World(config, clock, 3, options=WorldOptions.model_validate(BEADS | options))
        setup = LightsSetup(config.lights, config, self.world.token)
        self.lights = SimulatedLights.in_process(setup, clock, self.world.faults)
        self.core = open_core(UniMMCore, tempfile.gettempdir())
        loaded = {
            "Camera": devices.SimulatedCamera(self.world),
            "Laser": devices.SimulatedLaser(self.world, "laser", self.lights),
            "Guarded": devices.SimulatedLaser(self.world, "laser", None),
            "Shutter": devices.SimulatedShutter(self.world),
            "XY": devices.SimulatedXYStage(self.world),
            "Z": devices.SimulatedFocus(self.world),
            "Autofocus": devices.SimulatedAutofocus(self.world),
            "SLM": SimulatedSlm(self.world),
            "Filter": devices.SimulatedFilterWheel(self.world),
        }
        for label, device in loaded.items():
            self.core.loadPyDevice(label, device)
        self.core.initializeAllDevices()
        self.core.setCameraDevice("Camera")

    def sleep(self, ms: float) -> None:
        """Let virtual time pass."""
        self.clock.sleep(ms / 1e3)

    def close(self) -> None:
        """Nothing stays behind."""
        self.world.closing.set()
        self.world.faults.release()
        close_core(self.core)
        self.lights.close()
        self.world.close()


@pytest.fixture
def rig(tmp_path, monkeypatch) -> Iterator[Callable[..., Rig]]:
    """Makes rigs that are closed afterwards; on a virtual clock unless told otherwise."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made: list[Rig] = []

    def make(clock: Clock | None = None, **options) -> Rig:
        made.append(Rig(clock or VirtualClock(), **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def frames_of(camera: devices.SimulatedCamera, n: int | None) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """(metadata, pixels) straight from the device."""
    buffers: list[np.ndarray] = []

    def buffer(shape, dtype):
        buffers.append(np.zeros(shape, dtype))
        return buffers[-1]

    for tags in camera.start_sequence(n, buffer):
        yield dict(tags), buffers[-1]


# ---------------------------------------------------------------- camera, live


def test_a_live_stream_counts_its_frames_and_times(rig) -> None:
    live = rig(LiveClock(), readout_ms=1.0)
    core = live.core
    core.setExposure(2.0)
    core.startSequenceAcquisition(20, 0, True)
    while core.isSequenceRunning():
        time.sleep(0.001)
    tags = [core.popNextImageAndMD()[1] for _ in range(20)]
    assert [int(t["CameraFrameNumber"]) for t in tags] == list(range(20))
    starts, ends = ([int(t[f"Exposure{edge}-ns"]) for t in tags] for edge in ("Start", "End"))
    assert all(end - start == 2_000_000 for start, end in zip(starts, ends, strict=True))
    assert all(later - end >= 1_000_000 for end, later in zip(ends, starts[1:], strict=False))
    assert {t["Exposure-ms"] for t in tags} == {"2.0"}
    assert ends[-1] <= live.clock.now_ns()


def test_a_live_change_reaches_the_exposures_that_begin_after_it(rig) -> None:
    live = rig(LiveClock(), readout_ms=0.0)
    camera = devices.SimulatedCamera(live.world)
    camera.set_exposure(3.0)
    stream = frames_of(camera, None)
    seen = []
    changed_ns = 0
    for number in range(12):
        tags, _ = next(stream)
        seen.append((int(tags["ExposureStart-ns"]), float(tags["Exposure-ms"])))
        if number == 5:
            camera.set_exposure(6.0)
            changed_ns = live.clock.now_ns()
    assert all(exposure == (6.0 if start > changed_ns else 3.0) for start, exposure in seen)
    assert seen[-1][1] == 6.0


def test_a_stopped_camera_does_not_disturb_the_next_sequence(rig) -> None:
    live = rig(LiveClock())
    camera = devices.SimulatedCamera(live.world)
    camera.set_exposure(10_000)
    given_up: list[object] = []
    thread = threading.Thread(target=lambda: given_up.extend(frames_of(camera, None)))
    sequences = camera._sequence
    thread.start()
    while camera._sequence == sequences:
        time.sleep(0.001)
    camera.set_exposure(1.0)
    assert len(list(frames_of(camera, 2))) == 2
    thread.join(5)
    assert not thread.is_alive()
    assert given_up == []


def test_slow_drawing_stretches_the_period_but_not_the_truth(rig, monkeypatch) -> None:
    live = rig(LiveClock(), readout_ms=0.0)
    camera = devices.SimulatedCamera(live.world)
    camera.set_exposure(1.0)
    draw = live.world.render
    monkeypatch.setattr(live.world, "render", lambda *arguments: (time.sleep(0.01), draw(*arguments)))
    times = [(int(t["ExposureStart-ns"]), int(t["ExposureEnd-ns"])) for t, _ in frames_of(camera, 8)]
    assert all(end - start == 1_000_000 for start, end in times)
    gaps = [start - end for (_, end), (start, _) in pairwise(times)]
    assert min(gaps) >= 0
    assert np.mean(gaps) > 8e6  # it began when it was ready, and said so


# ---------------------------------------------------------------- camera, virtual


def test_a_virtual_snap_is_the_exposure_whose_readout_ends_now(rig) -> None:
    virtual = rig(readout_ms=2.0)
    virtual.core.setExposure(5.0)
    virtual.sleep(100)
    before = time.perf_counter()
    tags, pixels = next(frames_of(devices.SimulatedCamera(virtual.world), 1))
    assert time.perf_counter() - before < 5
    assert (tags["ExposureStart-ns"], tags["ExposureEnd-ns"]) == ("88000000", "98000000")
    assert pixels.shape == SENSOR
    virtual.core.snapImage()
    assert virtual.core.getImage().shape == SENSOR
    assert virtual.clock.now_ns() == 100_000_000


def test_roi(rig) -> None:
    core = rig().core
    core.setROI(10, 20, 30, 16)
    assert list(core.getROI()) == [10, 20, 30, 16]
    core.snapImage()
    assert core.getImage().shape == (16, 30)
    core.clearROI()
    assert list(core.getROI()) == [0, 0, 96, 64]
    with pytest.raises(DeviceError, match="allowed: within 96x64"):
        core.setROI(90, 0, 10, 10)


def test_exposure_limits(rig) -> None:
    core = rig().core
    assert core.getPropertyUpperLimit("Camera", "Exposure") == 10_000
    with pytest.raises(DeviceError, match=r"exposure 0\.001 ms"):
        core.setExposure(0.001)
    core.setExposure(7.5)
    assert core.getExposure() == 7.5
    assert core.getProperty("Camera", "ReadoutTime") == pytest.approx(4.5)


# ---------------------------------------------------------------- camera faults


def test_lost_frames_leave_gaps_in_the_camera_s_own_count(rig) -> None:
    virtual = rig(faults={"lose_every": 4, "lose_frames": [1]}, readout_ms=0.0)
    camera = devices.SimulatedCamera(virtual.world)
    numbers, ends = [], []
    for _ in range(6):
        virtual.sleep(10)
        tags, _ = next(frames_of(camera, 1))
        numbers.append(int(tags["CameraFrameNumber"]))
        ends.append(int(tags["ExposureEnd-ns"]))
    assert numbers == [0, 2, 4, 5, 6, 8]
    assert [end // 10_000_000 for end in ends] == [number + 1 for number in numbers]


def test_a_sequence_that_dies(rig) -> None:
    live = rig(LiveClock(), faults={"stop_after_frame": 3}, readout_ms=0.0)
    live.core.setExposure(1.0)
    live.core.startContinuousSequenceAcquisition()
    while live.core.isSequenceRunning():
        time.sleep(0.001)
    assert live.core.getRemainingImageCount() == 4
    with pytest.raises(CameraStopped, match="told to die"):
        live.core.snapImage()


def test_a_camera_that_raises(rig) -> None:
    virtual = rig(faults={"raise_at_frame": 1})
    virtual.core.snapImage()
    with pytest.raises(DeviceError, match="told to fail at frame 1"):
        virtual.core.snapImage()


def test_a_camera_call_that_blocks(rig) -> None:
    virtual = rig(faults={"block": [{"device": "camera", "at_call": 1, "for_ms": 400}]})
    virtual.core.snapImage()
    assert virtual.clock.now_ns() == 0
    virtual.core.snapImage()
    assert virtual.clock.now_ns() == 400_000_000


# ---------------------------------------------------------------- lights


def test_the_laser_is_a_property_with_limits(rig) -> None:
    virtual = rig(laser_max_mw=80.0)
    core = virtual.core
    core.setProperty("Laser", "Power_mW", 12.0)
    assert virtual.lights.read_back() == {"laser": 12.0}
    assert core.getProperty("Guarded", "Power_mW") == 12.0
    assert core.getPropertyUpperLimit("Laser", "Power_mW") == 80
    with pytest.raises(ValueError, match="not within the allowed range"):
        core.setProperty("Laser", "Power_mW", 81)
    with pytest.raises(DeviceError, match="belongs to the supervisor"):
        core.setProperty("Guarded", "Power_mW", 1)


def test_shutter_filter_and_slm_change_the_picture(rig) -> None:
    virtual = rig()
    core = virtual.core

    def mean() -> float:
        virtual.sleep(50)
        core.snapImage()
        return float(core.getImage().mean()) - 100

    core.setProperty("Laser", "Power_mW", 50)
    core.setExposure(20)
    bright = mean()
    core.setShutterOpen("Shutter", False)
    assert not core.getShutterOpen("Shutter")
    assert abs(mean()) < 0.05 * bright
    core.setShutterOpen("Shutter", True)
    core.setState("Filter", 2)
    assert core.getStateLabel("Filter") == "Closed"
    assert abs(mean()) < 0.05 * bright
    core.setProperty("Filter", "Label", "Emission")
    assert mean() == pytest.approx(bright, rel=0.2)
    half = np.full(SENSOR, 255, np.uint8)
    half[:, :48] = 0
    core.setSLMImage("SLM", half)
    np.testing.assert_array_equal(core.getSLMImage("SLM"), half)
    core.setSLMExposure("SLM", 60)
    assert core.getSLMExposure("SLM") == 60
    core.displaySLMImage("SLM")
    virtual.sleep(50)
    core.snapImage()
    shown = core.getImage().astype(float) - 100
    assert abs(shown[:, :42].mean()) < 0.1 * shown[:, 48:].mean()  # the lens blurs the light of beads at the edge
    virtual.sleep(50)  # the SLM's exposure is over
    assert abs(mean()) < 0.05 * bright


# ---------------------------------------------------------------- stages


def test_stages_take_their_time_and_can_be_stopped(rig) -> None:
    virtual = rig(stage_um_per_s=1000, stage_settling_ms=5, focus_um_per_s=100, focus_settling_ms=2)
    core = virtual.core
    core.setXYPosition("XY", 30, 40)
    core.setPosition("Z", 2)
    virtual.sleep(10)
    assert core.getXYPosition("XY") == pytest.approx((6, 8))
    assert core.getPosition("Z") == pytest.approx(1)
    assert core.deviceBusy("XY")
    virtual.sleep(15)
    assert not core.deviceBusy("Z")
    virtual.sleep(30)
    assert not core.deviceBusy("XY")
    core.home("XY")
    core.home("Z")
    virtual.sleep(5)
    core.stop("XY")
    core.stop("Z")
    assert core.getXYPosition("XY") == pytest.approx((27, 36))
    assert core.getPosition("Z") == pytest.approx(1.5)
    for refused in (core.setOriginXY, core.setOriginX, core.setOriginY, core.setOrigin):
        with pytest.raises(DeviceError, match="keeps its origin"):
            refused("Z" if refused == core.setOrigin else "XY")


def test_a_stage_that_stalls_and_one_that_blocks(rig) -> None:
    virtual = rig(faults={"stall_stage_at_call": 1, "block": [{"device": "stage", "at_call": 0, "for_ms": 250}]})
    core = virtual.core
    core.setXYPosition("XY", 1, 0)
    assert virtual.clock.now_ns() == 250_000_000
    core.setXYPosition("XY", 100, 0)
    virtual.sleep(60_000)
    assert core.deviceBusy("XY")
    assert core.getXYPosition("XY")[0] == pytest.approx(50)


def test_autofocus_finds_the_plane_or_says_so(rig) -> None:
    virtual = rig(focal_plane_um=5.0)
    core = virtual.core
    assert core.getProperty("Autofocus", "Status") == "Idle"
    core.setProperty("Autofocus", "Run", 0)
    core.setProperty("Autofocus", "Run", 1)
    assert core.getProperty("Autofocus", "Status") == "Searching"
    assert core.getProperty("Autofocus", "Run") == 1
    virtual.sleep(1000)
    assert core.getProperty("Autofocus", "Status") == "Locked"
    assert core.getPosition("Z") == pytest.approx(5.0)
    core.setPosition("Z", 40)
    virtual.sleep(1000)
    core.setProperty("Autofocus", "Run", 1)
    assert core.getProperty("Autofocus", "Status") == "Failed"
    failing = rig(faults={"autofocus_fails": True})
    failing.core.setProperty("Autofocus", "Run", 1)
    assert failing.core.getProperty("Autofocus", "Status") == "Failed"

"""The traps of Micro-Manager's core, numbered as they were found and measured, and that we fall into none.

Where a plain core falls into the trap, the test shows that too: else it could not fail.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pymmcore
import pytest
import useq
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.experimental.unicore import UniMMCore
from pymmcore_plus.experimental.unicore.core._sequence_buffer import SequenceBuffer

from smartscope.clock import LiveClock
from smartscope.command import SetExposure, SetLight, SetPreset, SetRoi
from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.errors import CameraStopped, DeviceError, DeviceTimeout
from smartscope.frame import Certainty, Roi
from smartscope.ports import Microscope, MicroscopeSetup
from smartscope_drivers import core_camera
from smartscope_drivers.core_camera import CoreCamera
from smartscope_drivers.micromanager import MicroManagerMicroscope
from smartscope_drivers.simulated.faults import FaultOptions
from smartscope_drivers.simulated.microscope import SimulatedMicroscope
from tests.steered_camera import SteeredCamera, steered, wait_for

pytest.importorskip("mm_test_adapters", reason="pip install mm-test-adapters")

CFG = Path(__file__).parents[2] / "configs" / "demo_camera.cfg"
LED = LightConfig(name="led", device="LightPower", power_property="Voltage", power_per_mw=0.1)
LASER = LightConfig(name="laser", device="Laser", power_property="Power_mW")
SIMULATED = MicroscopeConfig(sensor=(64, 96), lights=(LASER,))


@pytest.fixture
def demo() -> Iterator[MicroManagerMicroscope]:
    setup = MicroscopeSetup(MicroscopeConfig(lights=(LED,)), LiveClock(), None)
    microscope = MicroManagerMicroscope(setup, cfg=str(CFG), live_exposure=True, ring_mb=4)
    yield microscope
    microscope.close()


@pytest.fixture
def simulated() -> Iterator[SimulatedMicroscope]:
    microscope = SimulatedMicroscope(MicroscopeSetup(SIMULATED, LiveClock(), None), specimen="beads")
    yield microscope
    microscope.close()


def until_none(microscope: Microscope) -> None:
    """Take frames until none comes."""
    while microscope.next_frame(5.0) is not None:
        pass


LEFT_OPEN = """
import sys
from smartscope.clock import LiveClock
from smartscope.command import SetLight
from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.ports import MicroscopeSetup
from smartscope_drivers.micromanager import MicroManagerMicroscope

led = LightConfig(name="led", device="LightPower", power_property="Voltage", power_per_mw=0.1)
setup = MicroscopeSetup(MicroscopeConfig(lights=(led,)), LiveClock(), None)
microscope = MicroManagerMicroscope(setup, cfg=sys.argv[1], live_exposure=True)
microscope.start(0)
microscope.apply(SetLight("led", 5.0))
assert microscope.next_frame(5.0) is not None
if sys.argv[2] == "raise":
    raise RuntimeError("on purpose")
"""


@pytest.mark.parametrize(("way", "code"), [("end", 0), ("raise", 1)])
def test_1_the_interpreter_exits_cleanly(way: str, code: int) -> None:
    """Also when nobody closed the microscope: MMCore's callback thread would abort the process (-6) now and then."""
    command = [sys.executable, "-c", LEFT_OPEN, str(CFG), way]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == code, ended.stderr
    assert "FATAL" not in ended.stderr


def frames_through_a_wrapping_ring(camera: CoreCamera, device: SteeredCamera, core: CMMCorePlus) -> list[int]:
    """Numbers of 40 frames of which four always wait, so that the ring wraps several times."""
    camera.start()
    device.expose(4)
    numbers: list[int] = []
    while len(numbers) < 40:
        wait_for(lambda: core.getRemainingImageCount() >= 4 or not core.isSequenceRunning())
        image = camera.next_image(5.0)
        assert image is not None
        numbers.append(image.number)
        device.expose(1)
    return numbers


def test_2_the_ring_loses_nothing_when_it_wraps() -> None:
    """The Python ring loses a frame per wrap unless it holds a whole number of frames."""
    with steered((40, 50)) as (camera, device, core):
        assert camera.ring_frames == 8
        assert frames_through_a_wrapping_ring(camera, device, core) == list(range(40))
    with steered((40, 50)) as (camera, device, core):
        core._seq_buffer = SequenceBuffer(size_mb=8.5 * 40 * 50 * 2 / 2**20)  # type: ignore[attr-defined]
        with pytest.raises(CameraStopped):
            frames_through_a_wrapping_ring(camera, device, core)


def test_2_the_ring_fits_again_after_a_roi(simulated: SimulatedMicroscope) -> None:
    """Its size is a multiple of the new frame's."""
    simulated.apply(SetRoi(Roi(3, 5, 37, 41)))
    ring = simulated._core._seq_buffer  # type: ignore[attr-defined]
    assert ring.size_bytes % (37 * 41 * 2) == 0


def test_3_overflow_is_loud_and_keeps_what_it_has(demo: MicroManagerMicroscope) -> None:
    """Continuous acquisition would empty the ring and go on, with no flag set."""
    demo.apply(SetExposure(1.0))
    demo.start(0)
    wait_for(lambda: not demo._core.isSequenceRunning())
    frames = [demo.next_frame(1.0) for _ in range(8)]
    assert [frame.number for frame in frames if frame] == list(range(8))
    with pytest.raises(CameraStopped, match="overflowed"):
        demo.next_frame(1.0)
    demo.start(1)
    assert demo.next_frame(5.0) is not None


def test_3_a_ring_that_is_emptied_meanwhile_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count may be above zero and the pop still fail."""
    with steered() as (camera, _, core):
        monkeypatch.setattr(core, "getRemainingImageCount", lambda: 1)
        camera.start()
        assert camera.next_image(0.01) is None


def test_4_what_a_sequence_does_not_survive_restarts_it(demo: MicroManagerMicroscope) -> None:
    """A plain ``setROI`` is accepted, and the sequence is dead; ours goes on, and no frame in the ring is lost."""
    demo.start(0)
    assert demo.next_frame(5.0) is not None
    wait_for(lambda: demo._core.getRemainingImageCount() >= 2)
    demo.apply(SetRoi(Roi(64, 32, 128, 64)))
    demo.apply(SetPreset("Binning", "2x2"))
    by_epoch: dict[int, list[int]] = {0: [], 1: [], 2: []}
    while len(by_epoch[2]) < 3:
        frame = demo.next_frame(5.0)
        assert frame is not None
        by_epoch[frame.epoch].append(frame.number)
    assert by_epoch[0][:2] == [1, 2]
    assert by_epoch[2] == [0, 1, 2]
    assert frame.pixels.shape == (32, 64)
    assert frame.settings.roi == Roi(64, 32, 128, 64), "in unbinned pixels"

    core = demo._core
    core.setROI(0, 0, 64, 64)
    wait_for(lambda: not core.isSequenceRunning())
    with pytest.raises(CameraStopped, match="ended by itself"):
        until_none(demo)


def test_5_the_light_path_is_ours(simulated: SimulatedMicroscope, demo: MicroManagerMicroscope) -> None:
    """No autoshutter, which skips Python shutters: opened by the first light, closed by the last and by ``dark``."""
    for microscope, light in ((simulated, "laser"), (demo, "led")):
        core, shutter = microscope._core, microscope._roles.shutter
        assert not core.getAutoShutter()
        assert not core.getShutterOpen(shutter)
        microscope.apply(SetLight(light, 1.0))
        assert core.getShutterOpen(shutter)
        microscope.apply(SetLight(light, 0.0))
        assert not core.getShutterOpen(shutter)
        microscope.apply(SetLight(light, 1.0))
        microscope.dark()
        assert not core.getShutterOpen(shutter)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("faults", [FaultOptions(raise_at_frame=3), FaultOptions(stop_after_frame=2)])
def test_6_a_dead_camera_is_noticed(faults: FaultOptions) -> None:
    """Its thread dies, ``isSequenceRunning`` turns False, and nobody is told; the frames before it still come."""
    setup = MicroscopeSetup(SIMULATED, LiveClock(), None)
    microscope = SimulatedMicroscope(setup, specimen="beads", faults=faults)
    try:
        microscope.start(0)
        frames = [microscope.next_frame(5.0) for _ in range(3)]
        assert [frame.number for frame in frames if frame] == [0, 1, 2]
        with pytest.raises(CameraStopped, match="ended by itself"):
            microscope.next_frame(5.0)
    finally:
        microscope.close()


def test_7_no_exception_is_swallowed(simulated: SimulatedMicroscope) -> None:
    """Exceptions of listeners are only logged; whoever takes planned frames and fails ends the plan, in the dark."""
    simulated.apply(SetLight("laser", 1.0))
    before = simulated.settings()
    frames = simulated.run_plan([useq.MDAEvent(exposure=3.0, z_pos=float(z)) for z in range(4)])
    assert next(frames).settings.exposure_ms == 3.0
    frames.close()  # type: ignore[attr-defined]
    after = simulated.settings()
    assert after.lights_mw == {"laser": 0.0}
    assert (after.exposure_ms, after.z_um) == (before.exposure_ms, before.z_um)


def test_8_streamed_frames_show_the_specimen(simulated: SimulatedMicroscope) -> None:
    """The simulation that comes with pymmcore-plus reaches snapped images only."""
    simulated.start(0)
    dark = simulated.next_frame(5.0)
    simulated.apply(SetExposure(20.0))
    applied = simulated.apply(SetLight("laser", 20.0))
    frame = simulated.next_frame(5.0)
    while frame is not None and frame.t_start_ns < applied.t_effect_ns:
        frame = simulated.next_frame(5.0)
    assert dark is not None
    assert frame is not None
    assert frame.pixels.max() > dark.pixels.max() + 100


def test_9_pixels_and_metadata_must_agree() -> None:
    """The core copies with the camera's present size, whatever the frame's was."""
    with steered((40, 50)) as (camera, device, _):
        camera.start()
        device.expose(1)
        image = camera.next_image(5.0)
        assert image is not None
        assert image.pixels.shape == (40, 50)
        device.size = (20, 50)
        device.expose(1)
        with pytest.raises(DeviceError, match=r"frame of \(20, 50\) whose metadata says \(40, 50\)"):
            camera.next_image(5.0)


def test_10_frames_are_never_written_again() -> None:
    """Writers may keep what they are given: no frame lies in the ring, and later ones leave it alone."""
    with steered((40, 50)) as (camera, device, core):
        camera.start()
        kept = []
        for _ in range(20):
            device.expose(1)
            image = camera.next_image(5.0)
            assert image is not None
            assert not np.shares_memory(image.pixels, core._seq_buffer._pool)  # type: ignore[attr-defined]
            kept.append(image.pixels)
        assert [int(pixels.max()) for pixels in kept] == list(range(20))
        assert [int(pixels.min()) for pixels in kept] == list(range(20))


def test_11_frames_carry_the_settings_that_metadata_lacks(demo: MicroManagerMicroscope) -> None:
    """The core's tags name neither exposure nor light."""
    demo.apply(SetExposure(7.0))
    demo.apply(SetLight("led", 4.0))
    demo.start(0)
    frame = demo.next_frame(5.0)
    assert frame is not None
    assert frame.settings.exposure_ms == 7.0
    assert frame.settings.lights_mw == {"led": 4.0}
    assert frame.certainty["exposure_ms"] is Certainty.ASSUMED
    wait_for(lambda: demo._core.getRemainingImageCount() > 0)
    tags = pymmcore.Metadata()
    demo._core.popNextImageMD(tags)
    assert not [key for key in tags.GetKeys() if "xposure" in key or "Voltage" in key]


def forget_at_once(monkeypatch: pytest.MonkeyPatch, core: CMMCorePlus, then: Callable[[], None]) -> None:
    """The core gives up on a camera's thread at once instead of after 2 s, and then something goes on."""

    def stop() -> None:
        UniMMCore._stop_acquisition_thread(core, 0.0)  # type: ignore[arg-type]
        then()

    monkeypatch.setattr(core, "_stop_acquisition_thread", stop)


def test_12_a_last_frame_that_is_late_belongs_to_the_sequence_that_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core forgets its thread, which would finish the next sequence's frame: "No pending slot to finalize"."""
    with steered() as (camera, device, core):
        forget_at_once(monkeypatch, core, lambda: threading.Timer(0.1, device.may_finish.set).start())
        device.may_finish.clear()
        camera.start()
        device.expose(1)
        wait_for(device.drawing.is_set)
        camera.stop()
        last = camera.next_image(0.0)
        assert last is not None
        assert last.number == 0
        camera.start()
        device.expose(2)
        numbers = [image.number for image in (camera.next_image(5.0), camera.next_image(5.0)) if image is not None]
        assert numbers == [0, 1]
        monkeypatch.undo()


def test_12_no_sequence_begins_while_another_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera whose last frame never comes is said to be stuck, as often as it is asked."""
    with steered() as (camera, device, core):
        forget_at_once(monkeypatch, core, lambda: None)
        monkeypatch.setattr(core_camera, "LAST_FRAME_S", 0.05)
        device.may_finish.clear()
        camera.start()
        device.expose(1)
        wait_for(device.drawing.is_set)
        for attempt in (camera.stop, camera.start):
            with pytest.raises(DeviceTimeout, match="does not end"):
                attempt()
        device.may_finish.set()
        camera.start()
        device.expose(1)
        assert camera.next_image(5.0) is not None
        monkeypatch.undo()

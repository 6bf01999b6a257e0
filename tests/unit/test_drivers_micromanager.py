"""The driver for any .cfg, on Micro-Manager's demonstration devices: what it loads, checks, refuses and gives back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymmcore_plus import CMMCorePlus

from smartscope.clock import LiveClock, VirtualClock
from smartscope.command import MoveFocus, MoveStage, RunAutofocus, SetExposure, SetLight, SetPreset
from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.errors import ConfigurationError, DeviceError, DeviceTimeout, InputError, Refused
from smartscope.frame import Certainty
from smartscope.loading import load
from smartscope.ports import Lights, LightsSetup, MicroscopeSetup
from smartscope_drivers.lights_by_owner import LightsByOwner
from smartscope_drivers.micromanager import MicroManagerMicroscope
from smartscope_drivers.mm_lights import MicroManagerLights
from tests.steered_camera import steered

pytest.importorskip("mm_test_adapters", reason="pip install mm-test-adapters")

CFG = Path(__file__).parents[2] / "configs" / "demo_camera.cfg"
LED = LightConfig(name="led", device="LightPower", power_property="Voltage", power_per_mw=0.1)
SWITCHED = LightConfig(name="lamp", device="LightPower", power_property="Voltage", switch_device="Shutter")
WHEEL = LightConfig(
    name="wheel", device="LightPower", power_property="Voltage", switch_device="Emission", switch_property="State"
)


def microscope(*lights: LightConfig, through: Lights | None = None, **options: Any) -> MicroManagerMicroscope:
    setup = MicroscopeSetup(MicroscopeConfig(lights=lights), LiveClock(), through)
    return MicroManagerMicroscope(setup, **{"cfg": str(CFG), "live_exposure": True, "ring_mb": 4, **options})


def lights(*configs: LightConfig, cfg: str = str(CFG)) -> MicroManagerLights:
    return MicroManagerLights(LightsSetup(configs, MicroscopeConfig(lights=configs, options={"cfg": cfg})))


@pytest.fixture
def demo() -> Iterator[MicroManagerMicroscope]:
    opened = microscope(LED)
    yield opened
    opened.close()


# -------------------------------------------------------------------- opening


def test_nobody_else_sees_the_core(demo: MicroManagerMicroscope) -> None:
    other = CMMCorePlus.instance()
    assert other is not demo._core
    assert "Camera" not in other.getLoadedDevices()


def test_the_demo_configuration_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CFG.parents[1])
    config = load(CFG.with_suffix(".yaml")).microscope
    assert list(MicroManagerMicroscope.problems(config)) == []


def test_state_at_entry_is_recorded_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but light, which is off; the core is looked at just before it closes."""
    found: dict[str, Any] = {}
    monkeypatch.setattr("smartscope_drivers.core_microscope.close_core", lambda core: found.update(_state(core)))
    opened = microscope(LED)
    before = _state(opened._core)
    entry = opened.capabilities().device_properties
    assert entry["Camera.PixelType"] == "16bit"
    for command in (SetExposure(33.0), MoveStage(40.0, -7.0), MoveFocus(4.0), SetPreset("Binning", "2x2")):
        opened.apply(command)
    opened.apply(SetPreset("Channel", "Red"))
    opened.apply(SetLight("led", 5.0))
    assert _state(opened._core) != before
    opened.close()
    assert found == before
    monkeypatch.undo()
    opened._closed = False
    opened.close()


def _state(core: CMMCorePlus) -> dict[str, Any]:
    return {
        "exposure": core.getExposure(),
        "xy": [round(v, 2) for v in core.getXYPosition()],
        "z": core.getPosition(),
        "roi": list(core.getROI()),
        "binning": core.getProperty("Camera", "Binning"),
        "channel": core.getCurrentConfig("Channel"),
        "light": core.getProperty("LightPower", "Voltage"),
        "shutter": core.getShutterOpen(),
    }


def test_the_supervisors_light_is_not_loaded_here() -> None:
    with_light, without = lights(LED), None
    try:
        assert with_light._own_core.getLoadedDevices() == ("LightPower", "Core")
        without = microscope(LED, through=with_light)
        assert "LightPower" not in without._core.getLoadedDevices()
        without.apply(SetLight("led", 7.0))
        assert with_light.read_back() == {"led": 7.0}
        without.dark()
        assert with_light.read_back() == {"led": 0.0}
    finally:
        if without:
            without.close()
        with_light.close()
        with_light.close()


def test_lights_of_two_owners() -> None:
    own = LightConfig(name="lamp", device="Shutter", power_property="State", owner="controller")
    supervised = lights(LED)
    opened = microscope(LED, own, through=supervised)
    try:
        opened.apply(SetLight("lamp", 1.0))
        opened.apply(SetLight("led", 2.0))
        assert opened._actuators.read("light:lamp") == 1.0
        assert supervised.read_back() == {"led": 2.0}
    finally:
        opened.close()
        supervised.close()


@pytest.mark.parametrize(
    ("options", "key", "allowed"),
    [
        ({"camera": "Kamera"}, "options.camera = 'Kamera': is no device", "Camera"),
        ({"camera": "Z"}, "options.camera = 'Z': is no CameraDevice", "Camera"),
        ({"xy_stage": "Stage"}, "options.xy_stage = 'Stage'", "XY"),
        ({"camera": "none"}, "options.camera: no camera", "Camera"),
    ],
)
def test_labels_that_do_not_exist(options: dict[str, str], key: str, allowed: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        microscope(LED, **options)
    assert key in str(caught.value)
    assert f"allowed: {allowed}" in str(caught.value)


def test_a_role_may_be_left_out() -> None:
    opened = microscope(LED, xy_stage="none", focus="none", autofocus="none", shutter="none")
    can = opened.capabilities()
    assert (can.has_xy, can.has_z, can.has_autofocus) == (False, False, False)
    for command, what in (
        (MoveStage(1, 1), "XY stage"),
        (MoveFocus(1), "focus drive"),
        (RunAutofocus(), "hardware auto"),
    ):
        with pytest.raises(DeviceError, match=f"no {what}"):
            opened.apply(command)
    opened.close()


def test_lights_that_do_not_exist() -> None:
    wrong = (
        LightConfig(name="a", device="Lazer", power_property="Power"),
        LightConfig(name="b", device="LightPower", power_property="Power"),
        LightConfig(name="c", device="LightPower"),
        LightConfig(name="d", device="LightPower", power_property="Voltage", switch_property="On"),
    )
    with pytest.raises(ConfigurationError) as caught:
        microscope(*wrong)
    keys = [problem.key for problem in caught.value.problems]
    assert keys == [
        f"microscope.lights.{key}" for key in ("0.device", "1.power_property", "2.power_property", "3.switch_property")
    ]
    assert "Voltage" in caught.value.problems[1].allowed
    with pytest.raises(ConfigurationError, match="Power"):
        lights(wrong[1])


def test_a_light_on_a_shared_hub_cannot_be_the_supervisors() -> None:
    on_hub = LightConfig(name="shutter", device="Shutter", power_property="State")
    supervised = lights(LED)
    with pytest.raises(ConfigurationError, match="shares DHub with other devices"):
        microscope(on_hub, through=supervised)
    supervised.close()


def test_check_names_every_problem_without_a_device() -> None:
    def problems(*lights: LightConfig, **options: Any) -> list[str]:
        config = MicroscopeConfig(lights=lights, options=options)
        return [problem.line() for problem in MicroManagerMicroscope.problems(config)]

    assert problems() == []
    [line] = problems(cfg="missing.cfg")
    assert "no such .cfg" in line
    on_hub = LightConfig(name="s", device="Shutter", power_property="State")
    lost = LightConfig(name="l", device="Lost", power_property="P")
    found = problems(on_hub, lost, cfg=str(CFG), adapter_path="nowhere", focus="Zed")
    assert [line.split(" = ")[0] for line in found] == [
        "microscope.options.adapter_path",
        "microscope.options.focus",
        "microscope.lights.1.device",
        "microscope.lights.s.owner",
    ]


def test_files_and_clocks_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such"):
        microscope(LED, cfg=str(tmp_path / "x.cfg"))
    broken = tmp_path / "broken.cfg"
    broken.write_text("Device,Camera,NoSuchAdapter,Cam\n")
    with pytest.raises(DeviceError, match="loading failed"):
        microscope(LED, cfg=str(broken))
    with pytest.raises(DeviceError, match="loading the light lines failed"):
        lights(LightConfig(name="x", device="Camera", power_property="P"), cfg=str(broken))
    with pytest.raises(DeviceError, match="real hardware keeps real time"):
        MicroManagerMicroscope(MicroscopeSetup(MicroscopeConfig(), VirtualClock(), None), cfg=str(CFG))


def test_an_rgb_camera_is_refused(tmp_path: Path) -> None:
    colour = tmp_path / "colour.cfg"
    colour.write_text(
        CFG.read_text().replace("PixelType,16bit", "PixelType,32bitRGB").replace("BitDepth,16", "BitDepth,8")
    )
    with pytest.raises(DeviceError, match="components of 4 bytes per pixel"):
        microscope(LED, cfg=str(colour))


# -------------------------------------------------------------------- exposure


def test_live_exposure_is_tried_out() -> None:
    opened = microscope(LED, live_exposure=None)
    assert "exposure_ms" in opened.capabilities().live_settings
    assert opened.settings().exposure_ms == 10.0
    opened.close()


def test_a_camera_that_takes_no_live_exposure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises, or keeps its exposure: a restart then, in an epoch of its own."""
    with steered() as (camera, device, _):
        device.expose(2)
        assert camera.accepts_live_exposure()
        device.expose(2)
        monkeypatch.setattr(device, "set_exposure", lambda exposure: None)
        assert not camera.accepts_live_exposure()

    def refuse(exposure: float) -> None:
        if exposure > 1:
            raise RuntimeError("not while running")

    with steered() as (camera, device, _):
        device.expose(2)
        monkeypatch.setattr(device, "set_exposure", refuse)
        assert not camera.accepts_live_exposure()
    opened = microscope(LED, live_exposure=False)
    opened.start(0)
    opened.apply(SetExposure(3.0))
    frames = iter(lambda: opened.next_frame(5.0), None)
    frame = next(frame for frame in frames if frame.epoch == 1)
    assert (frame.number, frame.settings.exposure_ms) == (0, 3.0)
    assert frame.certainty["exposure_ms"] is Certainty.ASSUMED
    opened.close()


def test_a_restart_on_another_thread_takes_its_turn(demo: MicroManagerMicroscope) -> None:
    """A preset that touches the camera may come from anywhere while the grabber waits for frames."""
    demo.start(0)
    presets = [SetPreset("Binning", preset) for preset in ("2x2", "1x1") * 5]
    with ThreadPoolExecutor(1, "presets") as executor:
        restarts = executor.map(demo.apply, presets)
        epoch, shapes = 0, set()
        while epoch < len(presets):
            frame = demo.next_frame(5.0)
            assert frame is not None
            assert frame.epoch >= epoch
            epoch = frame.epoch
            shapes.add((epoch % 2, frame.pixels.shape))
        assert len(list(restarts)) == len(presets)
    assert shapes == {(0, (512, 512)), (1, (256, 256))}


def test_frames_before_the_core(demo: MicroManagerMicroscope) -> None:
    """A camera that counts its frames itself shows what was lost before the core saw it; 8 bit is widened."""
    with steered(pixel="u1") as (camera, device, _):
        camera.start()
        numbers = []
        for counted in (70, 71, 74):
            device.tags = {"Device-CameraFrameNumber": str(counted)}
            device.expose(1)
            image = camera.next_image(5.0)
            assert image is not None
            numbers.append(image.number)
        assert numbers == [0, 1, 4]
        assert image.pixels.dtype == "uint16"


def test_colour_python_cameras_are_refused() -> None:
    with pytest.raises(DeviceError, match="3 components"), steered(pixel="u1", colours=3):
        pass


# -------------------------------------------------------------------- actuators


def test_what_devices_do_not_confirm(demo: MicroManagerMicroscope, monkeypatch: pytest.MonkeyPatch) -> None:
    core = demo._core
    with monkeypatch.context() as patch:
        patch.setattr(core, "setXYPosition", lambda *_: None)
        with pytest.raises(DeviceError, match=r"stopped 50\.00 um from where it was sent"):
            demo.apply(MoveStage(30.0, 40.0))
    assert (demo.settings().x_um, demo.settings().y_um) == (0.0, 0.0), "what is true, not what was asked"
    with monkeypatch.context() as patch:
        patch.setattr(core, "getShutterOpen", lambda *_: False)
        with pytest.raises(DeviceError, match="did not open"):
            demo.apply(SetLight("led", 1.0))
    with monkeypatch.context() as patch:
        patch.setattr(core, "getCurrentConfig", lambda *_: "Green")
        with pytest.raises(DeviceError, match="reads back 'Green' instead of 'Red'"):
            demo.apply(SetPreset("Channel", "Red"))
    with monkeypatch.context() as patch:
        patch.setattr(core, "deviceBusy", lambda *_: True)
        patch.setattr(demo._actuators, "_options", _hasty(demo))
        with pytest.raises(DeviceTimeout, match=r"Z: still busy; allowed: 0\.01 s"):
            demo.apply(MoveFocus(1.0))
    with monkeypatch.context() as patch:
        patch.setattr(core, "setExposure", lambda *_: 1 / 0)
        patch.setattr(core, "getExposure", lambda *_: 1 / 0)
        with pytest.raises(DeviceError, match="setting an exposure of 3 ms failed: division by zero"):
            demo.apply(SetExposure(3.0))
    assert demo.settings().exposure_ms == 10.0
    with pytest.raises(DeviceError, match="no preset 'Blue' in group 'Channel'"):
        demo.apply(SetPreset("Channel", "Blue"))


def _hasty(demo: MicroManagerMicroscope) -> Any:
    from dataclasses import replace

    return replace(demo._options, move_timeout_s=0.01)


def test_presets_that_touch_light_are_hidden(tmp_path: Path) -> None:
    more = (
        "ConfigGroup,Light,On,LightPower,Voltage,5\n"
        "ConfigGroup,Light,Open,Shutter,State,1\n"
        "ConfigGroup,Auto,Shutter,Core,AutoShutter,1\n"
        "ConfigGroup,Which,Shutter,Core,Shutter,Shutter\n"
    )
    cfg = tmp_path / "more.cfg"
    cfg.write_text(CFG.read_text() + more)
    opened = microscope(LED, cfg=str(cfg))
    assert set(opened.capabilities().presets) == {"Channel", "Binning", "Which"}
    opened.close()


def test_autofocus(demo: MicroManagerMicroscope) -> None:
    assert isinstance(demo.apply(RunAutofocus()).made_true, MoveFocus)


# -------------------------------------------------------------------- light


@pytest.mark.parametrize("light", [LED, SWITCHED, WHEEL], ids=["power alone", "shutter", "switch property"])
def test_switches(light: LightConfig) -> None:
    opened = lights(light)
    core = opened._own_core
    try:
        assert opened.set_power(light.name, 3.0) == 3.0
        assert opened.read_back() == {light.name: 3.0}
        assert opened.set_power(light.name, 0.0) == 0.0
        assert opened.read_back() == {light.name: 0.0}
        opened.set_power(light.name, 3.0)
        opened.dark()
        opened.dark()
        assert opened.read_back() == {light.name: 0.0}
        assert float(core.getProperty("LightPower", "Voltage")) == 0.0
        with pytest.raises(DeviceError, match="no such light"):
            opened.set_power("other", 1.0)
        with pytest.raises(DeviceError, match="setting 1e\\+06 mW failed"):
            opened.set_power(light.name, 1e6)
    finally:
        opened.close()


def test_a_light_that_does_not_confirm_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = lights(LED)
    core, told = opened._own_core, []
    with monkeypatch.context() as patch:
        patch.setattr(core, "setProperty", lambda *call: told.append(call))
        with pytest.raises(DeviceError, match="asked for 5 mW, reads back 0 mW"):
            opened.set_power("led", 5.0)
        assert told[-1] == ("LightPower", "Voltage", 0.0)
    opened.close()


def test_listed_lines_reach_the_light() -> None:
    lines = ("Device,Mine,DemoCamera,D-DA", "Property,Core,Initialize,1")
    light = LightConfig(name="mine", device="Mine", power_property="Voltage", cfg_lines=lines)
    opened = lights(light)
    assert opened._own_core.getLoadedDevices() == ("Mine", "Core")
    opened.close()


class Broken:
    """Lights that never answer."""

    def set_power(self, light: str, power_mw: float) -> float:
        raise DeviceError("broken", where=light)

    def read_back(self) -> dict[str, float]:
        raise DeviceError("broken")

    def dark(self) -> None:
        raise DeviceError("broken")

    def close(self) -> None: ...


def test_every_light_and_owner_is_darkened_whatever_the_first_says(monkeypatch: pytest.MonkeyPatch) -> None:
    second = LightConfig(name="second", device="Shutter", power_property="State")
    own = lights(LED, second)
    core = own._own_core
    own.set_power("led", 2.0)
    own.set_power("second", 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(core, "hasPropertyLimits", lambda device, name: 1 / 0 if device == "LightPower" else False)
        with pytest.raises(DeviceError, match="led: switching off failed"):
            own.dark()
    assert own.read_back() == {"led": 2.0, "second": 0.0}
    both = LightsByOwner({"a": Broken(), "led": own})
    with pytest.raises(DeviceError, match="broken"):
        both.dark()
    assert own.read_back()["led"] == 0.0
    with pytest.raises(DeviceError, match="no such light"):
        both.set_power("x", 1.0)
    LightsByOwner({"led": own}).close()
    own.close()


def test_dark_wins_over_a_light_being_set(demo: MicroManagerMicroscope, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog's ``dark`` may fall between the power and the shutter."""
    original = demo._lights.set_power

    def set_while_darkened(light: str, power_mw: float) -> float:
        confirmed = original(light, power_mw)
        demo.dark()
        return confirmed

    with monkeypatch.context() as patch:
        patch.setattr(demo._lights, "set_power", set_while_darkened)
        patch.setattr(demo._lights, "dark", lambda: None)
        with pytest.raises(Refused, match="went dark while it was being set"):
            demo.apply(SetLight("led", 5.0))
    assert not demo._core.getShutterOpen("Shutter")


def test_closing_goes_on_when_something_cannot_be_restored(
    demo: MicroManagerMicroscope, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    demo.apply(MoveStage(5.0, 5.0))
    monkeypatch.setattr(demo._core, "setXYPosition", lambda *_: 1 / 0)
    demo.close()
    assert "restoring a stage position failed" in caplog.text
    assert demo._core.getLoadedDevices() == ("Core",)


def test_closing_goes_on_when_the_light_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = microscope(LED)
    monkeypatch.setattr(opened._lights, "dark", Broken().dark)
    with pytest.raises(DeviceError, match="broken"):
        opened.close()
    assert opened._core.getLoadedDevices() == ("Core",)

"""Micro-Manager .cfg files: which lines reach a device, and which stay when it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.errors import InputError
from smartscope_drivers.adapters import find_adapters, matching_release
from smartscope_drivers.cfg_file import CfgFile, as_file

TEXT = """
# a laser on a port of its own, an LED on the camera's hub, a shutter made of the LED's output
Property,Core,Initialize,0
Device,COM3,SerialManager,COM3
Device,Laser,CoherentCube,CoherentCube
Device,Hub,Arduino,Arduino-Hub
Device,Camera,Andor,Andor
Device,LED,Arduino,Arduino-DAC1
Device,LEDShutter,Utilities,DA Shutter
Property,COM3,BaudRate,19200
Property,Laser,Port,COM3
Parent,LED,Hub
Parent,Camera,Hub
Property,Core,Initialize,1
Property,LEDShutter,DA Device,LED
Property,Core,Camera,Camera
Property,Core,Shutter,LEDShutter
ConfigGroup,System,Startup,Laser,PowerSetpoint,5
ConfigGroup,System,Startup,Camera,Gain,1
#py pyDevice,Wheel,mymodule,Wheel
"""


@pytest.fixture
def cfg() -> CfgFile:
    return CfgFile.parse(TEXT)


def test_devices_in_order_of_loading(cfg: CfgFile) -> None:
    assert cfg.devices() == ("COM3", "Laser", "Hub", "Camera", "LED", "LEDShutter", "Wheel")


def test_what_a_device_hangs_on(cfg: CfgFile) -> None:
    assert cfg.needs(["Laser"]) == {"Laser", "COM3"}
    assert cfg.needs(["LEDShutter"]) == {"LEDShutter", "LED", "Hub"}
    assert cfg.needs(["no such"]) == set()


def test_lines_that_reach_the_laser_alone(cfg: CfgFile) -> None:
    part = cfg.reaching(["Laser"])
    assert part.devices() == ("COM3", "Laser")
    assert "Property,Laser,Port,COM3" in part.text()
    assert part.text().count("Property,Core,Initialize") == 2
    assert "ConfigGroup" not in part.text()
    assert "Core,Camera" not in part.text()


def test_without_the_laser_its_port_is_free_too(cfg: CfgFile) -> None:
    rest = cfg.without(["Laser"])
    assert rest.devices() == ("Hub", "Camera", "LED", "LEDShutter", "Wheel")
    assert "Laser" not in rest.text()
    assert "COM3" not in rest.text()
    assert "ConfigGroup,System,Startup,Camera,Gain,1" in rest.text()


def test_a_shared_hub_is_named(cfg: CfgFile) -> None:
    assert cfg.shared(["Laser"]) == frozenset()
    assert cfg.shared(["LED", "LEDShutter"]) == {"Hub"}


def test_starting_in_the_dark(cfg: CfgFile) -> None:
    assert "Laser,PowerSetpoint" not in cfg.dark_start(["Laser"]).text()
    assert "Camera,Gain" in cfg.dark_start(["Laser"]).text()


LABELS = st.lists(st.sampled_from("ABCDEFG"), unique=True, min_size=1)


@given(LABELS, st.lists(st.tuples(st.sampled_from("ABCDEFG"), st.sampled_from("ABCDEFG"))), LABELS)
def test_nothing_that_stays_needs_what_went(
    devices: list[str], parents: list[tuple[str, str]], leaving: list[str]
) -> None:
    lines = [f"Device,{d},Lib,{d}dev" for d in devices] + [f"Parent,{a},{b}" for a, b in parents if a != b]
    cfg = CfgFile.parse("\n".join(lines))
    if not cfg.shared(leaving):
        rest = cfg.without(leaving)
        assert not set(rest.devices()) & set(leaving)
        for device in rest.devices():
            assert cfg.needs([device]) <= set(rest.devices())
    assert set(cfg.reaching(leaving).devices()) == cfg.needs(leaving)


def test_text_survives_a_file() -> None:
    with as_file(TEXT) as path:
        assert CfgFile.read(str(path)) == CfgFile.parse(TEXT)
    assert not path.exists()


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no configuration named"):
        CfgFile.read("")
    with pytest.raises(InputError, match=r"no such \.cfg file"):
        CfgFile.read(str(tmp_path / "missing.cfg"))
    with pytest.raises(InputError, match="cannot be read"):
        CfgFile.read(str(tmp_path))
    other = tmp_path / "other.cfg"
    other.write_text("[section]\nkey = value\n")
    with pytest.raises(InputError, match="declares no device"):
        CfgFile.read(str(other))


# -------------------------------------------------------------------- adapters


def test_adapters_are_found_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymmcore_plus import _discovery

    pytest.importorskip("mm_test_adapters", reason="pip install mm-test-adapters")
    assert Path(find_adapters()).is_dir()
    assert find_adapters(find_adapters()) == find_adapters()
    with pytest.raises(InputError, match="no such folder"):
        find_adapters(str(tmp_path / "missing"))
    with pytest.raises(InputError, match="holds no device adapters"):
        find_adapters(str(tmp_path))
    monkeypatch.setattr(_discovery, "discover_mm", lambda: iter(()))
    with pytest.raises(InputError, match="no Micro-Manager device adapters found"):
        find_adapters()


def test_adapters_of_another_interface_name_the_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pymmcore_plus import _discovery

    place = _discovery.DiscoveredMM(tmp_path, device_interface=71, div_compatible=False)
    monkeypatch.setattr(_discovery, "discover_mm", lambda: iter([place]))
    needed = _discovery.PYMMCORE_DIV
    with pytest.raises(InputError, match=f"device interface 71, the installed pymmcore needs {needed}") as caught:
        find_adapters()
    assert "pymmcore==*.71.*" in caught.value.remedy
    assert "from 20221031 and before 20250318 on" in matching_release(71)
    assert matching_release(1) == "a Micro-Manager build with device interface 1"

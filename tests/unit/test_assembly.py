"""Parts are built from the configuration; what the microscope lacks is refused before there is light."""

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeMicroscope

from smartscope import assembly
from smartscope.clock import LiveClock, VirtualClock
from smartscope.config import ExperimentConfig
from smartscope.errors import DeviceError
from smartscope.loading import load
from smartscope.policies.field_of_view import FieldOfViewPolicy

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


def test_capabilities_survive_run_json() -> None:
    capabilities = replace(
        FakeMicroscope(VirtualClock()).capabilities(),
        presets={"Filter": ("GFP",)},
        device_properties={"Camera.Gain": "1"},
    )
    assert assembly.capabilities_from_row(assembly.capabilities_to_row(capabilities)) == capabilities
    unmeasured = replace(capabilities, stage_affine=None)
    assert assembly.capabilities_from_row(assembly.capabilities_to_row(unmeasured)) == unmeasured


def test_policies_are_ranked_named_apart_and_can_be_switched_off() -> None:
    config = load(
        DEMO, ["policies.1={policy: exposure, options: {target_signal_to_noise: 5}}", "policies.2.enabled=false"], {}
    )
    assert [ranked.name for ranked in assembly.ranked_policies(config)] == ["exposure", "exposure#1"]


def test_the_clock_follows_the_configuration() -> None:
    assert isinstance(assembly.clock_of(ExperimentConfig(clock="virtual")), VirtualClock)
    assert isinstance(assembly.clock_of(ExperimentConfig()), LiveClock)


class Unmeasured(FakeMicroscope):
    """Nobody knows how its stage lies."""

    closed = False

    def capabilities(self):  # type: ignore[no-untyped-def]
        return replace(super().capabilities(), stage_affine=None)

    def close(self) -> None:
        Unmeasured.closed = True


def opened(monkeypatch: pytest.MonkeyPatch, microscope: FakeMicroscope, overrides: list[str]) -> None:
    build = assembly.plugins.build
    monkeypatch.setattr(
        assembly.plugins,
        "build",
        lambda group, *a, **k: microscope if group == "microscopes" else build(group, *a, **k),
    )
    assembly.open_microscope(load(DEMO, overrides, {}), VirtualClock(), None, "token")


def test_following_refuses_without_the_measured_affine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "stage_affine" in FieldOfViewPolicy().needs
    assert not FieldOfViewPolicy(mode="roi").needs
    with pytest.raises(DeviceError, match="calibrate stage"):
        opened(monkeypatch, Unmeasured(VirtualClock()), [])
    assert Unmeasured.closed
    opened(monkeypatch, Unmeasured(VirtualClock()), ["arm=shadow"])


def test_a_roi_beyond_the_real_sensor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match=r"reaches to \(100, 100\)"):
        opened(monkeypatch, FakeMicroscope(VirtualClock()), ["start.roi={x: 0, y: 0, width: 100, height: 100}"])

"""Bursts of structured illumination on the simulated microscope, up to what the reconstruction finds in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import useq
from structured_microscope import LAYOUTS, electrons, microscope, opened

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from smartscope.bursts import announced_carriers, burst  # noqa: E402
from smartscope.clock import LiveClock, VirtualClock  # noqa: E402
from smartscope.command import SetLight  # noqa: E402
from smartscope.config import MicroscopeConfig, SlmConfig  # noqa: E402
from smartscope.errors import DeviceError, DeviceTimeout  # noqa: E402
from smartscope.frame import Frame  # noqa: E402
from smartscope.optics.pattern_layout import Layout  # noqa: E402
from smartscope.ports import Clock  # noqa: E402
from smartscope_drivers.simulated.microscope import SimulatedMicroscope  # noqa: E402
from smartscope_drivers.simulated.modulators import SimulatedSlm  # noqa: E402
from smartscope_models.structured_illumination.stack import Reconstructed, StackReconstructor  # noqa: E402
from smartscope_models.structured_illumination.transfer import Optics  # noqa: E402

CLOCKS = pytest.mark.parametrize("clock", [VirtualClock, LiveClock])
STEPPED = pytest.mark.parametrize("stepped_by", ["slm", "grating"])
DEPTHS = {"two beams": [0.9], "three beams": [0.9 * 1.07, 0.9 * 0.825], "hexagonal": [0.6] * 3}


def device(scope: SimulatedMicroscope) -> SimulatedSlm:
    found = scope._core._pydevices.get_device_of_type("SLM", SimulatedSlm)  # type: ignore[attr-defined]
    assert isinstance(found, SimulatedSlm)
    return found


def reconstructed(frames: list[Frame], config: MicroscopeConfig) -> Reconstructed:
    fringes = config.optics.structured_illumination
    assert fringes is not None
    layout, optics = Layout.of(fringes), Optics(1.4, config.optics.emission_nm, config.camera.pixel_size_nm)
    return StackReconstructor(layout, config.sensor[0], optics).run(torch.from_numpy(electrons(frames, config)))


def distance(found: np.ndarray, announced: np.ndarray) -> float:
    """Largest distance of carriers, whose sign is free."""
    apart = np.minimum(np.linalg.norm(found - announced, axis=-1), np.linalg.norm(found + announced, axis=-1))
    return float(apart.max())


@CLOCKS
@STEPPED
def test_every_frame_carries_its_pattern_light_and_exposure(clock: Callable[[], Clock], stepped_by: str) -> None:
    config = microscope() if stepped_by == "slm" else microscope(slm=None)
    with opened(config, clock()) as scope:
        scope.apply(SetLight("blue", 1.0))
        before = scope.settings()
        frames = list(scope.run_plan(burst(config, 5.0, stacks=2), {"blue": 20.0}))
        after, shown = scope.settings(), scope.world.pattern.at(scope.world.clock.now_ns())
        even = scope.world.relative_light(np.zeros((5, 2)), scope.world.clock.now_ns())
    assert [frame.settings.pattern for frame in frames] == [*range(9)] * 2
    assert [frame.number for frame in frames] == [*range(18)]
    assert {frame.settings.lights_mw["blue"] for frame in frames} == {20.0}
    assert {frame.settings.exposure_ms for frame in frames} == {5.0}
    assert not any(frame.mixed for frame in frames)
    assert after == before
    assert after.pattern is None
    assert (even == 1).all()
    assert (shown is None) == (stepped_by == "grating")


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_the_reconstruction_finds_the_announced_fringes(layout: str) -> None:
    config = microscope(layout, size=256)
    with opened(config, VirtualClock(), specimen_options={"area_um": 30.0, "filaments": 60}) as scope:
        found = reconstructed(list(scope.run_plan(burst(config, 5.0), {"blue": 20.0})), config)
    parameters = found.estimate.parameters
    assert found.verdict.state == "ok", found.verdict.why
    assert distance(parameters.carriers, announced_carriers(config, 256)) < 0.05
    assert parameters.modulation == pytest.approx(np.broadcast_to(DEPTHS[layout], parameters.modulation.shape), rel=0.1)
    assert found.verdict.resolution_nm < 0.65 * found.verdict.widefield_resolution_nm


@STEPPED
def test_live_the_hardware_steps_by_itself_and_shows_the_same(stepped_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = microscope(size=256) if stepped_by == "slm" else microscope(size=256, slm=None)
    with opened(config, LiveClock(), specimen_options={"area_um": 30.0, "filaments": 60}) as scope:
        bursts: list[int] = []
        start = scope._camera.start_burst
        monkeypatch.setattr(scope._camera, "start_burst", lambda frames: (bursts.append(frames), start(frames)))
        frames = list(scope.run_plan(burst(config, 5.0), {"blue": 20.0}))
    assert bursts == [9]
    found = reconstructed(frames, config)
    assert distance(found.estimate.parameters.carriers, announced_carriers(config, 256)) < 0.05
    assert found.estimate.parameters.modulation == pytest.approx(np.full((3, 1), 0.9), rel=0.1)


def test_the_same_stack_is_sent_to_the_slm_once() -> None:
    config = microscope(size=64)
    with opened(config, LiveClock()) as scope:
        slm = device(scope)
        for _ in range(2):
            list(scope.run_plan(burst(config, 2.0), {}))
        assert slm.uploads == 1
        list(scope.run_plan(burst(config, 2.0)[::-1], {}))
        assert slm.uploads == 2


def test_events_with_and_without_images_are_not_merged_and_a_shared_image_is_shown() -> None:
    config = microscope(size=64)
    fringes, plain = burst(config, 2.0), useq.MDAEvent(exposure=2.0)
    with opened(config, LiveClock()) as scope:
        slm = device(scope)
        frames = list(scope.run_plan([plain, plain, *fringes[:2], fringes[0], fringes[0]], {}))
        assert slm.uploads == 1
        assert [frame.settings.pattern for frame in frames] == [None, None, 0, 1, 0, 0]
        seen = [scope.world.pattern.at(frame.t_mid_ns) for frame in frames]
        assert seen[0] is seen[1] is None
        list(scope.run_plan([fringes[3]] * 3, {}))
        assert slm.uploads == 1


def test_a_lost_frame_takes_its_pattern_along_and_ends_the_burst_in_the_dark() -> None:
    config = microscope(size=64)
    with opened(config, LiveClock(), faults={"lose_every": 4}) as scope:
        got: list[Frame] = []
        with pytest.raises(DeviceTimeout, match="hardware-triggered frame did not come"):
            got.extend(scope.run_plan(burst(config, 2.0), {"blue": 2.0}))
        assert [frame.settings.pattern for frame in got][:3] == [0, 1, 2]
        assert all(frame.settings.pattern == frame.number for frame in got)
        assert scope.settings().lights_mw == {"blue": 0.0}


@CLOCKS
def test_images_of_another_shape_end_the_plan_in_the_dark(clock: Callable[[], Clock]) -> None:
    config = microscope(size=64)
    other = microscope(size=64, slm=SlmConfig(shape=(256, 512), pixel_size_nm=90.0))
    with opened(config, clock()) as scope:
        with pytest.raises(DeviceError, match=r"an image of \(256, 512\).*allowed: \(512, 512\)"):
            list(scope.run_plan(burst(other, 2.0), {"blue": 5.0}))
        assert scope.settings().lights_mw == {"blue": 0.0}
        assert len(list(scope.run_plan(burst(config, 2.0), {"blue": 5.0}))) == 9


@CLOCKS
def test_a_power_that_the_laser_refuses_ends_the_plan_in_the_dark(clock: Callable[[], Clock]) -> None:
    config = microscope(size=64)
    with opened(config, clock()) as scope:
        scope.apply(SetLight("blue", 1.0))
        with pytest.raises(DeviceError, match="1000"):
            list(scope.run_plan(burst(config, 2.0), {"blue": 1000.0}))
        assert scope.settings().lights_mw == {"blue": 0.0}


def test_a_plan_that_is_given_up_half_way_ends_dark_with_even_light_on_the_slm() -> None:
    config = microscope(size=64)
    with opened(config, VirtualClock()) as scope:
        frames = scope.run_plan(burst(config, 2.0), {"blue": 5.0})
        assert next(iter(frames)).settings.pattern == 0
        frames.close()  # type: ignore[attr-defined]
        assert scope.settings().lights_mw == {"blue": 0.0}
        assert (scope.world.relative_light(np.zeros((1, 2)), scope.world.clock.now_ns()) == 1).all()


def test_one_value_fills_the_slm() -> None:
    config = microscope(size=64)
    with opened(config, VirtualClock(), slm="intensity") as scope:
        events = [useq.MDAEvent(exposure=2.0, slm_image=useq.SLMImage(data=value)) for value in (0, True, 51)]
        seen = []
        for _ in scope.run_plan(events, {}):
            seen.append(float(scope.world.relative_light(np.zeros((1, 2)), scope.world.clock.now_ns())[0]))
        assert seen == pytest.approx([0.0, 1.0, 0.2])

"""How stage and camera lie to each other: found on turned and mirrored cameras, refused where it cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from smartscope.calibration import fit, image_shift, measure_stage_affine
from smartscope.clock import LiveClock, VirtualClock
from smartscope.command import SetExposure, SetLight
from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.errors import DeviceError, DeviceTimeout
from smartscope.ports import Clock, MicroscopeSetup
from smartscope_drivers.simulated.microscope import SimulatedMicroscope

LIGHT = LightConfig(name="laser")
RANDOM = np.random.default_rng(2)
SCENE = scipy.ndimage.gaussian_filter(RANDOM.random((96, 128)) ** 20, 2).astype(np.float32) * 1e3


def lit(clock: Clock, rotation_deg: float, mirrored: bool) -> SimulatedMicroscope:
    config = MicroscopeConfig(sensor=(128, 160), lights=(LIGHT,))
    setup = MicroscopeSetup(config, clock, None, seed=3)
    microscope = SimulatedMicroscope(
        setup, specimen="beads", camera_rotation_deg=rotation_deg, camera_mirrored=mirrored
    )
    microscope.apply(SetExposure(20.0))
    microscope.apply(SetLight("laser", 20.0))
    return microscope


@pytest.mark.parametrize(("rotation_deg", "mirrored"), [(0.0, False), (30.0, True), (-100.0, False)])
def test_finds_a_turned_and_mirrored_camera(rotation_deg: float, mirrored: bool) -> None:
    clock = VirtualClock()
    microscope = lit(clock, rotation_deg, mirrored)
    before = microscope.settings()
    found = measure_stage_affine(microscope, clock, step_um=2.0, rounds=1, average=2)
    np.testing.assert_allclose(found.affine_um_per_px, microscope.world.affine_um_per_px(), atol=0.001)
    assert found.residual_px < 0.1
    assert found.steps == 4
    assert (microscope.settings().x_um, microscope.settings().y_um) == (before.x_um, before.y_um)
    microscope.close()


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.4, -7.25), (-20.5, 12.0)])
def test_shifts_to_a_fraction_of_a_pixel(shift: tuple[float, float]) -> None:
    moved = scipy.ndimage.shift(SCENE, shift[::-1], order=5, mode="constant")
    noise = RANDOM.normal(0, 1, (2, *SCENE.shape)).astype(np.float32)
    assert image_shift(SCENE + noise[0], moved + noise[1]) == pytest.approx(shift, abs=0.1)


def test_images_that_have_nothing_in_common() -> None:
    one, other = RANDOM.normal(0, 1, (2, 64, 64)).astype(np.float32)
    with pytest.raises(DeviceError, match="nothing in common"):
        image_shift(one, other)


def test_steps_that_make_no_sense() -> None:
    moved = np.array([(2.0, 0.0), (-2.0, 0.0), (0.0, 2.0), (0.0, -2.0)])
    straight = moved * 10
    np.testing.assert_allclose(fit(moved, straight).affine_um_per_px, [[-0.1, 0], [0, -0.1]], atol=1e-9)
    for follows_not in (np.zeros((4, 2)), straight * (1, 0), straight * (1, 0.3)):
        with pytest.raises(DeviceError, match="does not follow the stage"):
            fit(moved, follows_not)
    with pytest.raises(DeviceError, match="contradict each other"):
        fit(moved, straight + np.array([(6.0, 0.0), (0.0, 0.0), (0.0, 4.0), (-5.0, 0.0)]))


def test_no_stage_and_no_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    microscope = lit(LiveClock(), 0.0, False)
    monkeypatch.setattr(microscope, "next_frame", lambda _: None)
    with pytest.raises(DeviceTimeout, match="no frame came after the stage had settled"):
        measure_stage_affine(microscope, LiveClock(), step_um=1.0)
    monkeypatch.setattr(microscope, "_capabilities", replace(microscope.capabilities(), has_xy=False))
    with pytest.raises(DeviceError, match="no XY stage"):
        measure_stage_affine(microscope, LiveClock(), step_um=1.0)
    microscope.close()

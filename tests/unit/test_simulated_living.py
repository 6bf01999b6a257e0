"""Living specimens under the simulated microscope: the truth is asked by time, and is what the camera sees."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from living_specimens import MAKERS

from smartscope.clock import VirtualClock
from smartscope.config import CameraCalibration, LightConfig, MicroscopeConfig, OpticsConfig
from smartscope.errors import ConfigurationError, InputError
from smartscope.frame import Roi
from smartscope.ports import LightsSetup
from smartscope.result import EVENT_KINDS
from smartscope.specimens import body_painting, crowd_motion, vesicle_motion, worm_motion
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope_drivers.simulated.lights import SimulatedLights
from smartscope_drivers.simulated.options import WorldOptions
from smartscope_drivers.simulated.truth import WorldEvents
from smartscope_drivers.simulated.world import World

MS = 1_000_000
ROI = Roi(40, 50, 100, 90)
STILL = {"mitochondria": 5, "area_um": 9.0, "carried_um_s": 0.0, "diffusion_um2_s": 0.0, "background_per_um2": 0.0,
         "fissions_per_min": 0.0, "fusions_per_min": 0.0}  # fmt: skip


class Rig:
    """A world on a virtual clock, its light, and a camera without noise to speak of."""

    def __init__(self, specimen: str, specimen_options: dict[str, Any], seed: int = 3, **options: Any) -> None:
        light = LightConfig(name="laser", wavelength_nm=488)
        camera = CameraCalibration(electrons_per_adu=1.0, read_noise_e=0.5, full_well_e=60_000)
        optics = OpticsConfig(illuminated_diameter_um=60)
        self.config = MicroscopeConfig(sensor=(192, 192), camera=camera, optics=optics, lights=(light,))
        self.clock = VirtualClock(99)
        told = WorldOptions(specimen=specimen, specimen_options=specimen_options, **options)
        self.world = World(self.config, self.clock, seed, options=told)
        setup = LightsSetup(self.config.lights, self.config, self.world.token)
        self.lights = SimulatedLights.in_process(setup, self.clock, self.world.faults)

    def at(self, t_ms: float) -> int:
        """Run-clock time of a moment of the world; the clock is moved there."""
        t_ns = self.world.t0_ns + round(t_ms * MS)
        self.clock.advance_to(t_ns)
        return t_ns

    def power(self, power_mw: float, t_ms: float) -> None:
        """Set the laser."""
        self.at(t_ms)
        self.lights.set_power("laser", power_mw)

    def frame(self, t_ms: float, exposure_ms: float = 20.0, number: int = 0, roi: Roi = ROI) -> np.ndarray:
        """Electrons of one exposure."""
        start_ns, end_ns = self.at(t_ms), self.at(t_ms + exposure_ms)
        out = np.zeros((roi.height, roi.width), np.uint16)
        self.world.render(out, roi, start_ns, end_ns, number)
        return out.astype(float) - 100

    def close(self) -> None:
        """Dark, and all let go."""
        self.lights.close()
        self.world.close()


@pytest.fixture
def rig(tmp_path, monkeypatch) -> Iterator[Callable[..., Rig]]:
    """Makes rigs that are closed afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made: list[Rig] = []

    def make(*arguments, **options) -> Rig:
        made.append(Rig(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def lively(name: str) -> dict[str, object]:
    """Options with many events within seconds."""
    return dict(MAKERS[name][1])


@pytest.mark.parametrize(("rotation", "mirrored"), [(0, False), (30, True)])
def test_objects_and_masks_are_where_the_camera_sees_them(rig, rotation: float, mirrored: bool) -> None:
    one = rig("mitochondria", STILL, camera_rotation_deg=rotation, camera_mirrored=mirrored, drift_um_per_s=(0.5, -0.3))
    one.power(5.0, 0)
    image = one.frame(1000)
    middle_ns = one.world.t0_ns + 1010 * MS
    objects, covered = one.world.objects(middle_ns, ROI), one.world.masks(middle_ns, ROI)
    assert covered.shape == image.shape
    for number, x_px, y_px in zip(objects.object_id, objects.x_px, objects.y_px, strict=True):
        rows, lines = np.nonzero(covered == number)
        if len(rows) and rows.min() > 3 and lines.min() > 3 and rows.max() < 86 and lines.max() < 96:
            weight = image[rows, lines]
            assert (weight * lines).sum() / weight.sum() == pytest.approx(x_px, abs=0.5)
            assert (weight * rows).sum() / weight.sum() == pytest.approx(y_px, abs=0.5)
    assert image[covered > 0].mean() > 20 * image[covered == 0].mean()
    np.testing.assert_allclose(objects.size_px, objects.radius_um / 0.1)
    assert objects.phases[0] == "free"


@pytest.mark.parametrize("name", MAKERS)
def test_the_truth_of_a_moment_does_not_depend_on_what_was_asked_or_exposed_before(rig, name: str) -> None:
    busy, idle = rig(name, lively(name)), rig(name, lively(name))
    for one in (busy, idle):
        one.power(3.0, 0)
    for number, t_ms in enumerate(range(0, 3000, 500)):
        busy.frame(t_ms, number=number)
        busy.world.objects(busy.at(t_ms + 30))
    busy.at(8000)
    late = busy.world.objects(busy.world.t0_ns + 8000 * MS)
    early = busy.world.objects(busy.world.t0_ns + 2000 * MS)  # the past is lived through again
    idle.at(8000)
    for t_ms, told in ((2000, early), (8000, late)):
        same = idle.world.objects(idle.world.t0_ns + t_ms * MS)
        for column in ("object_id", "x_um", "y_um", "phase", "remaining"):
            np.testing.assert_array_equal(getattr(told, column), getattr(same, column))
    assert late.remaining.min() < early.remaining.min() < 1


def test_bleaching_is_by_dose_and_darkness_is_free(rig) -> None:
    one = rig("mitochondria", STILL)
    one.power(20.0, 1000)
    one.power(0.0, 3000)
    objects = one.world.objects(one.at(600_000))
    dose = one.world.doses(one.world.t0_ns, one.at(600_000))[488]
    left = np.ones(1)
    GREEN_PROTEIN.bleach(left, np.array([dose]), 488.0)
    np.testing.assert_allclose(objects.remaining, left[0], rtol=1e-6)
    assert left[0] < 0.97


def test_events_tell_of_the_whole_run_in_the_clock_of_the_run(rig) -> None:
    one = rig("vesicles", lively("vesicles"), drift_um_per_s=(0.2, 0.0))
    t0_ns, end_ns = one.world.t0_ns, one.at(20_000)
    told = one.world.events(t0_ns, end_ns, ROI)
    assert isinstance(told, WorldEvents)
    assert len(told) > 5
    assert {EVENT_KINDS[kind] for kind in told.kind} == {"arrest", "flash"}
    assert (told.onset_ns >= t0_ns).all()
    assert (told.onset_ns <= end_ns).all()
    assert (told.end_ns > told.onset_ns).all()
    for onset_ns, number, x_px, y_px in zip(told.onset_ns[:4], told.ids[:4, 0], told.x_px, told.y_px, strict=False):
        objects = one.world.objects(int(onset_ns) + 20 * MS, ROI)
        own = objects.object_id == number
        assert objects.x_px[own][0] == pytest.approx(x_px, abs=0.1)
        assert objects.y_px[own][0] == pytest.approx(y_px, abs=0.1)
    assert len(one.world.events(t0_ns, t0_ns + 1)) == 0
    again = one.world.events(t0_ns, end_ns, ROI)
    np.testing.assert_array_equal(told.ids, again.ids)


def test_a_flash_is_in_the_frames_of_its_onset(rig) -> None:
    options = {"vesicles": 4, "area_um": 8.0, "dockings_per_min": 30.0, "docked_s": 1.0, "fusing_share": 1.0}
    one = rig("vesicles", options)
    one.power(2.0, 0)
    told = one.world.events(one.world.t0_ns, one.at(0) + 30_000 * MS)
    flash = int(np.flatnonzero(told.kind == EVENT_KINDS.index("flash"))[0])
    x_px, y_px = round(told.x_px[flash]), round(told.y_px[flash])
    onset_ms = (told.onset_ns[flash] - one.world.t0_ns) / MS
    whole = Roi(0, 0, 192, 192)
    light = []
    for number, t_ms in enumerate((onset_ms - 60, onset_ms + 40)):
        image = one.frame(t_ms, number=number, roi=whole)
        light.append(image[y_px - 5 : y_px + 6, x_px - 5 : x_px + 6].sum())
    assert light[1] > 2 * light[0]


@pytest.mark.parametrize("ask", ["objects", "masks", "events"])
def test_other_specimens_tell_of_no_objects(rig, ask: str) -> None:
    one = rig("beads", {"beads": 3})
    moments = (one.world.t0_ns, one.world.t0_ns) if ask == "events" else (one.world.t0_ns,)
    with pytest.raises(InputError, match="no objects with a life of their own"):
        getattr(one.world, ask)(*moments)


@pytest.mark.parametrize("name", MAKERS)
def test_wrong_options_are_a_wrong_configuration(rig, name: str) -> None:
    with pytest.raises(ConfigurationError, match="specimen_options"):
        rig(name, {"area_um": -5})


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_compiles_once_the_camera_runs(rig, name: str) -> None:
    kernels = {
        "dividing_nuclei": (crowd_motion.move, body_painting._paint, body_painting._blur_into),
        "mitochondria": (worm_motion.move,),
        "vesicles": (vesicle_motion.move,),
        "migrating_cells": (crowd_motion.move, body_painting._paint, body_painting._blur_into),
    }[name]
    one = rig(name, lively(name))
    compiled = [list(kernel.signatures) for kernel in kernels]
    assert all(compiled)
    one.power(4.0, 0)
    for number in range(4):
        one.frame(5000 * number, number=number)
    assert [list(kernel.signatures) for kernel in kernels] == compiled

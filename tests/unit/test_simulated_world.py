"""The world obeys physics: light delivered makes signal and bleaches, moves take time, the same seed gives the same."""

import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from smartscope.clock import VirtualClock
from smartscope.config import CameraCalibration, LightConfig, MicroscopeConfig, OpticsConfig
from smartscope.errors import ConfigurationError, DeviceError
from smartscope.frame import Roi
from smartscope.optics.blur import _box_rows
from smartscope.optics.camera_noise import _expose
from smartscope.optics.illumination import irradiance_w_per_cm2
from smartscope.optics.psf import add_stamps
from smartscope.ports import LightsSetup
from smartscope.specimens.cell_motion import _crawl, _deform, _transport
from smartscope.specimens.cell_texture import _paint, add_texture
from smartscope.specimens.photophysics import GREEN_PROTEIN
from smartscope_drivers.simulated.lights import SimulatedLights
from smartscope_drivers.simulated.options import WorldOptions
from smartscope_drivers.simulated.world import World

MS = 1_000_000
ROI = Roi(0, 0, 128, 128)
STILL = {"specimen": "beads", "specimen_options": {"beads": 60, "area_um": 12.0, "molecules": 300, "bleaching": False}}
FEW_CELLS = {"specimen": "cells", "specimen_options": {"cells": 6, "area_um": 100.0}}


class Rig:
    """A world on a virtual clock, its lights, and a camera without noise to speak of."""

    def __init__(self, seed: int = 3, sensor: tuple[int, int] = (128, 128), gated: bool = False, **options) -> None:
        light = LightConfig(name="laser", wavelength_nm=488, gated_by_camera=gated)
        camera = CameraCalibration(electrons_per_adu=1.0, read_noise_e=0.5, full_well_e=60_000)
        optics = OpticsConfig(illuminated_diameter_um=40)
        self.config = MicroscopeConfig(sensor=sensor, camera=camera, optics=optics, lights=(light,))
        self.clock = VirtualClock(123)
        self.world = World(self.config, self.clock, seed, options=WorldOptions.model_validate(options))
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

    def frame(self, t_ms: float, exposure_ms: float = 5.0, number: int = 0, roi: Roi = ROI) -> np.ndarray:
        """Counts of one exposure."""
        start_ns = self.at(t_ms)
        end_ns = self.at(t_ms + exposure_ms)
        out = np.zeros((roi.height, roi.width), np.uint16)
        self.world.render(out, roi, start_ns, end_ns, number)
        return out

    def signal(self, *arguments, **options) -> float:
        """Photo-electrons of one exposure, all pixels."""
        return (self.frame(*arguments, **options).astype(float) - 100).sum()

    def close(self) -> None:
        """Dark, and all let go."""
        self.lights.close()
        self.world.close()


@pytest.fixture
def rig(tmp_path, monkeypatch) -> Iterator[Callable[..., Rig]]:
    """Makes rigs that are closed afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made: list[Rig] = []

    def make(**options) -> Rig:
        made.append(Rig(**options))
        return made[-1]

    yield make
    for one in made:
        one.close()


# ---------------------------------------------------------------- light makes signal


def test_signal_follows_power_and_exposure(rig) -> None:
    still = rig(**STILL)
    dark = abs(still.signal(0))
    still.power(2.0, 10)
    once = still.signal(10, 5.0)
    assert dark < 0.01 * once
    assert still.signal(20, 10.0) / once == pytest.approx(2, rel=0.02)
    still.power(8.0, 40)
    assert still.signal(40, 5.0) / once == pytest.approx(4, rel=0.02)


def test_signal_is_what_the_photons_make_it(rig) -> None:
    """Without background: molecules x absorbed x yield x collected x detected, all by hand."""
    options = {"specimen": "beads", "specimen_options": {"beads": 1, "molecules": 2e3, "background_per_um2": 0}}
    one = rig(**options)
    one.power(2.0, 0)
    dose = irradiance_w_per_cm2(2.0, 0.5, 40) * 0.005
    collected = (1 - (1 - (1.4 / 1.515) ** 2) ** 0.5) / 2
    expected = 2e3 * GREEN_PROTEIN.emitted(dose, 488) * collected * 0.5 * 0.82
    assert one.signal(0, 5.0) == pytest.approx(expected, rel=0.02)


def test_light_that_comes_for_half_the_exposure_makes_half_the_signal(rig) -> None:
    still = rig(**STILL)
    still.power(4.0, 0)
    whole = still.signal(0, 10.0)
    still.power(0.0, 15)
    assert still.signal(10, 10.0) / whole == pytest.approx(0.5, rel=0.02)


def test_half_an_slm_pattern_gives_half(rig) -> None:
    options = {"specimen": "beads", "specimen_options": {"beads": 1, "molecules": 1e-9, "background_per_um2": 9e4}}
    flat = rig(**options)
    flat.power(2.0, 0)
    whole = flat.frame(0).astype(float) - 100
    half = np.ones((128, 128), np.float32)
    half[:, 64:] = 0
    flat.world.pattern.set(flat.at(8), half)
    shown = flat.frame(10).astype(float) - 100
    assert shown.sum() / whole.sum() == pytest.approx(0.5, rel=0.01)
    assert abs(shown[:, 64:].mean()) < 0.01 * whole.mean()
    flat.world.pattern.set(flat.at(18), half[::64, ::64])  # coarser patterns are stretched
    np.testing.assert_allclose(flat.frame(20).mean(axis=0), shown.mean(axis=0) + 100, rtol=0.05)


def test_shutter_and_filter_stop_the_signal(rig) -> None:
    still = rig(**STILL)
    still.power(4.0, 0)
    whole = still.signal(0)
    still.world.filter_position.set(still.at(9), 1)  # ND10
    assert still.signal(10) / whole == pytest.approx(0.1, rel=0.05)
    still.world.filter_position.set(still.at(19), 0)
    still.world.shutter_open.set(still.at(22.5), False)
    assert still.signal(20) / whole == pytest.approx(0.5, rel=0.03)
    assert abs(still.signal(30)) < 0.01 * whole


def test_only_the_disc_is_lit(rig) -> None:
    wide = rig(sensor=(512, 512), **STILL)  # 51 um across, 40 um lit
    wide.power(20.0, 0)
    image = wide.frame(0, roi=Roi(0, 0, 512, 512)).astype(float) - 100
    from_axis = np.hypot(*(np.indices(image.shape) - 255.5))
    assert abs(image[from_axis > 201].mean()) < 0.05
    assert image[(from_axis < 199) & (from_axis > 150)].mean() > 3


# ---------------------------------------------------------------- light bleaches


def test_bleaching_follows_the_dose_also_between_exposures(rig) -> None:
    exposed, waiting = rig(**FEW_CELLS), rig(**FEW_CELLS)
    for one in (exposed, waiting):
        one.power(20.0, 0)
    for number in range(100):
        exposed.frame(10 * number, number=number)
    one, two = (r.world.truth(r.at(1000)).specimen for r in (exposed, waiting))
    dose = irradiance_w_per_cm2(20, 0.5, 40) * 1.0
    expected = np.exp(-GREEN_PROTEIN.bleaching_yield * GREEN_PROTEIN.absorbed(dose, 488))
    assert one.cells_remaining[0] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(one.cells_remaining, two.cells_remaining)
    np.testing.assert_array_equal(one.spots_remaining, two.spots_remaining)


def test_a_light_gated_by_the_camera_bleaches_during_exposures_only(rig) -> None:
    gated = rig(gated=True, **FEW_CELLS)
    gated.power(20.0, 0)
    for number in range(50):
        gated.frame(20 * number, exposure_ms=5.0, number=number)
    left = gated.world.truth(gated.at(1000)).specimen.cells_remaining[0]
    dose = irradiance_w_per_cm2(20, 0.5, 40) * 50 * 0.005
    assert left == pytest.approx(np.exp(-GREEN_PROTEIN.bleaching_yield * GREEN_PROTEIN.absorbed(dose, 488)), rel=1e-6)


def test_bleaching_spares_what_is_not_lit(rig) -> None:
    away = rig(**FEW_CELLS)
    away.world.stage.move_to((300.0, 0.0), away.at(0))
    away.power(20.0, 200)
    assert (away.world.truth(away.at(1000)).specimen.cells_remaining == 1).all()
    dark_side = rig(**FEW_CELLS)
    pattern = np.ones((2, 2), np.float32)
    pattern[:, 1] = 0
    dark_side.world.pattern.set(dark_side.at(0), pattern)
    dark_side.power(20.0, 0)
    truth = dark_side.world.truth(dark_side.at(300)).specimen
    assert (truth.spots_remaining[truth.spots_um[:, 0] > 2] == 1).all()
    assert truth.spots_remaining.min() < 1


# ---------------------------------------------------------------- seeds and time


def test_same_seed_same_pixels(rig) -> None:
    pictures = []
    for seed in (3, 3, 4):
        one = rig(seed=seed, **FEW_CELLS)
        one.power(4.0, 0)
        pictures.append(np.stack([one.frame(10 * number, number=number) for number in range(12)]))
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()


def test_the_state_does_not_depend_on_when_frames_are_taken(rig) -> None:
    often, once = rig(**FEW_CELLS), rig(**FEW_CELLS)
    for one in (often, once):
        one.power(20.0, 0)
    for number in range(40):
        often.frame(7.3 * number, exposure_ms=3.1, number=number)
    np.testing.assert_array_equal(often.frame(500, number=99), once.frame(500, number=99))


def test_truth_of_any_moment(rig) -> None:
    one = rig(**FEW_CELLS)
    one.power(20.0, 0)
    places = {t_ms: one.world.truth(one.world.t0_ns + t_ms * MS) for t_ms in (100, 300, 200)}
    again = one.world.truth(one.world.t0_ns + 300 * MS)
    np.testing.assert_array_equal(places[300].specimen.spots_um, again.specimen.spots_um)
    left = [places[t_ms].specimen.cells_remaining[0] for t_ms in (100, 200, 300)]
    assert left[0] > left[1] > left[2]


def test_of_overlapping_exposures_the_second_shows_no_earlier_moment(rig) -> None:
    one, other = rig(**FEW_CELLS), rig(**FEW_CELLS)
    for each in (one, other):
        each.power(4.0, 0)
        each.frame(100, exposure_ms=4.0)
    late = one.frame(101, exposure_ms=0.1, number=1)
    np.testing.assert_array_equal(late, other.frame(101.95, exposure_ms=0.1, number=1))


def test_nothing_compiles_once_the_camera_runs(rig) -> None:
    kernels = (_expose, add_stamps, add_texture, _paint, _box_rows, _crawl, _deform, _transport)
    one = rig(**FEW_CELLS)
    compiled = [list(kernel.signatures) for kernel in kernels]
    assert all(compiled)
    one.power(4.0, 0)
    one.frame(0)
    one.world.focus.move_to((2.0,), one.at(10))
    one.frame(700, number=1)
    assert [list(kernel.signatures) for kernel in kernels] == compiled


# ---------------------------------------------------------------- places


@pytest.mark.parametrize(("rotation", "mirrored"), [(0, False), (90, False), (30, True)])
def test_truth_in_pixels_is_where_the_light_is(rig, rotation: float, mirrored: bool) -> None:
    options = {"specimen": "beads", "specimen_options": {"beads": 1, "molecules": 3e3, "background_per_um2": 0}}
    one = rig(camera_rotation_deg=rotation, camera_mirrored=mirrored, **options)
    one.world.stage.move_to((1.5, -0.8), one.at(0))
    one.power(5.0, 100)
    roi = Roi(x=20, y=10, width=90, height=100)
    image = one.frame(100, roi=roi).astype(float) - 100
    image[image < 20] = 0
    rows, columns = np.indices(image.shape)
    seen = (image * columns).sum() / image.sum(), (image * rows).sum() / image.sum()
    truth = one.world.truth(one.at(102.5))
    assert truth.to_pixels(truth.specimen.spots_um, roi)[0] == pytest.approx(seen, abs=0.05)
    # the affine brings it to the centre: what a calibration finds, and what stage-follow uses
    (a, b), (c, d) = one.world.affine_um_per_px()
    dx, dy = seen[0] + 20 - 63.5, seen[1] + 10 - 63.5
    assert (1.5 + a * dx + b * dy, -0.8 + c * dx + d * dy) == pytest.approx((0, 0), abs=0.01)


def test_a_frame_during_a_move_shows_the_middle_of_the_way(rig) -> None:
    options = {"specimen": "beads", "specimen_options": {"beads": 1, "molecules": 3e3, "background_per_um2": 0}}
    one = rig(stage_um_per_s=500, **options)
    one.power(5.0, 0)
    one.world.stage.move_to((5.0, 0.0), one.at(0))  # 10 ms
    image = one.frame(2.5, 5.0)
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert column == pytest.approx(63.5 - 25, abs=1)
    assert row == pytest.approx(63.5, abs=1)


def test_focus_drifts_and_can_be_followed(rig) -> None:
    one = rig(focus_drift_um_per_min=60.0, focal_plane_um=1.0, **STILL)
    one.power(4.0, 0)
    one.world.focus.move_to((1.0 + 0.5,), one.at(0))
    assert one.world.focal_plane_um(one.world.t0_ns + 500 * MS) == pytest.approx(1.5)
    sharp = one.frame(497.5, number=1).max()
    assert one.frame(2000, number=2).max() < 0.5 * sharp


# ---------------------------------------------------------------- mistakes


def test_wrong_specimen_options_are_named(rig) -> None:
    with pytest.raises(ConfigurationError, match=r"specimen_options\.beeds = 3: no such key"):
        rig(specimen="beads", specimen_options={"beeds": 3})


def test_unknown_light(rig) -> None:
    with pytest.raises(DeviceError, match="no light 'uv'"):
        rig(**STILL).world.power_mw("uv")


def test_the_bench_of_a_given_token_outlives_the_world(rig, tmp_path) -> None:
    one = rig(**STILL)
    mine = World(one.config, one.clock, token="mine")
    own = World(one.config, one.clock)
    assert {path.name for path in tmp_path.glob("*.bin")} >= {f"smartscope-lights-{w.token}.bin" for w in (mine, own)}
    mine.close()
    own.close()
    left = {path.name for path in tmp_path.glob("*.bin")}
    assert "smartscope-lights-mine.bin" in left
    assert f"smartscope-lights-{own.token}.bin" not in left

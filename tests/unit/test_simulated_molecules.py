"""A world of single molecules: the truth is what the camera saw, whenever frames were taken, and photons add up."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from smartscope.clock import VirtualClock
from smartscope.config import CameraCalibration, LightConfig, MicroscopeConfig, OpticsConfig, PointSpreadConfig
from smartscope.errors import ConfigurationError, InputError
from smartscope.frame import Roi
from smartscope.optics.illumination import irradiance_w_per_cm2
from smartscope.optics.psf import add_elliptical_stamps
from smartscope.ports import LightsSetup
from smartscope.specimens.haze import _add_field
from smartscope.specimens.photophysics import FAR_RED_DYE
from smartscope.specimens.switching import _live, _wake
from smartscope_drivers.simulated.lights import SimulatedLights
from smartscope_drivers.simulated.options import WorldOptions
from smartscope_drivers.simulated.world import Emitters, World

MS = 1_000_000
ROI = Roi(0, 0, 96, 96)
FEW = {"structure": "uniform", "area_um": 9.0, "molecules": 20_000}
CLEAR = {**FEW, "haze": {"per_um2": 0.0}}


class Rig:
    """A world of single molecules on a virtual clock, with its two lights."""

    def __init__(self, specimen_options: dict[str, Any] = FEW, seed: int = 3, gated: bool = False, **options) -> None:
        lights = tuple(
            LightConfig(name=name, wavelength_nm=nm, gated_by_camera=gated) for name, nm in (("red", 640), ("uv", 405))
        )
        point_spread = PointSpreadConfig(sigma_px=1.3)
        self.config = MicroscopeConfig(
            sensor=(96, 96),
            camera=CameraCalibration(electrons_per_adu=1.0, read_noise_e=0.5),
            optics=OpticsConfig(emission_nm=670, illuminated_diameter_um=20, point_spread=point_spread),
            lights=lights,
        )
        self.clock = VirtualClock(77)
        told = WorldOptions(specimen="blinking", specimen_options=specimen_options, **options)
        self.world = World(self.config, self.clock, seed, options=told)
        setup = LightsSetup(lights, self.config, self.world.token)
        self.lights = SimulatedLights.in_process(setup, self.clock, self.world.faults)

    def at(self, t_ms: float) -> int:
        """Run-clock time of a moment of the world; the clock is moved there."""
        t_ns = self.world.t0_ns + round(t_ms * MS)
        self.clock.advance_to(t_ns)
        return t_ns

    def power(self, red_mw: float, uv_mw: float, t_ms: float = 0) -> None:
        """Set both lights."""
        self.at(t_ms)
        self.lights.set_power("red", red_mw)
        self.lights.set_power("uv", uv_mw)

    def frame(self, t_ms: float, exposure_ms: float = 20.0, number: int = 0, roi: Roi = ROI) -> np.ndarray:
        """Electrons of one exposure."""
        start_ns, end_ns = self.at(t_ms), self.at(t_ms + exposure_ms)
        out = np.zeros((roi.height, roi.width), np.uint16)
        self.world.render(out, roi, start_ns, end_ns, number)
        return out.astype(float) - 100

    def emitters(self, t_ms: float, exposure_ms: float = 20.0, roi: Roi = ROI) -> Emitters:
        """Who shone in it."""
        t0_ns = self.world.t0_ns
        return self.world.emitters(t0_ns + round(t_ms * MS), t0_ns + round((t_ms + exposure_ms) * MS), roi)

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


def inside(found: Emitters, margin_px: float) -> np.ndarray:
    """Those well within the frame."""
    x, y = found.x_px, found.y_px
    return (x > margin_px) & (x < 95 - margin_px) & (y > margin_px) & (y < 95 - margin_px)


# ---------------------------------------------------------------- truth and pictures


def test_the_camera_collects_the_photons_of_the_truth(rig) -> None:
    one = rig(CLEAR)
    one.power(5.0, 0.5)
    collected = shone = 0.0
    for number in range(40):
        collected += one.frame(20 * number, number=number).sum()
        found = one.emitters(20 * number)
        shone += 0.82 * found.photons[inside(found, 0)].sum()
    assert shone > 1e5
    assert collected == pytest.approx(shone, rel=0.02)


@pytest.mark.parametrize(("rotation", "mirrored"), [(0, False), (30, True)])
def test_the_truth_is_where_the_light_is_although_all_drifts(rig, rotation: float, mirrored: bool) -> None:
    one = rig(CLEAR, drift_um_per_s=(0.3, -0.2), camera_rotation_deg=rotation, camera_mirrored=mirrored)
    one.power(5.0, 0.02)
    roi, errors = Roi(8, 12, 80, 70), []
    for number in range(60):
        image, found = one.frame(20 * number, number=number, roi=roi), one.emitters(20 * number, roi=roi)
        for x, y, photons in zip(found.x_px, found.y_px, found.photons, strict=True):
            others = np.hypot(found.x_px - x, found.y_px - y)
            if photons < 800 or not (8 < x < 71 and 8 < y < 61) or (others < 14).sum() > 1:
                continue
            row, column = round(y), round(x)
            spot = image[row - 4 : row + 5, column - 4 : column + 5]
            rows, columns = np.indices(spot.shape)
            errors.append([(spot * columns).sum() / spot.sum() + column - 4 - x,
                           (spot * rows).sum() / spot.sum() + row - 4 - y])  # fmt: skip
    assert len(errors) > 10
    assert np.abs(np.mean(errors, axis=0)).max() < 0.1
    assert np.abs(errors).max() < 0.6


def test_truth_of_a_moment_and_of_an_exposure_agree(rig) -> None:
    one = rig()
    one.power(5.0, 0.5)
    one.at(1000)
    during = {number: one.emitters(20 * number).molecule for number in range(10, 15)}
    for number, shone in during.items():
        on = one.world.truth(one.world.t0_ns + (20 * number + 7) * MS).specimen.spots_on  # goes back as well
        assert set(on) <= set(shone)
    assert len(during[14]) > 5


def test_light_that_comes_for_half_the_exposure(rig) -> None:
    lasting = {**CLEAR, "switching": {"on_time_ms": 1e9, "spontaneous_per_s": 0}}
    one = rig(lasting)
    one.power(0.0, 20.0)
    one.power(5.0, 0.0, 100)
    one.frame(100)
    one.power(0.0, 0.0, 130)
    one.frame(120)
    whole, half = one.emitters(100), one.emitters(120)
    np.testing.assert_array_equal(whole.molecule, half.molecule)
    np.testing.assert_allclose(half.photons, whole.photons / 2, rtol=1e-6)
    emitted = FAR_RED_DYE.emitted(irradiance_w_per_cm2(5.0, 0.5, 20), 640)
    assert whole.photons.max() < 0.02 * emitted  # saturated, and only a part is collected
    assert len(one.emitters(140).molecule) == 0


def test_light_gated_by_the_camera_comes_with_its_exposures(rig) -> None:
    gated, always = rig(gated=True), rig()
    for each in (gated, always):
        each.power(5.0, 1.0)
        for number in range(10):
            each.frame(100 * number, 10.0, number)
    gone = [1 - each.world.truth(each.at(1000)).specimen.spots_remaining.mean() for each in (gated, always)]
    assert 0 < gone[0] < 0.2 * gone[1]


def test_the_haze_is_behind_them(rig) -> None:
    one = rig({**FEW, "molecules": 1, "haze": {"per_um2": 1.0, "contrast": 0.0}})
    one.power(5.0, 0.0)
    electrons = FAR_RED_DYE.emitted(irradiance_w_per_cm2(5.0, 0.5, 20) * 0.02, 640) * 0.01
    electrons *= one.world.view(one.world.t0_ns, ROI).detected_fraction
    assert one.frame(0).mean() == pytest.approx(electrons, rel=0.02)


# ---------------------------------------------------------------- seeds and time


def test_same_seed_same_movie(rig) -> None:
    movies = []
    for seed in (3, 3, 4):
        one = rig(seed=seed)
        one.power(5.0, 0.5)
        movies.append(np.stack([one.frame(20 * number, number=number) for number in range(10)]))
    np.testing.assert_array_equal(movies[0], movies[1])
    assert (movies[0] != movies[2]).mean() > 0.5


@pytest.mark.parametrize("drift_um_per_s", [(0.0, 0.0), (5.0, 0.0)])
def test_molecules_do_not_mind_when_frames_are_taken(rig, drift_um_per_s: tuple[float, float]) -> None:
    often, once = rig(drift_um_per_s=drift_um_per_s), rig(drift_um_per_s=drift_um_per_s)
    for one in (often, once):
        one.power(5.0, 0.5)
    for number in range(60):
        often.frame(13.7 * number, 3.1, number)
    for one in (often, once):
        one.power(5.0, 1.0, 850)
    for number in range(20):
        often.frame(860.1 + 6.3 * number, 2.2, number)
    np.testing.assert_array_equal(often.frame(1000, number=99), once.frame(1000, number=99))
    a, b = often.emitters(1000), once.emitters(1000)
    np.testing.assert_array_equal(a.molecule, b.molecule)
    np.testing.assert_allclose(a.photons, b.photons, rtol=1e-8)


def test_of_overlapping_exposures_the_second_gets_the_light_that_the_first_left(rig) -> None:
    one = rig(CLEAR)
    one.power(5.0, 1.0)
    for number in range(20):
        one.frame(20 * number, number=number)
    assert one.frame(400, 20.0, 20).sum() > 2000
    assert abs(one.frame(405, 10.0, 21).sum()) < 500


def test_nothing_compiles_once_the_camera_runs(rig) -> None:
    kernels = (_wake, _live, _add_field, add_elliptical_stamps)
    one = rig()
    compiled = [list(kernel.signatures) for kernel in kernels]
    assert all(compiled)
    one.power(5.0, 1.0)
    one.frame(0)
    one.frame(33)
    one.emitters(10)
    assert [list(kernel.signatures) for kernel in kernels] == compiled


# ---------------------------------------------------------------- mistakes


def test_other_specimens_have_no_single_molecules(rig) -> None:
    one = rig()
    beads = World(one.config, one.clock, options=WorldOptions(specimen="beads"))
    try:
        with pytest.raises(InputError, match="'beads' has no single molecules"):
            beads.emitters(beads.t0_ns, beads.t0_ns + MS)
    finally:
        beads.close()


def test_wrong_options_are_named(rig) -> None:
    with pytest.raises(ConfigurationError, match=r"specimen_options\.switching\.on_time_ms"):
        rig({"switching": {"on_time_ms": -1}})

"""Single molecules in pictures: labels are where the structure is, light is kept, haze bleaches, noise is as told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from smartscope.config import CameraCalibration, PointSpreadConfig
from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.optics.camera_noise import CameraNoise
from smartscope.optics.point_spread.astigmatic import Astigmatism
from smartscope.optics.point_spread.gaussian import gaussian_spots
from smartscope.optics.point_spread.spline import SplinePointSpread
from smartscope.optics.point_spread.spline_file import save_spline
from smartscope.optics.psf import depth_um, sigma_um
from smartscope.specimens.blinking import Blinking
from smartscope.specimens.haze import HazeOptions
from smartscope.specimens.labelling import RING_UM, LabellingOptions, placed
from smartscope.specimens.photophysics import FAR_RED_DYE
from smartscope.specimens.protocol import Light, View

RED = 650.0
DARK = {"haze": {"per_um2": 0}}
VIEW = View(
    stage_um=(0.0, 0.0),
    defocus_um=0.0,
    affine_um_per_px=((0.1, 0.0), (0.0, 0.1)),
    sensor_shape=(64, 64),
    roi=Roi(0, 0, 64, 64),
    sigma_um=sigma_um(670, 1.45),
    depth_um=depth_um(670, 1.45, 1.515),
    detected_fraction=0.14,
)


def full(places: np.ndarray) -> np.ndarray:
    return np.ones(len(places))


def glowing(seed: int = 1, seconds: float = 0.02, **options: Any) -> Blinking:
    """A specimen whose molecules were all switched on before an exposure under red light."""
    made = Blinking(seed, **{"area_um": 5.0, "molecules": 40, "structure": "uniform", **DARK, **options})
    made.live(1.0, {405.0: 1e5}, full)
    made.begin_exposure()
    made.live(1.0 + seconds, {RED: 500.0}, full)
    return made


def picture(specimen: Blinking, view: View = VIEW, dose: float = 10.0, light: Light | None = None) -> np.ndarray:
    expected = np.zeros((view.roi.height, view.roi.width), np.float32)
    specimen.render(expected, view, {RED: dose}, *([light] if light else []))
    return expected


def hazy(**haze: Any) -> Blinking:
    """Haze alone: nothing is ever switched on."""
    return Blinking(1, molecules=1, area_um=20.0, switching={"spontaneous_per_s": 0}, haze=haze)


def moments(image: np.ndarray) -> tuple[float, float]:
    """Variances along x and y, pixels squared, without that of a pixel."""
    weights = image / image.sum()
    rows, columns = np.indices(image.shape)
    means = (weights * columns).sum(), (weights * rows).sum()
    return (weights * (columns - means[0]) ** 2).sum() - 1 / 12, (weights * (rows - means[1]) ** 2).sum() - 1 / 12


# ---------------------------------------------------------------- molecules in the picture


def test_every_photon_that_is_collected_arrives() -> None:
    one = glowing()
    glow = one.glow()
    assert len(glow.molecule) > 30
    assert picture(one).sum() == pytest.approx(glow.photons.sum() * 0.14, rel=1e-4)


def test_molecules_are_where_the_truth_says() -> None:
    one = glowing(molecules=1)
    glow = one.glow()
    np.testing.assert_array_equal(glow.places_um, one.ground_truth().spots_um[glow.molecule])
    image = picture(one)
    rows, columns = np.indices(image.shape)
    seen = [(image * columns).sum() / image.sum(), (image * rows).sum() / image.sum()]
    np.testing.assert_allclose(VIEW.to_pixels(glow.places_um)[0], seen, atol=1e-3)


def test_the_truth_knows_who_is_on_and_who_is_bleached() -> None:
    one = glowing(molecules=400)
    truth = one.ground_truth()
    assert set(truth.spots_on) <= set(one.glow().molecule)
    assert 0 < len(truth.spots_on) < 400
    assert set(truth.spots_remaining[truth.spots_on]) == {1.0}
    one.live(30.0, {RED: 1000.0, 405.0: 1e5}, full)
    assert one.ground_truth().spots_remaining.sum() < 5


def test_many_glow_for_a_part_of_an_exposure_only() -> None:
    photons = glowing(molecules=3000, switching={"brightness_spread": 0}).glow().photons
    share = photons / photons.max()
    assert (share > 0.999).mean() == pytest.approx(np.exp(-0.02 / 0.06), abs=0.05)
    assert (share < 0.5).mean() == pytest.approx(1 - np.exp(-0.01 / 0.06), abs=0.05)


def test_light_where_a_molecule_is_decides_over_it() -> None:
    half = Blinking(1, molecules=2000, area_um=5.0, structure="uniform", **DARK)

    def right(places: np.ndarray) -> np.ndarray:
        return (places[:, 0] > 0).astype(float)

    half.live(0.05, {RED: 500.0, 405.0: 5000.0}, right)
    lit = half.glow().places_um[:, 0] > 0
    assert lit.all()
    assert len(lit) > 100


# ---------------------------------------------------------------- point spread


@pytest.mark.parametrize(("sigma_px", "expected"), [(None, 0.21 * 6.7 / 1.45), (1.3, 1.3)])
def test_spots_are_as_wide_as_configured(sigma_px: float | None, expected: float) -> None:
    view = replace(VIEW, point_spread=PointSpreadConfig(sigma_px=sigma_px))
    np.testing.assert_allclose(moments(picture(glowing(molecules=1), view)), expected**2, rtol=2e-3)


def test_round_spots_widen_out_of_focus_and_keep_their_light() -> None:
    one = glowing(molecules=1)
    sharp, wide = picture(one), picture(one, replace(VIEW, defocus_um=VIEW.depth_um))
    np.testing.assert_allclose(moments(wide), 2 * np.array(moments(sharp)), rtol=5e-3)
    assert wide.sum() == pytest.approx(sharp.sum(), rel=1e-3)


@pytest.mark.parametrize("z_nm", [-400.0, 0.0, 250.0])
def test_astigmatic_spots_tell_their_height(z_nm: float) -> None:
    told = PointSpreadConfig(model="astigmatic", sigma_px=1.2, focal_offset_nm=250, focal_depth_nm=400)
    view = replace(VIEW, point_spread=told, defocus_um=-z_nm * 1e-3)  # the molecule lies in the specimen's plane
    below, above = (z_nm - 250) / 400, (z_nm + 250) / 400
    expected = 1.44 * (1 + below**2), 1.44 * (1 + above**2)
    np.testing.assert_allclose(moments(picture(glowing(molecules=1, area_um=1.0), view)), expected, rtol=5e-3)


def test_a_measured_spline_is_drawn_as_what_it_was_measured_on(tmp_path) -> None:
    told = PointSpreadConfig(model="astigmatic", sigma_px=1.2, focal_offset_nm=250, focal_depth_nm=400)
    heights = np.linspace(-600, 600, 25)
    widths = np.transpose(Astigmatism(1.2, 250, 400).widths_px(heights))
    samples = [gaussian_spots(12.0, 12.0, *width, (25, 25)).values[0] for width in widths]
    spline = SplinePointSpread.through(samples, low_nm=-600, step_nm=50, pixel_size_nm=100)
    save_spline(tmp_path / "psf.npz", spline)
    measured = PointSpreadConfig(model="spline", file=str(tmp_path / "psf.npz"))
    one = glowing(molecules=30, height_um=0.8, area_um=6.5)  # some lie at the rim
    direct, drawn = (picture(one, replace(VIEW, point_spread=psf)) for psf in (told, measured))
    np.testing.assert_allclose(drawn, direct, atol=6e-3 * direct.max())
    assert drawn.sum() == pytest.approx(direct.sum(), rel=2e-3)
    away = picture(one, replace(VIEW, point_spread=measured, stage_um=(50.0, 0.0)))
    assert (away == 0).all()


def test_a_spline_that_cannot_be_read_is_named() -> None:
    missing = replace(VIEW, point_spread=PointSpreadConfig(model="spline", file="nowhere.npz"))
    with pytest.raises(InputError, match=r"nowhere\.npz"):
        picture(glowing(), missing)


# ---------------------------------------------------------------- haze


def test_haze_has_the_mean_and_the_contrast_asked_for() -> None:
    wide = replace(VIEW, sensor_shape=(200, 200), roi=Roi(0, 0, 200, 200))
    image = picture(hazy(per_um2=2.0, contrast=0.3), wide).astype(float)
    electrons = 2.0 * 0.01 * FAR_RED_DYE.emitted(10.0, RED) * 0.14
    assert image.mean() == pytest.approx(electrons, rel=0.02)
    assert image.std() / image.mean() == pytest.approx(0.3, rel=0.1)
    assert np.abs(np.diff(image, axis=0)).max() < 0.2 * image.mean()  # nothing as fine as a molecule


def test_an_even_haze_is_even() -> None:
    image = picture(hazy(contrast=0))
    np.testing.assert_allclose(image, image[0, 0], rtol=1e-5)


def test_haze_stays_with_the_specimen_and_beyond_it_goes_on() -> None:
    one = hazy(contrast=0.5)
    here, there = picture(one), picture(one, replace(VIEW, stage_um=(0.5, -0.3)))
    np.testing.assert_allclose(there[4:60, :-8], here[1:57, 5:-3], rtol=1e-4)
    far = picture(one, replace(VIEW, stage_um=(500.0, 500.0)))
    np.testing.assert_allclose(far, far[0, 0])


def test_a_part_of_the_haze_bleaches_where_light_is() -> None:
    one = hazy(contrast=0.3, bleaching_share=0.6, half_dose_j_per_cm2=1000.0)
    fresh = picture(one)

    def right(places: np.ndarray) -> np.ndarray:
        return (places[:, 0] > 0).astype(float)

    one.live(1.0, {RED: 1000.0}, right)
    left = picture(one) / fresh
    np.testing.assert_allclose(left[:, 36:], 1 - 0.6 * 0.5, rtol=1e-3)
    np.testing.assert_allclose(left[:, :28], 1, rtol=1e-3)
    one.live(100.0, {RED: 1000.0}, full)
    np.testing.assert_allclose(picture(one) / fresh, 0.4, rtol=1e-3)


def test_fringes_do_not_reach_the_haze_but_its_own_light_does() -> None:
    one, haze = hazy(), np.full((64, 64), 0.25, np.float32)
    np.testing.assert_allclose(picture(one, light=Light(full, None, haze)), 0.25 * picture(one), rtol=1e-5)


# ---------------------------------------------------------------- the camera on it


@pytest.mark.parametrize("em_gain", [1.0, 200.0])
def test_the_noise_of_every_pixel_is_its_own(em_gain: float, tmp_path) -> None:
    """Transfer curve: variance against mean has the slope of the gain and starts at each pixel's read variance."""
    shape, frames, rng = (64, 64), 600, np.random.default_rng(1)
    variance_e2 = 2.0 * rng.lognormal(0, 0.7, shape) * em_gain**2
    gain, offset = 0.5 * em_gain * rng.normal(1, 0.05, shape), rng.normal(100, 3, shape)
    paths = {"read_variance_map": variance_e2, "gain_map": gain, "offset_map": offset}
    for name, values in paths.items():
        np.save(tmp_path / f"{name}.npy", values)
    camera = CameraCalibration(em_gain=em_gain, **{name: str(tmp_path / f"{name}.npy") for name in paths})
    expected = picture(glowing(molecules=60, haze={"per_um2": 1.0}))
    noise, out = CameraNoise(camera, shape, 3), np.zeros((frames, *shape), np.uint16)
    for frame in range(frames):
        noise.expose(expected, out[frame], Roi(0, 0, 64, 64), frame)
    electrons = (out - offset) * gain / em_gain
    excess = 2 if em_gain > 1 else 1
    ideal = excess * expected + variance_e2 / em_gain**2 + (gain / em_gain) ** 2 / 12
    assert expected.max() > 20 * np.median(expected)
    pull = (electrons.mean(axis=0) - expected) / np.sqrt(ideal / frames)
    assert abs(pull.mean()) < 5 / 64
    assert pull.std() == pytest.approx(1, rel=0.06)
    ratio = electrons.var(axis=0, ddof=1) / ideal
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    for extreme in (expected, variance_e2, -variance_e2, gain):
        assert ratio[extreme > np.percentile(extreme, 95)].mean() == pytest.approx(1, abs=0.03)


# ---------------------------------------------------------------- labelled structures


def labels(**options: Any) -> np.ndarray:
    return placed(LabellingOptions.model_validate({"molecules": 4000, **options}), np.random.default_rng(2))


def test_rings_have_eight_corners_on_two_sheets() -> None:
    one = labels(structure="rings", rings=1, label_nm=0, labelled=1, height_um=1e-9)
    centre = one.mean(axis=0)
    np.testing.assert_allclose(np.hypot(*(one - centre)[:, :2].T), RING_UM / 2, rtol=0.05)
    sites = np.unique(one.round(6), axis=0)
    assert len(sites) == 16
    assert np.ptp(one[:, 2]) == pytest.approx(0.05, rel=1e-3)
    angles = np.sort(np.arctan2(*(sites - sites.mean(axis=0))[sites[:, 2] > 0][:, 1::-1].T))
    np.testing.assert_allclose(np.diff(angles), np.pi / 4, atol=1e-3)


def test_some_sites_carry_no_label() -> None:
    some = labels(structure="grid", area_um=10.0, label_nm=0, labelled=0.6)
    sites = np.unique(some.round(6), axis=0)
    assert len(sites) == pytest.approx(0.6 * 25**2, rel=0.1)
    np.testing.assert_allclose(sites / 0.4, np.round(sites / 0.4), atol=1e-6)
    assert len(np.unique(labels(structure="grid", area_um=0.1, labelled=1e-9, label_nm=0), axis=0)) == 1


def test_clusters_and_linkers_have_their_size() -> None:
    cloud = labels(structure="clusters", clusters=1, cluster_nm=50, label_nm=0)
    np.testing.assert_allclose(cloud[:, :2].std(axis=0), 0.05, rtol=0.05)
    bare, linked = (labels(structure="grid", area_um=0.1, label_nm=nm) for nm in (0, 9))
    np.testing.assert_allclose((linked - bare)[:, :2].std(axis=0), 0.009, rtol=0.05)


def test_filaments_rise_evenly_and_uniform_is_uniform() -> None:
    one = labels(structure="filaments", filaments=1, persistence_um=1e9, height_um=2.0, label_nm=0, area_um=1e-3)
    along = np.hypot(*(one - one[one[:, 2].argmin()])[:, :2].T)
    assert np.corrcoef(along, one[:, 2])[0, 1] == pytest.approx(1, abs=1e-6)
    spread = labels(structure="uniform", area_um=8.0)
    assert np.abs(spread[:, :2]).max() < 4.1
    assert np.histogram2d(*spread[:, :2].T, bins=4)[0].std() < 40


@pytest.mark.parametrize("structure", ["filaments", "rings", "clusters", "grid", "uniform"])
def test_structures_are_flat_or_within_their_height(structure: str) -> None:
    assert (labels(structure=structure)[:, 2] == 0).all()
    deep = labels(structure=structure, height_um=1.0)
    assert 0.7 < np.ptp(deep[:, 2]) < 1.6
    assert len(deep) == 4000


def test_seeds_and_options() -> None:
    one, again, other = (Blinking(seed, molecules=500) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.ground_truth().spots_um, again.ground_truth().spots_um)
    assert (one.ground_truth().spots_um != other.ground_truth().spots_um).any()
    for wrong in ({"structure": "rods"}, {"molecules": 0}, {"switching": {"on_time_ms": 0}}, {"haze": {"blur": 1}}):
        with pytest.raises(ValidationError):
            Blinking(1, **wrong)
    assert HazeOptions() == Blinking(1, molecules=1)._options.haze


def test_time_does_not_go_back() -> None:
    one = Blinking(1, molecules=10)
    one.live(1.0, {}, full)
    with pytest.raises(InputError, match="cannot go back"):
        one.live(0.5, {}, full)

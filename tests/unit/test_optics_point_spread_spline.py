"""Splines: exact at samples, slopes as differences, the same as scipy's and storm-analysis' own; their files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from smartscope.errors import InputError
from smartscope.optics.point_spread.astigmatic import Astigmatism
from smartscope.optics.point_spread.gaussian import gaussian_spots
from smartscope.optics.point_spread.spline import SplinePointSpread
from smartscope.optics.point_spread.spline_file import load_spline, save_spline

LENS = Astigmatism(1.3, 250, 400)
HEIGHTS = np.linspace(-600, 600, 25)


def astigmatic(oversampling: int = 1, size: int = 21) -> SplinePointSpread:
    """A spline through the light of an astigmatic spot in pixels centred at the nodes."""
    nodes = np.linspace(-(size - 1) / 2, (size - 1) / 2, oversampling * (size - 1) + 1)
    y, x = (grid.ravel() for grid in np.meshgrid(nodes, nodes, indexing="ij"))
    widths = np.transpose(LENS.widths_px(HEIGHTS))
    samples = [gaussian_spots(-x, -y, *width, (1, 1)).values.reshape(len(nodes), -1) for width in widths]
    return SplinePointSpread.through(samples, low_nm=-600, step_nm=50, pixel_size_nm=100, oversampling=oversampling)


ONE, TWO = astigmatic(), astigmatic(2)


def test_it_goes_through_its_samples() -> None:
    spots = ONE.spots(10.0, 10.0, HEIGHTS, (21, 21))
    widths = LENS.widths_px(HEIGHTS)
    np.testing.assert_allclose(spots.values, gaussian_spots(10.0, 10.0, *widths, (21, 21)).values, atol=1e-12)
    np.testing.assert_allclose(ONE.samples(), spots.values, atol=1e-12)
    assert (ONE.range_nm, ONE.size_px) == ((-600, 600), (21, 21))
    assert TWO.size_px == (21, 21)


@settings(max_examples=40, deadline=None)
@given(st.floats(5, 7), st.floats(4.5, 6.5), st.floats(-580, 580), st.sampled_from([ONE, TWO]))
def test_slopes_are_differences(x: float, y: float, z: float, spline: SplinePointSpread) -> None:
    def light(x: float, y: float, z: float) -> np.ndarray:
        return spline.spots(x, y, z, (12, 13)).values[0]

    spots = spline.spots(x, y, z, (12, 13))
    dx, dz = 1e-5, 1e-3
    np.testing.assert_allclose(spots.by_x[0], (light(x + dx, y, z) - light(x - dx, y, z)) / (2 * dx), atol=1e-7)
    np.testing.assert_allclose(spots.by_y[0], (light(x, y + dx, z) - light(x, y - dx, z)) / (2 * dx), atol=1e-7)
    np.testing.assert_allclose(spots.by_z[0], (light(x, y, z + dz) - light(x, y, z - dz)) / (2 * dz), atol=1e-9)


@pytest.mark.parametrize(("spline", "error"), [(ONE, 4e-3), (TWO, 3e-4)])
def test_between_samples_it_is_the_spot_itself(spline: SplinePointSpread, error: float) -> None:
    rng = np.random.default_rng(1)
    x, y, z = rng.uniform(5.5, 6.5, 50), rng.uniform(5.5, 6.5, 50), rng.uniform(-550, 550, 50)
    true = gaussian_spots(x, y, *LENS.widths_px(z), (13, 13)).values
    assert np.abs(spline.spots(x, y, z, (13, 13)).values - true).max() < error * true.max()


def test_each_axis_is_scipys_natural_spline() -> None:
    rng = np.random.default_rng(2)
    samples = rng.random((6, 7, 8))
    spline = SplinePointSpread.through(samples, low_nm=0, step_nm=10, pixel_size_nm=100)
    z, y, x = 2.3, 3.6, 4.2
    plane = CubicSpline(np.arange(6), samples, bc_type="natural")(z)
    line = CubicSpline(np.arange(7), plane, bc_type="natural")(y)
    value = CubicSpline(np.arange(8), line, bc_type="natural")(x)
    # the molecule in the middle of the nodes at (3, 3.5): the pixel at (0, 0) sees the node (y, x)
    assert spline.spots(3.5 - x, 3.0 - y, 10 * z, (1, 1)).values.item() == pytest.approx(value)


def test_cells_hold_the_same_function() -> None:
    cells = ONE.cells()
    assert cells.shape == (24, 20, 20, 4, 4, 4)
    k, j, i, w, v, u = 7, 9, 11, 0.3, 0.8, 0.1
    powers = [np.power(t, np.arange(4)) for t in (w, v, u)]
    value = np.einsum("abc,a,b,c", cells[k, j, i], *powers)
    spot = ONE.spots(10 - i - u, 10 - j - v, -600 + 50 * (k + w), (1, 1))
    assert spot.values.item() == pytest.approx(value)


def test_far_from_the_molecule_it_is_dark_and_beyond_its_heights_it_stays() -> None:
    assert not ONE.spots(-40.0, 5.0, 0.0, (11, 11)).values.any()
    spots = ONE.spots(50.0, 50.0, 0.0, (101, 101)).values
    assert spots.sum() == pytest.approx(1, abs=1e-3)
    assert not spots[0, :38].any()
    ends = ONE.spots(5.0, 5.0, [-600.0, -900.0, 600.0, 5000.0], (11, 11)).values
    np.testing.assert_array_equal(ends[::2], ends[1::2])


@settings(max_examples=25, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3), st.floats(7, 8), st.floats(-500, 500))
def test_a_shift_by_whole_pixels_shifts_the_spot(dx: int, dy: int, x: float, z: float) -> None:
    here, there = TWO.spots([x, x + dx], [x, x + dy], z, (16, 16)).values
    inside = slice(3, 13)
    shifted = np.roll(here, (dy, dx), axis=(0, 1))
    np.testing.assert_allclose(there[inside, inside], shifted[inside, inside], atol=1e-12)


@pytest.mark.parametrize(
    ("samples", "numbers", "words"),
    [
        (np.zeros((3, 9, 9)), {}, "shape"),
        (np.zeros((9, 9)), {}, "shape"),
        (np.full((9, 9, 9), np.nan), {}, "729 of them no number"),
        (np.zeros((9, 9, 9)), {"step_nm": 0.0}, "steps of 0.0 nm"),
        (np.zeros((9, 9, 9)), {"pixel_size_nm": -1.0}, "pixels of -1.0 nm"),
        (np.zeros((9, 9, 9)), {"oversampling": 0}, "0 nodes"),
        (np.zeros((9, 9, 9)), {"low_nm": np.inf}, "from inf nm"),
    ],
)
def test_samples_that_are_none(samples: np.ndarray, numbers: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SplinePointSpread.through(samples, **({"low_nm": 0.0, "step_nm": 50.0, "pixel_size_nm": 100.0} | numbers))


def test_a_file_keeps_it(tmp_path: Path) -> None:
    save_spline(tmp_path / "psf.npz", TWO)
    again = load_spline(tmp_path / "psf.npz", 104.0)
    np.testing.assert_allclose(again.weights, TWO.weights, atol=1e-14)
    assert (again.low_nm, again.step_nm, again.pixel_size_nm, again.oversampling) == (-600, 50, 100, 2)


def test_where_it_cannot_be_saved(tmp_path: Path) -> None:
    (tmp_path / "there.npz").touch()
    for name, words in (("there.npz", "exists"), ("psf.tif", "npz"), ("no/psf.npz", "cannot be written")):
        with pytest.raises(InputError, match=words):
            save_spline(tmp_path / name, ONE)


def test_a_file_of_storm_analysis_without_its_scale(tmp_path: Path) -> None:
    held = {"spline": 37.0 * ONE.samples(), "zmin": -600.0, "zmax": 600.0, "pixel_size": 0.1, "coeff": np.zeros(3)}
    np.savez(tmp_path / "theirs.npz", **held)
    spline = load_spline(tmp_path / "theirs.npz", 100.0)
    np.testing.assert_allclose(spline.weights, ONE.weights, rtol=1e-3, atol=1e-9)
    assert spline.range_nm == pytest.approx((-600, 600))


GOOD = {"samples": ONE.samples(), "low_nm": -600, "step_nm": 50, "pixel_size_nm": 100, "oversampling": 1}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"samples": 3 * ONE.samples()}, "not normalised"),
        ({"samples": np.where(ONE.samples() > 0.05, np.nan, ONE.samples())}, "no number"),
        ({"samples": -ONE.samples()}, "not normalised"),
        ({"pixel_size_nm": 106.0}, "106 nm, those of the camera are 100 nm"),
        ({"low_nm": None}, "lacks low_nm"),
        ({"step_nm": [1.0, 2.0]}, "step_nm should be one number"),
        ({"samples": None}, "lacks spline, zmin, zmax, pixel_size"),
        ({"low_nm": "low"}, "cannot be read"),
    ],
)
def test_files_that_do_not_fit_are_one_clear_error(tmp_path: Path, changed: dict, words: str) -> None:
    held = {key: value for key, value in (GOOD | changed).items() if value is not None}
    np.savez(tmp_path / "psf.npz", **held)
    with pytest.raises(InputError, match=words) as caught:
        load_spline(tmp_path / "psf.npz", 100.0)
    assert caught.value.where == str(tmp_path / "psf.npz")
    assert caught.value.remedy


def test_no_file_and_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_text("hello")
    for name, words in (("none.npz", "no such file"), ("one.npy", "cannot be read"), ("text.npz", "cannot be read")):
        with pytest.raises(InputError, match=words):
            load_spline(tmp_path / name, 100.0)


def test_dark_samples_of_storm_analysis_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "dark.npz", spline=np.zeros((9, 9, 9)), zmin=-600.0, zmax=600.0, pixel_size=0.1)
    with pytest.raises(InputError, match="not normalised"):
        load_spline(tmp_path / "dark.npz", 100.0)


@pytest.mark.data
def test_the_spline_of_storm_analysis_is_read_exactly(data: Path) -> None:
    path = data / "storm-analysis" / "test_spliner_psf_spline.npz"
    if not path.exists():
        pytest.skip(f"no {path}")
    spline = load_spline(path, 100.0)
    with np.load(path) as held:
        theirs = held["coeff"].reshape(9, 9, 9, 4, 4, 4).transpose(2, 1, 0, 5, 4, 3)  # theirs: x, y, z
        scale = held["spline"].sum(axis=(1, 2)).max()
    np.testing.assert_allclose(spline.cells(), theirs / scale, atol=1e-11)
    with pytest.raises(InputError, match="those of the camera are 160 nm"):
        load_spline(path, 160.0)

"""Fits on a spline: at the Cramér-Rao bound in all five values, whatever the model; and the same light in torch."""

from pathlib import Path

import numpy as np
import pytest
from spline_scenes import HEIGHTS, LENS, READ_E, SPLINE, scene

from smartscope.optics.point_spread.bead_stack import smoothed
from smartscope.optics.point_spread.gaussian import gaussian_spots
from smartscope.optics.point_spread.spline import SplinePointSpread
from smartscope.optics.point_spread.spline_file import load_spline
from smartscope_models.localization.spline_fit import fit_spline, window_radii


@pytest.mark.parametrize(("photons", "background"), [(1000, 10), (5000, 50)])
@pytest.mark.parametrize("model", [SPLINE, None])
def test_errors_are_those_that_physics_allows(
    photons: float, background: float, model: SplinePointSpread | None
) -> None:
    """``None``: the true spots are Gaussians, and the spline is only measured from them."""
    light, read, places, truth = scene(2500, photons, background, 3, model)
    fits = fit_spline(light, read, places, SPLINE, range_nm=500)
    error = fits.values - truth
    ratio = np.sqrt((error**2).mean(axis=0) / (fits.errors**2).mean(axis=0))
    assert np.isfinite(fits.values).all()
    np.testing.assert_array_less(ratio, [1.04, 1.04, 1.05, 1.05, 1.06])  # 0.014 is one standard error of the ratio
    assert np.std(error / fits.errors, axis=0) == pytest.approx(1, abs=0.06)
    assert np.abs(error.mean(axis=0) / fits.errors.mean(axis=0))[[0, 1, 4]] == pytest.approx(0, abs=0.08)
    assert np.mean(fits.misfit) == pytest.approx(1, abs=0.02)


def test_the_bound_is_the_one_of_differences() -> None:
    light, read, places, truth = scene(1, 3000, 20, 5)
    fits = fit_spline(light, read, places, SPLINE)
    at = fits.values[0]
    radius = window_radii(SPLINE)[round((at[4] + 700) / 50)]
    column, row = np.rint(at[:2]).astype(int)
    window = slice(row - radius, row + radius + 1), slice(column - radius, column + radius + 1)

    def mean(f: np.ndarray) -> np.ndarray:
        return f[2] * SPLINE.spots(f[0], f[1], f[4], light.shape).values[0][window].ravel() + f[3]

    steps = np.array([1e-4, 1e-4, 1e-2, 1e-3, 1e-2])
    slopes = [(mean(at + by) - mean(at - by)) / (2 * by.sum()) for by in np.diag(steps)]
    fisher = np.einsum("ik,jk,k->ij", slopes, slopes, 1 / (mean(at) + READ_E**2))
    np.testing.assert_allclose(fits.errors[0], np.sqrt(np.diag(np.linalg.inv(fisher))), rtol=2e-2)
    assert np.abs(at - truth[0])[:2] == pytest.approx(0, abs=0.2)


def test_noisy_pixels_count_less() -> None:
    """A wild pixel beside each molecule: known to be wild it does no harm, taken for a quiet one it does."""
    light, read, places, truth = scene(400, 2000, 10, 7)
    rng = np.random.default_rng(8)
    wild = np.rint(truth[:, :2]).astype(int) + np.array([2, 0])
    light[wild[:, 1], wild[:, 0]] += rng.normal(0, 40, len(wild)).astype(np.float32)
    known = read.copy()
    known[wild[:, 1], wild[:, 0]] += 1600
    careful, careless = (fit_spline(light, noise, places, SPLINE) for noise in (known, read))
    spread = [np.sqrt(np.nanmean((fits.values - truth)[:, 0] ** 2)) for fits in (careful, careless)]
    assert spread[0] < 1.1 * np.sqrt((careful.errors[:, 0] ** 2).mean())
    assert spread[1] > 1.3 * spread[0]
    assert np.nanmean(careless.misfit) > np.nanmean(careful.misfit) + 0.1


def test_a_wrong_model_shows_in_the_misfit() -> None:
    light, read, places, _ = scene(100, 20_000, 10, 9)
    wide = SplinePointSpread.through(
        gaussian_spots(12.0, 12.0, 1.7, 1.7, (25, 25)).values * np.ones((29, 1, 1)),
        low_nm=-700,
        step_nm=50,
        pixel_size_nm=100,
    )
    assert np.median(fit_spline(light, read, places, SPLINE).misfit) == pytest.approx(1, abs=0.1)
    assert not np.nanmedian(fit_spline(light, read, places, wide).misfit) < 2


def test_threads_change_nothing() -> None:
    light, read, places, _ = scene(64, 1000, 10, 11)
    one, three = (fit_spline(light, read, places, SPLINE, threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.values, three.values)


def test_places_at_and_beyond_the_rim() -> None:
    light, read, _, _ = scene(4, 1000, 10, 12)
    fits = fit_spline(light, read, np.array([[-30.0, 5.0], [13.0, 1.0], [0.0, 0.0]]), SPLINE)
    assert np.isnan(fits.values[0]).all()
    assert fits.iterations[0] == 0
    assert len(fits) == 3


def test_nothing_to_see_and_numbers_that_are_none() -> None:
    dark = np.zeros((40, 40), np.float32)
    places = np.array([[20.0, 20.0]])
    assert len(fit_spline(dark, dark, np.empty((0, 2)), SPLINE)) == 0
    fits = fit_spline(dark, np.full_like(dark, 2.0), places, SPLINE)
    assert not fits.values[0, 2] > 50
    broken = np.full_like(dark, np.nan)
    assert np.isnan(fit_spline(broken, dark, places, SPLINE).values[:, :2]).all()


def test_windows_hold_the_spot_at_every_height() -> None:
    radii = window_radii(SPLINE)
    along, down = LENS.widths_px(HEIGHTS)
    assert radii.min() >= 4
    assert (radii >= 2.5 * np.maximum(along, down)).all()
    assert (radii <= 13).all()


def test_torch_shows_the_same_light() -> None:
    torch = pytest.importorskip("torch")
    from smartscope_models.localization.spline_torch import SplineLight

    rng = np.random.default_rng(13)
    x, y, z = rng.uniform(3, 9, 40), rng.uniform(3, 8, 40), rng.uniform(-900, 900, 40)
    twice = SplinePointSpread.through(SPLINE.samples(), low_nm=-700, step_nm=50, pixel_size_nm=100, oversampling=2)
    for spline in (SPLINE, twice):
        light = SplineLight(spline)(*(torch.tensor(v, dtype=torch.float32) for v in (x, y, z)), (12, 13))
        np.testing.assert_allclose(light.numpy(), spline.spots(x, y, z, (12, 13)).values, atol=1e-5)


def test_torch_gradients_are_the_splines_slopes() -> None:
    torch = pytest.importorskip("torch")
    from smartscope_models.localization.spline_torch import SplineLight

    place = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (6.3, 5.6, 123.0)]
    light = SplineLight(SPLINE, torch.float64)(*place, (12, 13))
    spots = SPLINE.spots(6.3, 5.6, 123.0, (12, 13))
    pixel = (0, 4, 7)
    slopes = torch.autograd.grad(light[pixel], place)
    told = [spots.by_x[pixel], spots.by_y[pixel], spots.by_z[pixel]]
    np.testing.assert_allclose([slope.item() for slope in slopes], told, rtol=1e-9)


@pytest.mark.data
class TestOnADoubleHelix:
    """storm-analysis' movie test_spliner.dax: 36 molecules, each at a height of its own, twenty times."""

    X, Y = (20.0 + 40 * grid.ravel() for grid in np.meshgrid(np.arange(6), np.arange(6)))
    Z = np.linspace(-750, 750, 36)
    """As the table of test_spliner_ref.hdf5 has them."""

    @pytest.fixture
    def movie(self, data: Path) -> np.ndarray:
        path = data / "storm-analysis" / "test_spliner.dax"
        if not path.exists():
            pytest.skip(f"no {path}")
        return np.fromfile(path, ">u2").reshape(20, 256, 256).astype(np.float32) - 100  # counts are photo-electrons

    def errors(self, movie: np.ndarray, spline: SplinePointSpread) -> tuple[np.ndarray, np.ndarray]:
        """Found minus true (x, y, z) and the bounds, (frames, molecules, 3); no read noise in these movies."""
        places = np.stack([self.X, self.Y], axis=1)
        fits = [fit_spline(frame, np.zeros_like(frame), places + 0.3, spline) for frame in movie]
        found = np.stack([fit.values[:, [0, 1, 4]] for fit in fits])
        return found - np.column_stack([places, self.Z]), np.stack([fit.errors[:, [0, 1, 4]] for fit in fits])

    def test_their_spline_finds_the_heights(self, movie: np.ndarray, data: Path) -> None:
        error, _ = self.errors(movie, load_spline(data / "storm-analysis" / "test_spliner_psf_spline.npz", 100.0))
        assert np.isfinite(error).all()
        assert np.sqrt((error[..., 2] ** 2).mean()) < 50  # its planes are 167 nm apart
        assert np.sqrt((error[..., :2] ** 2).mean()) < 0.1

    def test_one_made_of_half_the_frames_is_at_the_bound_on_the_other(self, movie: np.ndarray) -> None:
        planes = [
            movie[1::2, y - 12 : y + 13, x - 12 : x + 13].mean(axis=0)
            for x, y in zip(self.X.astype(int), self.Y.astype(int), strict=True)
        ]
        light = smoothed(np.stack(planes) - 50, 300 / (1500 / 35))
        spline = SplinePointSpread.through(
            light / light.sum(axis=(1, 2)).max(), low_nm=-750, step_nm=1500 / 35, pixel_size_nm=100
        )
        error, bound = (each[:, 2:-2] for each in self.errors(movie[::2], spline))
        ratio = np.sqrt((error**2).mean(axis=(0, 1)) / (bound**2).mean(axis=(0, 1)))
        assert (ratio < 1.15).all()
        assert np.sqrt((error[..., 2] ** 2).mean()) < 5

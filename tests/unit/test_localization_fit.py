"""Fits of single molecules reach the Cramér-Rao bound, say so, and agree with one another."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fit_helpers import READ_E, SIGMA, bound, exposed, lattice, light

from smartscope.config import PointSpreadConfig
from smartscope_models.localization.fit import Fits, fit_round, window_radius
from smartscope_models.localization.fit_elliptical import fit_elliptical
from smartscope_models.localization.fit_kernels import (
    factorise,
    inverse_diagonal,
    normal_4,
    normal_5,
    profile,
    solve,
    widths,
    widths_of,
)

READ = READ_E**2
LIMIT = 1.03
"""Of RMSE over the bound: 1 plus three standard errors of some 2500 spots on two axes."""


def fitted(photons: float, background: float, *, width_free: bool = False, seed: int = 3) -> tuple[Fits, np.ndarray]:
    shape, places = lattice(50, 15, seed)
    frame = exposed(light(shape, *places.T, photons, background), seed)
    fits = fit_round(frame, np.full(shape, READ, np.float32), np.round(places), SIGMA, width_free=width_free)
    return fits, places


@pytest.mark.parametrize(("photons", "background"), [(250, 5), (500, 10), (1000, 10), (5000, 50)])
def test_the_bound_is_reached_and_stated(photons: float, background: float) -> None:
    fits, places = fitted(photons, background)
    errors, best = fits.values[:, :2] - places, bound(photons, background)
    assert np.sqrt((errors**2).mean()) < LIMIT * best[0]
    assert np.median(fits.errors[:, :2]) == pytest.approx(best[0], rel=0.02)
    assert np.std(fits.values[:, 2]) == pytest.approx(best[2], rel=0.08)
    assert np.mean(fits.values[:, 2]) == pytest.approx(photons, abs=4 * best[2] / 50)
    assert np.mean(fits.values[:, 3]) == pytest.approx(background, abs=4 * best[3] / 50 + 0.02)
    assert (fits.errors[:, 4] == 0).all()
    assert len(fits) == len(places)


def test_a_free_width_costs_no_accuracy_of_place_and_comes_out_right() -> None:
    fits, places = fitted(1000, 10, width_free=True)
    assert np.sqrt(((fits.values[:, :2] - places) ** 2).mean()) < LIMIT * bound(1000, 10)[0]
    relative = (fits.values[:, 4] - SIGMA) / fits.errors[:, 4]
    assert abs(relative.mean()) < 0.1
    assert relative.std() == pytest.approx(1, abs=0.06)


def test_errors_do_not_follow_the_pixel() -> None:
    fits, places = fitted(1000, 10)
    relative = ((fits.values[:, :2] - places) / fits.errors[:, :2]).ravel()
    phase = (places.ravel() % 1 * 10).astype(int)
    chi2 = sum(relative[phase == k].mean() ** 2 * (phase == k).sum() for k in range(10))
    assert chi2 < 29.6, "chance below 0.001 for ten classes"


@pytest.mark.parametrize(("photons", "background"), [(60, 0.5), (250, 5), (5000, 50)])
def test_the_misfit_of_a_right_model_is_1_also_with_few_photons(photons: float, background: float) -> None:
    fits, _ = fitted(photons, background)
    assert np.nanmean(fits.misfit) == pytest.approx(1, abs=0.02)


def test_misfit_and_deviance_show_a_wrong_model() -> None:
    shape, places = lattice(10, 15, 4)
    frame = exposed(light(shape, *places.T, 2000, 10, 2.0), 4)
    wrong = fit_round(frame, np.full(shape, READ, np.float32), np.round(places), SIGMA)
    right = fit_round(frame, np.full(shape, READ, np.float32), np.round(places), 2.0, radius=window_radius(SIGMA))
    assert np.median(wrong.misfit) > 1.8
    assert np.median(right.misfit) == pytest.approx(1, abs=0.05)
    assert (wrong.deviance > right.deviance + 50).all()
    assert np.median(right.deviance) == pytest.approx(13 * 13 - 4, rel=0.1)


def test_a_multiplied_camera_needs_shots_of_half_the_electrons() -> None:
    shape, places = lattice(40, 15, 5)
    frame = exposed(light(shape, *places.T, 1000, 10), 5, 0.2, multiplied=True)
    fits = fit_round(frame / 2, np.full(shape, 0.04 / 4, np.float32), np.round(places), SIGMA)
    relative = (fits.values[:, :2] - places) / fits.errors[:, :2]
    assert relative.std() == pytest.approx(1, abs=0.05)
    assert np.median(fits.errors[:, 0]) == pytest.approx(math.sqrt(2) * bound(1000, 10, read_e=0)[0], rel=0.03)
    assert 2 * np.median(fits.values[:, 2]) == pytest.approx(1000, rel=0.01)


def test_noisy_pixels_count_less() -> None:
    shape, places = lattice(40, 15, 6)
    variance = np.where(np.random.default_rng(6).random(shape) < 0.05, 900.0, READ).astype(np.float32)
    frame = exposed(light(shape, *places.T, 1000, 10), 6, np.sqrt(variance))
    known = fit_round(frame, variance, np.round(places), SIGMA)
    ignored = fit_round(frame, np.full(shape, READ, np.float32), np.round(places), SIGMA)
    error = [np.sqrt(np.nanmean((fits.values[:, :2] - places) ** 2)) for fits in (known, ignored)]
    assert error[0] < 0.75 * error[1]
    assert np.nanstd((known.values[:, :2] - places) / known.errors[:, :2]) < 1.06


def test_a_shift_of_frame_and_start_shifts_the_answer() -> None:
    shape, places = lattice(6, 20, 7)
    frame, read = exposed(light(shape, *places.T, 800, 8), 7), np.full(shape, READ, np.float32)
    here = fit_round(frame, read, np.round(places), SIGMA)
    there = fit_round(np.roll(frame, (3, 2), (0, 1)), read, np.round(places) + np.array([2, 3]), SIGMA)
    assert np.abs(there.values[:, :2] - here.values[:, :2] - (2, 3)).max() < 1e-6
    assert np.abs(there.values[:, 2:] - here.values[:, 2:]).max() < 1e-6


def test_threads_change_nothing() -> None:
    shape, places = lattice(8, 15, 8)
    frame, read = exposed(light(shape, *places.T, 800, 8), 8), np.full(shape, READ, np.float32)
    one, two = (fit_round(frame, read, np.round(places), SIGMA, threads=n) for n in (1, 2))
    assert np.array_equal(one.values, two.values)


def test_spots_at_the_rim_and_places_without_pixels() -> None:
    frame = exposed(light((30, 30), np.array([0.3, 28.0]), np.array([12.0, 29.2]), 3000, 5), 9)
    places = np.array([[0.0, 12.0], [28.0, 29.0], [-20.0, 5.0], [5.0, 60.0]])
    fits = fit_round(frame, np.full((30, 30), READ, np.float32), places, SIGMA)
    assert np.abs(fits.values[:2, :2] - [[0.3, 12], [28, 29.2]]).max() < 0.25
    assert np.isnan(fits.values[2:]).all()
    tall = fit_elliptical(frame, np.full((30, 30), READ, np.float32), places, ASTIGMATIC, SIGMA)
    assert np.isnan(tall.values[2:]).all()


def test_a_fit_that_runs_away_says_so() -> None:
    frame = exposed(light((40, 40), np.array([26.0]), np.array([20.0]), 50_000, 0.1), 10)
    fits = fit_round(frame, np.full((40, 40), READ, np.float32), np.array([[20.0, 20.0]]), SIGMA)
    assert np.isnan(fits.values).all()
    assert fits.iterations[0] > 0


ASTIGMATIC = PointSpreadConfig(model="astigmatic", sigma_px=SIGMA)


def tall_scene(photons: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame, places and heights of lone astigmatic spots."""
    shape, places = lattice(28, 26, seed)
    z = np.random.default_rng(seed).uniform(-450, 450, len(places))
    sigma = [SIGMA * np.sqrt(1 + ((z - sign * 250) / 400) ** 2) for sign in (1, -1)]
    return exposed(light(shape, *places.T, photons, 10, *sigma), seed), places, z


def test_heights_reach_their_bound() -> None:
    frame, places, z = tall_scene(1000, 11)
    fits = fit_elliptical(frame, np.full(frame.shape, READ, np.float32), np.round(places), ASTIGMATIC, SIGMA)
    axial = (fits.values[:, 4] - z) / fits.errors[:, 4]
    assert np.sqrt((axial**2).mean()) < 1.09, "1.05 and its error"
    lateral = (fits.values[:, :2] - places) / fits.errors[:, :2]
    assert lateral.std() == pytest.approx(1, abs=0.06)
    assert np.mean(fits.misfit) == pytest.approx(1, abs=0.02)


def test_the_torch_twin_gives_the_same() -> None:
    torch = pytest.importorskip("torch")
    from smartscope_models.localization.fit_torch import fit_round_torch

    shape, places = lattice(12, 15, 12)
    frame, read = exposed(light(shape, *places.T, 700, 8), 12), np.full(shape, READ, np.float32)
    starts = np.vstack([np.round(places), [[0.0, 3.0], [-30.0, 4.0]]])
    one = fit_round(frame, read, starts[:-1], SIGMA)
    two = fit_round_torch(torch.from_numpy(frame), torch.from_numpy(read), starts, SIGMA)
    inner = slice(0, len(places))
    assert np.abs(one.values[inner, :2] - two.values[inner, :2]).max() < 1e-3
    assert np.abs(one.values[inner, 2] / two.values[inner, 2] - 1).max() < 1e-3
    assert np.abs(one.errors[inner] - two.errors[inner]).max() < 1e-2
    assert np.abs(one.misfit[inner] - two.misfit[inner]).max() < 1e-3
    assert np.abs(one.deviance[inner] - two.deviance[inner]).max() < 0.05
    assert np.isnan(two.values[-1]).all()


CURVES = {
    "round": np.array([0.0, SIGMA, 0.0, 1.0, 0.5, 4.0]),
    "astigmatic": np.array([1.0, SIGMA, 250.0, 400.0, -600.0, 600.0]),
}


@pytest.mark.parametrize(("name", "t"), [("round", 1.4), ("astigmatic", 170.0), ("astigmatic", -400.0)])
def test_the_score_is_the_likelihood_s_slope(name: str, t: float) -> None:
    curve, f = CURVES[name], np.array([6.3, 5.8, 900.0, 7.0, t])
    frame = exposed(light((13, 13), np.array([6.0]), np.array([6.0]), 1000, 8), 13)
    read = np.full((13, 13), READ, np.float32)

    def log_likelihood(at: np.ndarray) -> float:
        sx, sy, _, _ = widths(at[4], curve)
        mean = light((13, 13), at[:1], at[1:2], at[2], at[3], sx, sy) + READ
        return float(((frame + READ) * np.log(mean) - mean).sum())

    sx, sy, slope_x, slope_y = widths(t, curve)
    across, down = np.empty((3, 13)), np.empty((3, 13))
    profile(0, f[0], sx, *across)
    profile(0, f[1], sy, *down)
    matrix, score = np.empty((5, 5)), np.empty(5)
    normal_5(frame, read, f, slope_x, slope_y, across, down, matrix, score)
    for k, step in enumerate((1e-4, 1e-4, 1e-2, 1e-4, 1e-4 * abs(t))):
        there = np.eye(5)[k] * step
        slope = (log_likelihood(f + there) - log_likelihood(f - there)) / (2 * step)
        assert score[k] == pytest.approx(slope, rel=1e-4, abs=1e-6)
    four, score_4 = np.empty((4, 4)), np.empty(4)
    normal_4(frame, read, f, across, down, four, score_4)
    assert np.allclose(score_4, score[:4])
    assert np.allclose(np.tril(four), np.tril(matrix[:4, :4]))
    assert np.allclose(widths_of(np.array([t]), curve)[:, 0], (sx, sy))


def test_the_small_algebra() -> None:
    random = np.random.default_rng(1).normal(size=(6, 6))
    matrix, lower, step = random @ random.T + np.eye(6), np.zeros((6, 6)), np.empty(6)
    assert factorise(matrix, 0.0, lower)
    solve(lower, np.arange(6.0), step)
    assert np.allclose(matrix @ step, np.arange(6))
    diagonal = np.empty(6)
    inverse_diagonal(lower, np.empty(6), diagonal)
    assert np.allclose(diagonal, np.diag(np.linalg.inv(matrix)))
    assert not factorise(-matrix, 0.0, lower)

"""The likelihoods of motion against dense Gaussian ones, and the disc against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import dblquad
from scipy.stats import multivariate_normal

from smartscope_models.mobility.disc import RATES, WEIGHTS, averaged, disc_filter, disc_msd
from smartscope_models.mobility.fit import DIRECTED, cost, drift_evidence
from smartscope_models.mobility.likelihood import disc_minus_log, drift_gain, walk_sums
from smartscope_models.mobility.scaling import exponents

TIMES = np.array([0.0, 1, 2, 4, 5, 9, 10, 11, 12.5])


def places(seed: int = 1) -> np.ndarray:
    """(2, N)"""
    return np.random.default_rng(seed).normal(size=(2, len(TIMES))).cumsum(axis=1)


def contrasts_log(covariance: np.ndarray, xy: np.ndarray) -> float:
    """Log density of all places relative to the first: what is left of a Gaussian after a flat prior of its place."""
    relative = np.hstack([-np.ones((len(covariance) - 1, 1)), np.eye(len(covariance) - 1)])
    joint = multivariate_normal(cov=relative @ covariance @ relative.T)
    return float(sum(joint.logpdf(relative @ axis) for axis in xy))


@pytest.mark.parametrize(("step", "noise"), [(1.0, 0.3), (0.02, 1.0), (2.0, -0.2)])
def test_walk_is_the_gaussian_that_it_says(step: float, noise: float) -> None:
    """Missing frames, uneven times and the negative noise of blur included."""
    covariance = step * np.minimum.outer(TIMES, TIMES) + noise * np.eye(len(TIMES))
    sums, (x, y) = np.zeros(5), places()
    assert walk_sums(TIMES, x, y, step, noise, sums)
    minus_log = 0.5 * sums[0] + sums[4] * math.log(2 * math.pi)
    assert -minus_log == pytest.approx(contrasts_log(covariance, np.array([x, y])), rel=1e-9)


def test_drift_is_a_gaussian_in_the_velocity() -> None:
    """What a velocity adds equals the dense evidence with its covariance added."""
    covariance, (x, y) = np.minimum.outer(TIMES, TIMES) + 0.3 * np.eye(len(TIMES)), places()
    sums = np.zeros(5)
    walk_sums(TIMES, x, y, 1.0, 0.3, sums)
    with_drift = covariance + 0.5 * np.outer(TIMES, TIMES)
    gain = contrasts_log(with_drift, np.array([x, y])) - contrasts_log(covariance, np.array([x, y]))
    assert drift_gain(sums, 0.5) == pytest.approx(gain, rel=1e-9)


def test_impossible_variances_are_told() -> None:
    """More blur than motion has no likelihood, and costs more than anything."""
    x, y = places()
    assert not walk_sums(TIMES, x, y, 0.1, -1.0, np.zeros(5))
    assert disc_minus_log(TIMES, x, y, (0.5, 1.0, 0.0, 0.0, 0.0), 1.0, -2.0) == 1e300
    prior = np.array([[0.0, 3, 0], [0, 3, 0], [0, 3, 0]])
    assert cost(DIRECTED, np.array([1000.0, 0, 0]), TIMES, x, y, 0.5, prior, np.zeros(5)) == 1e300


def test_an_even_mixture_of_drifts_is_at_most_its_best() -> None:
    """And no worse than a fifth of it."""
    sums, (x, y) = np.zeros(5), places()
    walk_sums(TIMES, x, y, 1.0, 0.3, sums)
    each = [drift_gain(sums, deviation**2) for deviation in (0.03, 0.1, 0.3, 1.0, 3.0)]
    assert max(each) - math.log(5) <= drift_evidence(np.zeros(3), sums) <= max(each)


@pytest.mark.parametrize("exposure", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
def test_disc_is_the_gaussian_that_it_says(rate: float, exposure: float) -> None:
    """Two remembering processes and white noise, the centre unknown."""
    shape = disc_filter(rate, exposure)
    keep_1, share_1, keep_2, share_2, white = shape
    lags = np.abs(np.subtract.outer(TIMES, TIMES))
    covariance = 2.0 * (share_1 * keep_1**lags + share_2 * keep_2**lags) + (2.0 * white + 0.4) * np.eye(len(TIMES))
    x, y = places(2)
    dense = contrasts_log(covariance, np.array([x, y]))
    assert -disc_minus_log(TIMES, x, y, shape, 2.0, 0.4) == pytest.approx(dense, rel=1e-7)


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_disc_filter_has_the_covariances_of_averaged_places(rate: float) -> None:
    """Variance and covariance after one and two intervals, integrated over both exposures."""
    keep_1, share_1, keep_2, share_2, white = disc_filter(rate, 0.8)

    def covariance(lag: float) -> float:
        def at(a: float, b: float) -> float:
            return float(WEIGHTS @ np.exp(-RATES * rate * abs(lag + a - b)))

        return float(dblquad(at, 0, 0.8, 0, 0.8, epsabs=1e-7)[0] / 0.64)

    for lag in (1, 2):
        assert share_1 * keep_1**lag + share_2 * keep_2**lag == pytest.approx(covariance(lag), abs=2e-6)
    assert share_1 + share_2 + white == pytest.approx(covariance(0) + 1 - WEIGHTS.sum(), abs=1e-4)


def test_disc_spreads_freely_at_first_and_fills_in_the_end() -> None:
    """4 D t, then the squared radius."""
    assert disc_msd(0.01, 0.1, 1.0) == pytest.approx(4 * 0.1 * 0.01, rel=0.12)
    assert disc_msd(1e3, 0.1, 0.5) == pytest.approx(0.25, rel=1e-3)


@given(st.floats(1e-6, 50))
def test_averaging_never_adds(x: float) -> None:
    """Of variance and covariance something between nothing and all is left, and it is continuous."""
    same, later = averaged(x)
    assert 0 <= later <= same <= 1
    assert averaged(x * 1.0001)[0] == pytest.approx(same, rel=1e-3)


@settings(deadline=None)
@given(st.floats(0.05, 100), st.integers(3, 60))
def test_exponents_are_ordered(value: float, longest: int) -> None:
    """Confined below 1, drifting between 1 and 2; the spectrum's slope is half of the exponent for a Gaussian."""
    alpha, slope = exponents(True, value, longest)
    assert 0 <= alpha <= 1
    assert 0 <= slope <= alpha / 2 + 1e-9
    alpha, slope = exponents(False, value, longest)
    assert 1 <= alpha <= 2
    assert 0.5 - 1e-9 <= slope <= 1 + 1e-6

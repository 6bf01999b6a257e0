"""Pixel-integrated Gaussians: light kept, slopes as differences say, the same spots as the painted ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.optics.point_spread.gaussian import gaussian_spots
from smartscope.optics.psf import add_elliptical_stamps, add_stamps

places = st.floats(14, 18)
widths = st.floats(0.7, 2.5)


@settings(max_examples=50, deadline=None)
@given(places, places, widths, widths)
def test_light_centre_and_widths_are_kept(x: float, y: float, sigma_x: float, sigma_y: float) -> None:
    light = gaussian_spots(x, y, sigma_x, sigma_y, (33, 33)).values[0]
    rows, columns = np.indices(light.shape)
    assert light.sum() == pytest.approx(1, abs=1e-6)
    assert (light * columns).sum() == pytest.approx(x, abs=1e-4)
    assert (light * rows).sum() == pytest.approx(y, abs=1e-4)
    assert (light * (columns - x) ** 2).sum() == pytest.approx(sigma_x**2 + 1 / 12, abs=2e-3)  # a pixel adds 1/12
    assert (light * (rows - y) ** 2).sum() == pytest.approx(sigma_y**2 + 1 / 12, abs=2e-3)


@settings(max_examples=30, deadline=None)
@given(places, places, widths, widths)
def test_slopes_are_differences(x: float, y: float, sigma_x: float, sigma_y: float) -> None:
    at, step = np.array([x, y, sigma_x, sigma_y]), 1e-5
    spots = gaussian_spots(*at, (33, 33))
    told = (spots.by_x, spots.by_y, spots.by_sigma_x, spots.by_sigma_y)
    for parameter, slope in enumerate(told):
        by = step * np.eye(4)[parameter]
        difference = gaussian_spots(*(at + by), (33, 33)).values - gaussian_spots(*(at - by), (33, 33)).values
        np.testing.assert_allclose(slope, difference / (2 * step), atol=1e-8)


def test_many_spots_at_once_are_each_alone() -> None:
    x, y = np.array([3.2, 5.0, -1.0]), np.array([4.1, 4.4, 6.0])
    together = gaussian_spots(x, y, 1.1, [0.9, 1.3, 2.0], (9, 11))
    assert together.values.shape == (3, 9, 11)
    alone = gaussian_spots(x[1], y[1], 1.1, 1.3, (9, 11))
    np.testing.assert_array_equal(together.by_sigma_y[1], alone.by_sigma_y[0])


def test_painted_spots_are_the_same() -> None:
    x, y, sigma_x, sigma_y = np.array([11.3]), np.array([12.8]), np.array([1.1]), np.array([1.9])
    painted = np.zeros((25, 27), np.float32)
    add_elliptical_stamps(painted, x, y, sigma_x, sigma_y, np.array([1000.0]))
    np.testing.assert_allclose(painted, 1000 * gaussian_spots(x, y, sigma_x, sigma_y, (25, 27)).values[0], atol=5e-3)


def test_a_round_stamp_is_an_ellipse_of_equal_widths() -> None:
    x, y, sigma, amount = (np.array([value]) for value in (7.4, 8.1, 1.3, 500.0))
    one, other = np.zeros((2, 16, 16), np.float32)
    add_stamps(one, x, y, sigma, amount)
    add_elliptical_stamps(other, x, y, sigma, sigma, amount)
    np.testing.assert_array_equal(one, other)

"""Point spread function, stamps and blur: widths from the literature, energy kept, shifts exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import j1

from smartscope.optics.blur import blurred
from smartscope.optics.psf import add_stamps, defocused_sigma_um, depth_um, sigma_um


def stamp(x: float, y: float, sigma: float, amount: float = 1000.0, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    """One spot alone."""
    image = np.zeros(shape, np.float32)
    add_stamps(image, *(np.array([value]) for value in (x, y, sigma, amount)))
    return image


def test_sigma_is_the_least_squares_fit_to_the_airy_pattern() -> None:
    wavelength_um, na = 0.525, 1.2
    r = np.linspace(1e-6, 2 * wavelength_um / na, 4000)
    argument = 2 * np.pi * na * r / wavelength_um
    airy = (2 * j1(argument) / argument) ** 2
    fit = minimize_scalar(lambda s: ((np.exp(-(r**2) / (2 * s * s)) - airy) ** 2).sum(), bounds=(0.01, 0.5))
    assert sigma_um(525, na) == pytest.approx(fit.x, rel=0.03)


def test_defocus_broadens_like_a_gaussian_beam() -> None:
    sigma, depth = sigma_um(525, 1.4), depth_um(525, 1.4, 1.515)
    assert 0.15 < depth < 0.3  # a fraction of the depth of field, n lambda / NA^2 = 0.4 um
    np.testing.assert_allclose(
        defocused_sigma_um(sigma, depth, np.array([0.0, depth, -depth])), sigma * np.array([1, 2**0.5, 2**0.5])
    )


@settings(max_examples=50, deadline=None)
@given(st.floats(20, 44), st.floats(20, 44), st.floats(0.7, 3.5))
def test_a_stamp_keeps_its_energy_and_its_centre(x: float, y: float, sigma: float) -> None:
    image = stamp(x, y, sigma).astype(float)
    assert image.sum() == pytest.approx(1000, rel=5e-5)
    rows, columns = np.indices(image.shape)
    assert (image * columns).sum() / image.sum() == pytest.approx(x, abs=2e-3)
    assert (image * rows).sum() / image.sum() == pytest.approx(y, abs=2e-3)


@settings(max_examples=25, deadline=None)
@given(st.floats(25, 35), st.floats(25, 35), st.floats(0.5, 2.0), st.integers(-6, 6), st.integers(-6, 6))
def test_a_shift_by_whole_pixels_shifts_the_image(x: float, y: float, sigma: float, dx: int, dy: int) -> None:
    moved = np.roll(stamp(x, y, sigma), (dy, dx), axis=(0, 1))
    np.testing.assert_allclose(stamp(x + dx, y + dy, sigma), moved, atol=2e-3)


def test_a_sub_pixel_shift_is_a_shift_of_the_underlying_light() -> None:
    """Pixels of 1/4 size, binned: the pixel-integrated stamp is exact at any sub-pixel place."""
    fine = stamp(4 * 30.3 + 1.5, 4 * 31.9 + 1.5, 4 * 1.1, shape=(256, 256))
    binned = fine.reshape(64, 4, 64, 4).sum(axis=(1, 3))
    np.testing.assert_allclose(stamp(30.3, 31.9, 1.1), binned, atol=0.01)


def test_stamps_beyond_the_edge_add_their_part_inside() -> None:
    assert stamp(-0.5, 30.0, 1.3).sum() == pytest.approx(500, rel=1e-4)
    assert stamp(-40.0, 30.0, 1.3).sum() == 0
    assert stamp(63.5, 63.5, 1.3).sum() == pytest.approx(250, rel=1e-4)


@pytest.mark.parametrize("sigma", [0.4, 2.0, 5.5])
def test_blur_keeps_energy_and_adds_variance(sigma: float) -> None:
    point = np.zeros((101, 121), np.float32)
    point[50, 60] = 100
    image = blurred(point, sigma).astype(float)
    rows, columns = np.indices(image.shape)
    assert image.sum() == pytest.approx(100, rel=1e-4)
    assert (image * (rows - 50) ** 2).sum() / 100 == pytest.approx(sigma**2, rel=5e-3)
    assert (image * (columns - 60) ** 2).sum() / 100 == pytest.approx(sigma**2, rel=5e-3)

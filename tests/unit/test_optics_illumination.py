"""Power, irradiance, dose and photons: worked by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.optics import illumination


def test_irradiance_of_the_demo() -> None:
    """1 mW over a disc of 80 um: 1e-3 W / (pi (40e-4 cm)^2)."""
    expected = 1e-3 / (math.pi * 40e-4**2)
    assert illumination.irradiance_w_per_cm2(2, 0.5, 80) == pytest.approx(expected)
    assert illumination.dose_j_per_cm2(2 * 0.005, 0.5, 80) == pytest.approx(expected * 0.005)


def test_photons_of_green_light() -> None:
    assert illumination.photons_per_joule(488) == pytest.approx(2.457e18, rel=1e-3)
    per_pixel = illumination.photons_per_pixel(1.0, 488, 100)
    assert per_pixel == pytest.approx(2.457e18 * (1e-5) ** 2, rel=1e-3)


@given(st.floats(0.1, 100), st.floats(0.01, 1), st.floats(1, 500))
def test_all_power_is_somewhere(power_mw: float, transmission: float, diameter_um: float) -> None:
    irradiance = illumination.irradiance_w_per_cm2(power_mw, transmission, diameter_um)
    total_mw = irradiance * illumination.disc_area_cm2(diameter_um) * 1e3
    assert total_mw == pytest.approx(power_mw * transmission)


def test_collected_fraction() -> None:
    assert illumination.collected_fraction(1.515, 1.515) == pytest.approx(0.5)  # a half space
    assert illumination.collected_fraction(0.1, 1.0) == pytest.approx(
        0.1**2 / 4, rel=0.01
    )  # small angles: NA^2 / 4 n^2

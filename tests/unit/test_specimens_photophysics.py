"""Excitation is proportional to dose; bleaching is first order in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.specimens.photophysics import GREEN_PROTEIN


def test_excitation_is_linear_and_peaks_at_its_wavelength() -> None:
    assert GREEN_PROTEIN.emitted(4.0, 488) == pytest.approx(4 * GREEN_PROTEIN.emitted(1.0, 488))
    assert GREEN_PROTEIN.absorbed(1.0, 561) < 0.01 * GREEN_PROTEIN.absorbed(1.0, 488)


def test_absorption_cross_section_of_egfp() -> None:
    """56,000 1/(M cm) is 2.1e-16 cm2: 525 photons absorbed from 1 J/cm2 of 2.46e18 photons."""
    assert GREEN_PROTEIN.absorbed(1.0, 488) == pytest.approx(2.14e-16 * 2.457e18, rel=0.01)


@given(st.lists(st.floats(0, 300), min_size=1, max_size=5))
def test_bleaching_depends_on_the_sum_of_doses(doses: list[float]) -> None:
    piecewise, at_once = np.ones(1), np.ones(1)
    for dose in doses:
        GREEN_PROTEIN.bleach(piecewise, np.array([dose]), 488)
    GREEN_PROTEIN.bleach(at_once, np.array([sum(doses)]), 488)
    assert piecewise[0] == pytest.approx(at_once[0], rel=1e-9)


def test_half_is_left_after_600_j_per_cm2() -> None:
    remaining = np.ones(1)
    GREEN_PROTEIN.bleach(remaining, np.array([600.0]), 488)
    assert remaining[0] == pytest.approx(0.5, abs=0.03)

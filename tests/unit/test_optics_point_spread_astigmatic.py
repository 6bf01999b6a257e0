"""Height as two widths: formula, slopes, and the calibration that finds it again or says why it cannot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.config import OpticsConfig, PointSpreadConfig
from smartscope.errors import InputError
from smartscope.optics.point_spread.astigmatic import Astigmatism, fit_astigmatism

Z = np.linspace(-800, 800, 41)


def test_each_width_is_sharpest_at_its_focus_and_root_two_wider_a_depth_away() -> None:
    lens = Astigmatism(1.3, 250, 400)
    along, down = lens.widths_px(np.array([250.0, 650.0, -250.0, -650.0]))
    np.testing.assert_allclose(along[:2], 1.3 * np.array([1, 2**0.5]))
    np.testing.assert_allclose(down[2:], 1.3 * np.array([1, 2**0.5]))


@settings(max_examples=50, deadline=None)
@given(st.floats(-700, 700), st.floats(-0.1, 0.1), st.floats(0, 0.1))
def test_slopes_are_differences_and_axes_are_mirrors(z: float, cubic: float, quartic: float) -> None:
    lens = Astigmatism(1.2, 220, 380, cubic, quartic)
    for axis in range(2):
        rise = lens.widths_px(z + 0.01)[axis] - lens.widths_px(z - 0.01)[axis]
        assert lens.slopes_px_per_nm(z)[axis] == pytest.approx(rise / 0.02, abs=1e-9)
    assert lens.widths_px(z)[0] == pytest.approx(lens.widths_px(-z)[1])


def test_as_configured() -> None:
    told = PointSpreadConfig(model="astigmatic", focal_offset_nm=200, focal_depth_nm=350)
    optics = OpticsConfig(numerical_aperture=1.4, emission_nm=600, point_spread=told)
    assert Astigmatism.of(optics, 90) == Astigmatism(pytest.approx(1.0), 200, 350)  # 0.21 lambda / NA = 90 nm
    measured = optics.model_copy(update={"point_spread": told.model_copy(update={"sigma_px": 1.5})})
    assert Astigmatism.of(measured, 90).sigma_px == 1.5


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.8, 2.0),
    st.floats(100, 400),
    st.sampled_from([-1, 1]),
    st.floats(300, 600),
    st.floats(-150, 150),
    st.integers(0, 2**31),
)
def test_noisy_bead_widths_give_the_lens_back(
    sigma: float, offset: float, side: int, depth: float, middle: float, seed: int
) -> None:
    true = Astigmatism(sigma, side * offset, depth)
    noise = 0.01 * sigma * np.random.default_rng(seed).standard_normal((2, len(Z)))
    along, down = true.widths_px(Z - middle)
    found = fit_astigmatism(Z, along + noise[0], down + noise[1])
    assert found.model.sigma_px == pytest.approx(sigma, rel=0.03)
    assert found.model.focal_offset_nm == pytest.approx(side * offset, abs=15)
    assert found.model.focal_depth_nm == pytest.approx(depth, rel=0.05)
    assert found.focus_nm == pytest.approx(middle, abs=15)
    assert found.residual_px == pytest.approx(0.01 * sigma, rel=0.4)
    assert 0 < found.height_error_nm < 30


def test_higher_terms_are_found_where_they_are_wanted() -> None:
    true = Astigmatism(1.3, 250, 400, 0.05, 0.03)
    along, down = true.widths_px(Z)
    plain, full = (fit_astigmatism(Z, along, down, higher_order=wanted) for wanted in (False, True))
    assert full.residual_px < 1e-6 < plain.residual_px
    assert (full.model.cubic, full.model.quartic) == (pytest.approx(0.05, abs=1e-4), pytest.approx(0.03, abs=1e-4))


def test_the_lines_for_the_configuration_can_be_read_by_it() -> None:
    import yaml

    lines = fit_astigmatism(Z, *Astigmatism(1.3, 250, 400).widths_px(Z)).lines
    told = PointSpreadConfig.model_validate(yaml.safe_load(lines)["point_spread"])
    assert (told.model, told.sigma_px, told.focal_offset_nm, told.range_nm) == ("astigmatic", 1.3, 250, 800)


ROUND = Astigmatism(1.3, 10, 400).widths_px(Z)
GOOD = Astigmatism(1.3, 250, 400).widths_px(Z)
WILD = tuple(w * (1 + 0.3 * np.sin(Z / 40 + axis)) for axis, w in enumerate(GOOD))


@pytest.mark.parametrize(
    ("z", "widths", "words"),
    [
        (Z, ROUND, "sharpest at the same height"),
        (Z, WILD, "leave the curves"),
        (Z[:5], (GOOD[0][:5], GOOD[1][:5]), "5 heights"),
        (Z[:20], (GOOD[0][:20], GOOD[1][:20]), "along x has no minimum"),
        (Z, (GOOD[0], GOOD[1][:-1]), "differ in number"),
        (Z, (GOOD[0], np.where(Z > 0, np.nan, GOOD[1])), "no positive number"),
        (Z, (GOOD[0], -GOOD[1]), "no positive number"),
    ],
)
def test_what_is_no_astigmatic_calibration(z: np.ndarray, widths: tuple[np.ndarray, np.ndarray], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        fit_astigmatism(z, *widths)
    assert caught.value.remedy

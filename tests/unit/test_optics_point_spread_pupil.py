"""Images from the pupil: Airy's pattern, Parseval's sum, focus, polarisation and aberrations as optics has them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.signal import zoom_fft
from scipy.special import j1

from smartscope.errors import InputError
from smartscope.optics.point_spread.pupil import Pupil, PupilOptics
from smartscope.optics.point_spread.zernike import NAMES

HIGH = PupilOptics(1.4, 670.0, 1.515)
SCALAR = PupilOptics(1.4, 670.0, 1.515, vectorial=False, points=256)


def widths(light: np.ndarray, reach: int = 6) -> tuple[float, float]:
    """Standard deviations along x and y of the middle of one plane, after its rim as background."""
    middle = light.shape[0] // 2
    near = light[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    near = near - near[0, 0]
    r = np.arange(-reach, reach + 1)
    return tuple(float(np.sqrt((near.sum(axis=axis) * r**2).sum() / near.sum())) for axis in (0, 1))


def profile(optics: PupilOptics, step_nm: float = 5.0, points: int = 201) -> tuple[np.ndarray, np.ndarray]:
    """Distance (nm) and brightness along x, from the molecule on."""
    line = Pupil(optics).stack(0.0, step_nm, (1, points), place_px=(0.0, 0.0))[0, 0]
    return step_nm * np.arange(points), line / line[0]


def test_airys_pattern_in_focus() -> None:
    x, line = profile(SCALAR)
    v = 2 * np.pi * 1.4 * np.maximum(x, 1e-3) / 670
    np.testing.assert_allclose(line, (2 * j1(v) / v) ** 2, atol=2e-3)
    first = np.flatnonzero((line[1:-1] < line[2:]) & (line[1:-1] < line[:-2]))[0] + 1
    assert x[first] == pytest.approx(0.61 * 670 / 1.4, abs=5)  # Rayleigh
    assert line[first] < 1e-4


def test_the_best_gaussian_has_021_lambda_over_na() -> None:
    x, line = profile(SCALAR)
    fit = minimize_scalar(lambda s: ((np.exp(-(x**2) / (2 * s * s)) - line) ** 2).sum(), bounds=(20, 500))
    assert fit.x == pytest.approx(0.21 * 670 / 1.4, rel=0.03)


@pytest.mark.parametrize("vectorial", [False, True])
@pytest.mark.parametrize("z_nm", [0.0, 400.0])
def test_all_the_light_arrives(vectorial: bool, z_nm: float) -> None:
    """Parseval: over one period of the image, the light is that in the pupil."""
    pupil = Pupil(PupilOptics(0.9, 600.0, 1.33, vectorial=vectorial, points=48))
    assert np.sum(np.abs(pupil.fields(z_nm)) ** 2) == pytest.approx(1)
    period_nm = 48 * 600 / 1.8
    assert pupil.stack(z_nm, period_nm / 160, (160, 160)).sum() == pytest.approx(1, abs=2e-3)


def test_light_is_spread_by_defocus_not_lost() -> None:
    light = Pupil(HIGH).stack([0.0, 500.0], 100, (101, 101)).sum(axis=(1, 2))
    assert light == pytest.approx(0.99, abs=0.01)


@settings(max_examples=10, deadline=None)
@given(st.floats(50, 900), st.booleans())
def test_above_and_below_focus_look_alike_without_aberrations(z_nm: float, vectorial: bool) -> None:
    above, below = Pupil(PupilOptics(1.2, 600.0, 1.33, vectorial=vectorial)).stack([z_nm, -z_nm], 110, (15, 15))
    np.testing.assert_allclose(above, below, atol=1e-12)


def test_the_axis_goes_dark_where_born_and_wolf_say() -> None:
    """Section 8.8: first zero on the axis at z = 2 n lambda / NA^2, for a small aperture."""
    pupil = Pupil(PupilOptics(0.3, 600.0, 1.0, vectorial=False, points=128))
    dark_nm = 2 * 600 / 0.3**2
    z = np.linspace(0.8, 1.2, 41) * dark_nm
    axis = pupil.stack(z, 20, (1, 1)).ravel()
    assert z[axis.argmin()] == pytest.approx(dark_nm, rel=0.03)  # the sphere is no paraboloid: 2 % at this aperture
    assert axis.min() < 1e-3 * pupil.stack(0.0, 20, (1, 1)).item()


@pytest.mark.parametrize("vectorial", [False, True])
def test_astigmatism_makes_ellipses_that_swap(vectorial: bool) -> None:
    optics = PupilOptics(1.4, 670.0, 1.515, vectorial=vectorial, aberrations_nm={NAMES["vertical_astigmatism"]: 60.0})
    above, focus, below = (widths(plane) for plane in Pupil(optics).stack([300.0, 0.0, -300.0], 100, (31, 31)))
    assert above == pytest.approx(below[::-1], rel=1e-9)
    assert focus[0] == pytest.approx(focus[1], rel=1e-9)
    assert max(above) > 1.25 * min(above)


def test_scalar_and_vectorial_agree_at_a_low_aperture_and_not_at_a_high_one() -> None:
    low, high = (
        [Pupil(PupilOptics(aperture, 600.0, 1.515, vectorial=v)).stack([0, z], size, (21, 21)) for v in (False, True)]
        for aperture, z, size in ((0.2, 10_000.0, 600.0), (1.4, 300.0, 80.0))
    )
    np.testing.assert_allclose(low[0], low[1], atol=0.01 * low[0].max())
    assert widths(high[1][0])[0] > 1.05 * widths(high[0][0])[0]  # a molecule that turns freely looks wider


def test_a_free_molecule_is_round_and_even() -> None:
    light = Pupil(HIGH).stack(150.0, 100, (21, 21))[0]
    np.testing.assert_allclose(light, light.T, atol=1e-12)
    np.testing.assert_allclose(light, light[::-1], atol=1e-12)


def test_the_matrices_are_a_fourier_transform() -> None:
    """Against scipy's chirp-z transform, on points so fine that pixels do not count."""
    optics = PupilOptics(1.4, 670.0, 1.515, aberrations_nm={5: 30.0, 8: 20.0, 11: 25.0})
    pupil, step_nm, n = Pupil(optics), 40.0, 15
    fields = pupil.fields(200.0)
    period_nm = optics.points * 670 / 2.8
    band = np.array([-(n // 2), n // 2]) * step_nm / period_nm
    image = fields.conj()  # zoom_fft turns the other way round
    for axis in (1, 2):
        image = zoom_fft(image, band, m=n, fs=1.0, endpoint=True, axis=axis)
    expected = (np.abs(image) ** 2).sum(axis=0)
    found = np.array(
        [[pupil.stack(200.0, 1.0, (1, 1), place_px=(-step_nm * i, -step_nm * j)).item() for i in range(-7, 8)]
         for j in range(-7, 8)]
    )  # fmt: skip
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=2e-6)


def test_pixels_integrate() -> None:
    pupil = Pupil(HIGH)
    coarse = pupil.stack(100.0, 120, (9, 9))[0]
    fine = pupil.stack(100.0, 24, (45, 45))[0]
    np.testing.assert_allclose(coarse, fine.reshape(9, 5, 9, 5).sum(axis=(1, 3)), atol=1e-3 * coarse.max())


def test_a_tilt_moves_the_spot() -> None:
    optics = PupilOptics(1.4, 670.0, 1.515, aberrations_nm={NAMES["tilt_x"]: 70.0})
    moved = Pupil(optics).stack(0.0, 50, (21, 21))
    np.testing.assert_allclose(moved, Pupil(HIGH).stack(0.0, 50, (21, 21), place_px=(8.0, 10.0)), atol=1e-9)


def test_coma_is_one_sided_and_spherical_aberration_knows_above_from_below() -> None:
    coma = Pupil(PupilOptics(1.4, 670.0, aberrations_nm={NAMES["coma_x"]: 50.0})).stack(0.0, 100, (21, 21))[0]
    assert np.abs(coma - coma[::-1]).max() < 1e-9
    assert np.abs(coma - coma[:, ::-1]).max() > 0.05 * coma.max()
    above, below = Pupil(PupilOptics(1.4, 670.0, aberrations_nm={11: 50.0})).stack([400.0, -400.0], 100, (21, 21))
    assert np.abs(above - below).max() > 0.15 * max(above.max(), below.max())


def test_water_above_glass_blurs_with_depth_but_the_focus_is_kept() -> None:
    z = np.linspace(-600, 600, 61)
    near, deep = (
        Pupil(PupilOptics(1.25, 600.0, 1.515, sample_index=1.33, depth_nm=d)).stack(z, 100, (15, 15)) for d in (0, 6000)
    )
    peaks = [stack.max(axis=(1, 2)) for stack in (near, deep)]
    assert peaks[1].max() < 0.85 * peaks[0].max()
    assert abs(z[peaks[0].argmax()]) <= 20
    assert abs(z[peaks[1].argmax()]) <= 300
    assert np.abs(peaks[1] - peaks[1][::-1]).max() > 0.1 * peaks[1].max()


def test_an_aperture_beyond_that_of_water_sees_molecules_at_the_glass() -> None:
    stack = Pupil(PupilOptics(1.49, 600.0, 1.515, sample_index=1.33)).stack([0.0, 100.0], 100, (61, 61))
    assert np.isfinite(stack).all()
    assert stack.sum(axis=(1, 2)) == pytest.approx(0.97, abs=0.03)


@pytest.mark.parametrize("oversampling", [1, 2])
def test_as_a_spline(oversampling: int) -> None:
    pupil = Pupil(PupilOptics(1.4, 670.0, 1.515, aberrations_nm={6: 60.0}))
    spline = pupil.spline((-400, 400), 50, 100, 21, oversampling)
    assert (spline.range_nm, spline.size_px) == ((-400, 400), (21, 21))
    x, y, z = 9.7, 10.2, 130.0
    expected = pupil.stack(z, 100, (21, 21), place_px=(x, y))[0]
    error = np.abs(spline.spots(x, y, z, (21, 21)).values[0] - expected)[2:-2, 2:-2].max() / expected.max()
    assert error < (0.04, 0.004)[oversampling - 1]


@pytest.mark.parametrize(
    ("optics", "words"),
    [
        (PupilOptics(1.4, 670.0, 1.33), "aperture 1.4 in a medium of index 1.33"),
        (PupilOptics(0.0, 670.0), "no optics"),
        (PupilOptics(1.2, float("nan")), "no optics"),
        (PupilOptics(1.2, 600.0, points=4), "4 points"),
        (PupilOptics(1.2, 600.0, aberrations_nm={0: 1.0}), "Noll's number 0"),
    ],
)
def test_what_is_no_objective(optics: PupilOptics, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Pupil(optics)

"""Camera noise: the law of each camera, and that it follows from (seed, frame, pixel) alone."""

import numpy as np
import pytest
from scipy import stats

from smartscope.config import CameraCalibration
from smartscope.errors import InputError
from smartscope.frame import Roi
from smartscope.optics.camera_noise import CameraNoise

SHAPE = (512, 512)
WHOLE = Roi(0, 0, 512, 512)
MEANS = (0.1, 0.5, 1.0, 3.3, 10.0, 31.5, 32.5, 100.0, 1000.0, 10_000.0)


def counts(calibration: CameraCalibration, mean: float, frame: int = 0, seed: int = 7) -> np.ndarray:
    """Counts of one evenly lit frame."""
    out = np.zeros(SHAPE, np.uint16)
    CameraNoise(calibration, SHAPE, seed).expose(np.full(SHAPE, mean, np.float32), out, WHOLE, frame)
    return out


def assert_moments(values: np.ndarray, mean: float, variance: float, skewness: float) -> None:
    """Within five standard errors."""
    values = values.ravel()
    n = values.size
    kurtosis = stats.kurtosis(values)
    assert abs(values.mean() - mean) < 5 * np.sqrt(variance / n)
    assert abs(values.var() - variance) < 5 * variance * np.sqrt((2 + kurtosis) / n) + 6e-4 * variance
    assert abs(stats.skew(values) - skewness) < 5 * np.sqrt((6 + 10 * abs(kurtosis)) / n) + 0.002 * skewness


@pytest.mark.parametrize("mean", MEANS)
def test_shot_noise_is_poisson(mean: float) -> None:
    ideal = CameraCalibration(offset_adu=0, electrons_per_adu=1, read_noise_e=0, full_well_e=60_000)
    values = np.concatenate([counts(ideal, mean, frame).ravel() for frame in range(4)]).astype(float)
    assert_moments(values, mean, mean, mean**-0.5)


@pytest.mark.parametrize("mean", [0.7, 5.0, 20.0])
def test_small_means_have_the_poisson_distribution(mean: float) -> None:
    ideal = CameraCalibration(offset_adu=0, electrons_per_adu=1, read_noise_e=0)
    seen = np.bincount(counts(ideal, mean).ravel(), minlength=60)[:60]
    expected = stats.poisson.pmf(np.arange(60), mean) * SHAPE[0] * SHAPE[1]
    common = expected > 20
    chi_square = ((seen - expected) ** 2 / expected)[common].sum()
    assert stats.chi2.sf(chi_square, common.sum()) > 1e-4


@pytest.mark.parametrize("mean", [1.0, 10.0, 200.0])
def test_emccd_doubles_the_variance(mean: float) -> None:
    """Gamma register: variance 2 mu, third moment 6 mu (compound Poisson of exponentials)."""
    camera = CameraCalibration(offset_adu=500, electrons_per_adu=10, read_noise_e=0, em_gain=300, full_well_e=1e6)
    values = (counts(camera, mean).astype(float) - 500) * 10 / 300
    assert_moments(values, mean, 2 * mean, 6 / 2**1.5 * mean**-0.5)


def test_read_noise_of_an_emccd_comes_after_the_register() -> None:
    camera = CameraCalibration(offset_adu=500, electrons_per_adu=10, read_noise_e=80, em_gain=300)
    assert counts(camera, 0.0).std() == pytest.approx(8, rel=0.01)


def test_offset_gain_and_read_noise() -> None:
    camera = CameraCalibration(offset_adu=120, electrons_per_adu=0.5, read_noise_e=2)
    dark = counts(camera, 0.0).astype(float)
    assert dark.mean() == pytest.approx(120, abs=0.05)
    assert dark.std() == pytest.approx(4, rel=0.01)
    assert counts(camera, 1000.0).mean() == pytest.approx(120 + 2000, rel=1e-3)


def test_read_noise_is_normal_into_the_tail() -> None:
    fine = CameraCalibration(offset_adu=30_000, electrons_per_adu=0.01, read_noise_e=20, full_well_e=1e5)
    values = (counts(fine, 0.0).ravel().astype(float) - 30_000) / 2000
    assert stats.kstest(values, "norm").pvalue > 1e-4
    beyond = (np.abs(values) > 3.5).sum()
    expected = 2 * stats.norm.sf(3.5) * values.size
    assert abs(beyond - expected) < 5 * np.sqrt(expected)


def test_saturation_ends_at_full_well_or_converter() -> None:
    well = CameraCalibration(full_well_e=1000, electrons_per_adu=1, read_noise_e=0, offset_adu=100)
    assert (counts(well, 5000.0) == 1100).all()
    assert well.saturation_adu == 1100
    converter = CameraCalibration(bit_depth=12)
    assert (counts(converter, 20_000.0) == 4095).all()


def test_noise_follows_from_seed_frame_and_pixel() -> None:
    camera = CameraCalibration()
    first = counts(camera, 50.0, frame=3)
    np.testing.assert_array_equal(first, counts(camera, 50.0, frame=3))
    for other in (counts(camera, 50.0, frame=4), counts(camera, 50.0, frame=3, seed=8)):
        correlation = np.corrcoef(first.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 5 / 512


def test_neighbouring_pixels_are_independent() -> None:
    image = counts(CameraCalibration(), 50.0).astype(float)
    for a, b in ((image[1:], image[:-1]), (image[:, 1:], image[:, :-1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / 512


def test_maps_are_cropped_to_the_roi(tmp_path) -> None:
    rng = np.random.default_rng(0)
    offsets, gains = rng.uniform(50, 150, (32, 48)), rng.uniform(0.4, 0.6, (32, 48))
    np.save(tmp_path / "offset.npy", offsets)
    np.save(tmp_path / "gain.npy", gains)
    camera = CameraCalibration(
        read_noise_e=0, offset_map=str(tmp_path / "offset.npy"), gain_map=str(tmp_path / "gain.npy")
    )
    noise = CameraNoise(camera, (32, 48), 1)
    roi = Roi(x=5, y=3, width=20, height=10)
    stack = np.zeros((400, 10, 20), np.uint16)
    for frame, out in enumerate(stack):
        noise.expose(np.full(out.shape, 400, np.float32), out, roi, frame)
    crop = np.s_[3:13, 5:25]
    assert np.abs(stack.mean(axis=0) - (offsets[crop] + 400 / gains[crop])).max() < 5 * 20 / 0.4 / 20


def test_a_map_that_cannot_be_used_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"camera\.gain_map: cannot read"):
        CameraNoise(CameraCalibration(gain_map=str(tmp_path / "absent.npy")), SHAPE, 1)
    np.save(tmp_path / "small.npy", np.ones((2, 2)))
    with pytest.raises(InputError, match=r"camera\.offset_map: shape \(2, 2\); allowed: \(512, 512\)"):
        CameraNoise(CameraCalibration(offset_map=str(tmp_path / "small.npy")), SHAPE, 1)

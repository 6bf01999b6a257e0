"""The noise of an ordinary movie: right at every brightness, whatever the camera, the structure or the correlation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from smartscope.config import CameraCalibration
from smartscope_models.estimate import NoiseEstimate, chosen_frames, estimate_calibration, estimate_noise

CAMERA = CameraCalibration()
SIZE = 256
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.97)
Image = np.ndarray


def scene(peak_e: float, blur_px: float = 1.3, seed: int = 0) -> Image:
    """Winding filaments and blurred discs; expected photo-electrons."""
    rng = np.random.default_rng(seed)
    image = np.zeros((SIZE, SIZE))
    for _ in range(25):
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.03, 600))
        row, column = (rng.uniform(0, SIZE) + 0.5 * np.cumsum(part(heading)) for part in (np.sin, np.cos))
        np.add.at(image, (row.astype(int) % SIZE, column.astype(int) % SIZE), rng.uniform(0.4, 1))
    y, x = np.mgrid[:SIZE, :SIZE]
    for _ in range(6):
        image += 2 * (np.hypot(y - rng.uniform(0, SIZE), x - rng.uniform(0, SIZE)) < rng.uniform(15, 35))
    image = ndimage.gaussian_filter(image, blur_px, mode="wrap")
    return image / np.percentile(image, 99.9) * peak_e + max(2.0, 0.05 * peak_e)


def scmos(light_e: Image, rng: np.random.Generator) -> tuple[Image, Image, Image]:
    """(counts, expected counts, variance)."""
    counts = (rng.poisson(light_e) + rng.normal(0, 1.4, light_e.shape)) / 0.46 + 100
    return np.rint(counts), light_e / 0.46 + 100, (light_e + 1.4**2) / 0.46**2 + 1 / 12


def emccd(light_e: Image, rng: np.random.Generator) -> tuple[Image, Image, Image]:
    electrons = rng.poisson(light_e)
    multiplied = np.where(electrons > 0, rng.gamma(np.maximum(electrons, 1e-9), 200), 0)
    counts = (multiplied + rng.normal(0, 50, light_e.shape)) / 5 + 200
    return np.rint(counts), light_e * 40 + 200, 2 * 40**2 * light_e + 100


def confocal(light_e: Image, rng: np.random.Generator) -> tuple[Image, Image, Image]:
    """Eight bits, several counts for a photon, a black level that cuts off what lies below."""
    top_e = np.percentile(light_e, 99.9)
    gain = 200 / (top_e + 4 * np.sqrt(top_e))
    counts = np.rint(rng.poisson(light_e) * gain + rng.normal(0, 0.2, light_e.shape) + 3)
    return np.clip(counts, 3, 255), light_e * gain + 3, gain**2 * light_e + 0.2**2 + 1 / 12


CAMERAS = {"scmos": scmos, "emccd": emccd, "confocal": confocal}


def worst_ratio(found: NoiseEstimate, mean: Image, variance: Image) -> float:
    """Largest deviation (a factor, above 1) of the estimated variance from the true one, over brightness."""
    levels = np.quantile(mean, QUANTILES)
    order = np.argsort(mean.ravel())
    true = np.interp(levels, mean.ravel()[order], variance.ravel()[order])
    return float(np.exp(np.abs(np.log(found.variance(levels) / true)).max()))


def as_pixels(*images: Image) -> list[np.ndarray]:
    return [np.clip(image, 0, 65535).astype(np.uint16) for image in images]


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("peak_e", [5, 20, 200])
@pytest.mark.parametrize("frames", [1, 2])
def test_the_variance_is_right_within_a_tenth(camera: str, peak_e: float, frames: int) -> None:
    rng = np.random.default_rng(1)
    taken = [CAMERAS[camera](scene(peak_e), rng) for _ in range(frames)]
    found = estimate_noise(as_pixels(*(counts for counts, _, _ in taken)))
    assert worst_ratio(found, *taken[0][1:]) < 1.12
    assert found.warnings == ()


def test_structure_as_sharp_as_the_pixels_is_passed_over() -> None:
    """Undersampled: no filter can tell it from noise, but most of the field is free of it; two frames cancel it."""
    rng = np.random.default_rng(2)
    light = scene(200, blur_px=0.5)
    counts, mean, variance = scmos(light, rng)
    assert worst_ratio(estimate_noise(as_pixels(counts)), mean, variance) < 1.25
    again, _, _ = scmos(light, rng)
    assert worst_ratio(estimate_noise(as_pixels(counts, again)), mean, variance) < 1.1


def test_what_moves_between_frames_is_no_noise() -> None:
    rng = np.random.default_rng(3)
    light = scene(100)
    counts, mean, variance = scmos(light, rng)
    moved, _, _ = scmos(np.roll(light, (2, 3), (0, 1)), rng)
    assert worst_ratio(estimate_noise(as_pixels(counts, moved)), mean, variance) < 1.12


@pytest.mark.parametrize("axis", [0, 1])
def test_correlated_noise_is_measured_and_undone(axis: int) -> None:
    rng = np.random.default_rng(4)
    light = scene(100)
    noise = rng.normal(0, 1, light.shape)
    mixed = (noise + 0.15 * np.roll(noise, 1, axis)) / np.hypot(1, 0.15)  # lag 1: 0.147
    counts = light + mixed * np.sqrt(light + 9)
    found = estimate_noise(as_pixels(np.rint(counts + 50)))
    lags = (found.lag1_y, found.lag1_x)
    assert lags[axis] == pytest.approx(0.147, abs=0.025)
    assert lags[1 - axis] == pytest.approx(0, abs=0.025)
    assert worst_ratio(found, light + 50, light + 9) < 1.12
    (said,) = found.warnings
    assert said.startswith(f"the noise of neighbours along {'yx'[axis]} is correlated by 0.1")


def test_resampled_images_are_warned_of() -> None:
    counts, _, _ = scmos(scene(50), np.random.default_rng(5))
    doubled = ndimage.zoom(counts, 2, order=1)
    (said,) = estimate_noise(as_pixels(np.rint(doubled))).warnings
    assert "resampled or smoothed" in said


def test_a_fixed_pattern_is_noise_to_a_single_frame() -> None:
    rng = np.random.default_rng(6)
    light, pattern = scene(20), rng.normal(0, 2, (SIZE, SIZE))
    taken = [scmos(light, rng) for _ in range(4)]
    found = estimate_noise(as_pixels(*(np.rint(counts + pattern) for counts, _, _ in taken)))
    assert found.fixed_pattern_adu2 == pytest.approx(4, rel=0.25)
    assert worst_ratio(found, taken[0][1], taken[0][2] + 4) < 1.1
    without = estimate_noise(as_pixels(*(counts for counts, _, _ in taken)))
    assert without.fixed_pattern_adu2 == 0


def test_saturated_places_do_not_count() -> None:
    rng = np.random.default_rng(7)
    light = scene(200)
    counts, mean, variance = scmos(light, rng)
    top = 255
    gain = top / np.quantile(mean, 0.97)
    cut = np.clip(np.rint(counts * gain), 0, top)
    found = estimate_noise(as_pixels(cut))
    keep = mean < np.quantile(mean, 0.9)
    assert worst_ratio(found, mean[keep] * gain, variance[keep] * gain**2 + 1 / 12) < 1.12


def test_a_field_of_one_brightness_tells_its_noise_and_no_slope() -> None:
    rng = np.random.default_rng(8)
    counts = rng.poisson(30, (SIZE, SIZE)) + 100
    found = estimate_noise(as_pixels(counts))
    assert found.variance(130) == pytest.approx(30, rel=0.05)
    assert 0.3 < found.slope_adu < 3  # all of it shot noise above the darkest counts


def test_structure_everywhere_gives_too_much_noise_rather_than_none() -> None:
    rng = np.random.default_rng(9)
    checks = 50 + 40 * (np.indices((SIZE, SIZE)).sum(0) // 2 % 2)
    taken = [np.rint(checks + rng.normal(0, 2, (SIZE, SIZE))) for _ in range(2)]
    assert estimate_noise(as_pixels(taken[0])).variance(70) > 4
    assert estimate_noise(as_pixels(*taken)).variance(70) == pytest.approx(4, rel=0.15)


def test_saturation_everywhere_leaves_what_noise_there_is() -> None:
    rng = np.random.default_rng(11)
    cut = np.clip(rng.normal(252, 4, (SIZE, SIZE)), 0, 255)
    assert 1 < estimate_noise(as_pixels(np.rint(cut))).variance(252) < 17


@pytest.mark.parametrize("electrons_per_adu", [0.3, 2.0])
def test_gain_and_zero_level_become_a_calibration(electrons_per_adu: float) -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:256, :256]
    light = 20 + 200 * np.exp(-((x - 128) ** 2 + (y - 100) ** 2) / 5000)
    counts = [np.rint(rng.poisson(light) / electrons_per_adu + 50) for _ in range(3)]
    camera = estimate_calibration(as_pixels(*counts), CAMERA, 16)
    assert camera.electrons_per_adu == pytest.approx(electrons_per_adu, rel=0.1)
    assert camera.offset_adu == pytest.approx(50, abs=8 / electrons_per_adu)
    assert (camera.bit_depth, camera.em_gain, camera.gain_map) == (16, 1, None)
    assert camera.full_well_e == 2**16 * camera.electrons_per_adu


def test_noise_at_zero_is_read_noise() -> None:
    camera = NoiseEstimate(0.5, 8.0).calibration(CAMERA, 8)
    assert (camera.electrons_per_adu, camera.offset_adu) == (2, 0)
    assert camera.read_noise_e == pytest.approx(2 * 8**0.5)


@pytest.mark.parametrize("level", [0, 7, 65535])
def test_a_movie_that_tells_nothing_still_gives_a_camera(level: int) -> None:
    camera = estimate_calibration([np.full((64, 64), level, np.uint16), np.zeros((4, 4), np.uint16)], CAMERA, 8)
    assert camera.electrons_per_adu == 1
    assert estimate_calibration([np.zeros((4, 4), np.uint16)], CAMERA, 8).electrons_per_adu == 1
    flat = np.full((64, 64), level, np.uint16)
    assert estimate_calibration([flat, flat], CAMERA, 8).electrons_per_adu == 1


def test_the_same_frame_twice_is_one_frame() -> None:
    counts, _, _ = scmos(scene(50), np.random.default_rng(10))
    (frame,) = as_pixels(counts)
    assert estimate_noise([frame, frame]) == estimate_noise([frame])


def test_pairs_are_spread_over_the_movie() -> None:
    assert [chosen_frames(n) for n in (0, 1, 2, 3)] == [[], [0], [0, 1], [0, 1]]
    assert chosen_frames(5) == [0, 1, 2, 3]
    assert chosen_frames(100) == [0, 1, 48, 49, 98, 99]
    for n in range(2, 40):
        assert max(chosen_frames(n)) < n

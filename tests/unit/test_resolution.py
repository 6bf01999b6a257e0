"""Ring correlation and decorrelation tell the cut-off of images whose cut-off is known."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from smartscope.errors import InputError
from smartscope_models.resolution import LEVEL, decorrelation, ring_correlation, ring_resolution, spectrum

SIZE, PIXEL_NM = 256, 50.0


def texture(cutoff: float, seed: int = 1) -> np.ndarray:
    """(SIZE, SIZE) random picture without anything beyond ``cutoff`` of half the sampling frequency."""
    axis = np.fft.fftfreq(SIZE, 0.5)
    inside = np.hypot(axis, axis[:, None]) < cutoff
    return np.fft.ifft2(np.fft.fft2(np.random.default_rng(seed).standard_normal((SIZE, SIZE))) * inside).real


def noise(seed: int, share: float = 0.1) -> np.ndarray:
    return share * np.random.default_rng(seed).standard_normal((SIZE, SIZE))


@pytest.mark.parametrize("cutoff", [0.25, 0.5, 0.75])
def test_a_sharp_cutoff_is_found_by_both(cutoff: float) -> None:
    picture = texture(cutoff)
    picture /= picture.std()
    expected = 2 * PIXEL_NM / cutoff
    one, two = picture + noise(2), picture + noise(3)
    rings = SIZE * PIXEL_NM / ring_resolution(one, two, SIZE * PIXEL_NM)
    # curves are smoothed over five rings, and the fading spreads each frequency
    assert rings == pytest.approx(cutoff * SIZE / 2, abs=6)
    assert decorrelation(one, PIXEL_NM).resolution_nm == pytest.approx(expected, rel=0.07)


def test_noise_has_no_resolution() -> None:
    assert ring_resolution(noise(1), noise(2), SIZE * PIXEL_NM) > 20 * PIXEL_NM
    found = decorrelation(noise(1), PIXEL_NM)
    assert math.isinf(found.resolution_nm)
    assert found.amplitude < 0.1


def test_more_noise_lowers_the_amplitude_and_the_resolution() -> None:
    picture = np.cumsum(np.cumsum(texture(0.6), 0), 1)
    picture = texture(0.6) + 0.5 * picture / picture.std()
    found = [decorrelation(picture + noise(4, share), PIXEL_NM) for share in (0.01, 0.3, 1.0)]
    assert found[0].amplitude > found[1].amplitude > found[2].amplitude
    assert found[0].resolution_nm <= found[1].resolution_nm <= found[2].resolution_nm


def test_the_same_picture_twice_agrees_everywhere() -> None:
    picture = texture(0.9)
    assert ring_correlation(picture, picture) == pytest.approx(np.ones(SIZE // 2), abs=1e-9)
    assert ring_resolution(picture, picture, SIZE * PIXEL_NM) == pytest.approx(2 * PIXEL_NM, rel=0.02)


def test_a_curve_is_followed_to_where_it_first_falls() -> None:
    one, two = texture(0.5, 5) + noise(6, 0.2), texture(0.5, 5) + noise(7, 0.2)
    curve = ring_correlation(one, two)
    at = SIZE * PIXEL_NM / ring_resolution(one, two, SIZE * PIXEL_NM)
    assert np.interp(at, np.arange(len(curve)), curve) == pytest.approx(LEVEL, abs=1e-6)


def test_a_flat_picture_says_nothing() -> None:
    assert ring_resolution(np.ones((64, 64)), np.ones((64, 64)), 64.0) == 64.0
    assert math.isinf(decorrelation(np.ones((64, 64)), 1.0).resolution_nm)


@pytest.mark.parametrize(
    ("image", "what"),
    [(np.ones((64, 32)), "square"), (np.ones((8, 8)), "16 pixels"), (np.full((64, 64), np.nan), "no numbers")],
)
def test_pictures_that_cannot_be_judged_are_refused(image: np.ndarray, what: str) -> None:
    with pytest.raises(InputError, match=what):
        spectrum(image)
    with pytest.raises(InputError):
        decorrelation(image, 1.0)


def test_pictures_of_different_size_are_refused() -> None:
    with pytest.raises(InputError, match="same size"):
        ring_correlation(np.ones((64, 64)), np.ones((32, 32)))


def test_the_authors_own_image_is_finer_than_its_optics_pixels() -> None:
    folder = Path(os.environ.get("SMARTSCOPE_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "imdecorr" / "test_image.tif"
    if not path.exists():
        pytest.skip(f"no {path}; set SMARTSCOPE_DATA")
    found = decorrelation(tifffile.imread(path).astype(float), 1.0)
    assert 2.0 < found.resolution_nm < 20.0
    assert 0 < found.amplitude < 1

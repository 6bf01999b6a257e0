"""Pictures are made smaller by exact block means and eight-bit between fixed limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope.bus.preview import shrink, to_uint8


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.sampled_from(["u2", "f4"]))
def test_each_pixel_is_the_mean_of_its_block(height: int, width: int, max_size: int, dtype: str) -> None:
    image = np.random.default_rng(height * 41 + width).integers(0, 65536, (height, width)).astype(dtype)
    small, k = shrink(image, max_size)
    assert small.dtype == image.dtype
    assert small.shape == (height // k, width // k)
    assert max(small.shape) <= max_size or k == min(height, width)
    blocks = image[: small.shape[0] * k, : small.shape[1] * k].reshape(small.shape[0], k, small.shape[1], k)
    mean = blocks.mean(axis=(1, 3), dtype=np.float64)
    np.testing.assert_allclose(small, mean, atol=0.5 if dtype == "u2" else 0, rtol=1e-5)


def test_a_picture_small_enough_is_handed_on_as_it_is() -> None:
    image = np.zeros((8, 8), np.uint16)
    small, k = shrink(image, 8)
    assert small is image
    assert k == 1


def test_window_maps_to_the_ends_and_clips() -> None:
    image = np.array([[0, 100, 200], [300, 65535, 150]], np.uint16)
    np.testing.assert_array_equal(to_uint8(image, 100, 300), [[0, 0, 128], [255, 255, 64]])


@pytest.mark.parametrize("limits", [(0.0, 1e-300), (-1e300, 1e300), (0.0, 1.0)])
def test_extreme_windows_and_values_raise_no_warning(limits: tuple[float, float]) -> None:
    image = np.array([[np.nan, np.inf, -np.inf, 1e38]], np.float32)
    assert to_uint8(image, *limits).dtype == np.uint8
    assert to_uint8(image, 0, 1).tolist() == [[0, 255, 0, 255]]

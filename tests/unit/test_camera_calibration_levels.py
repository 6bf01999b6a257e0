"""Mean and variance of any number of frames, one in memory at a time, whatever the light does meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from smartscope.camera_calibration.levels import LEAST_DARK, LEAST_LIT, LevelStatistics
from smartscope.errors import InputError

RANDOM = np.random.default_rng(4)


def of(frames: np.ndarray, offset_adu: float | None = None) -> LevelStatistics:
    statistics = LevelStatistics("frames.tif", offset_adu=offset_adu)
    for frame in frames:
        statistics.add(frame)
    return statistics


@settings(max_examples=25, deadline=None)
@given(arrays.arrays(np.uint16, st.tuples(st.integers(LEAST_DARK, 30), st.integers(1, 5), st.integers(1, 5))))
def test_a_dark_level_is_what_numpy_says_of_the_stack(stack: np.ndarray) -> None:
    statistics = of(stack)
    assert statistics.frames == len(stack)
    level = statistics.level()
    levelled = stack - stack.mean((1, 2), keepdims=True) + stack[0].mean()  # the offset's drift is no noise
    np.testing.assert_allclose(level.mean_adu, levelled.mean(0), rtol=1e-5, atol=0.02)
    np.testing.assert_allclose(level.variance_adu2, levelled.var(0, ddof=1), rtol=1e-4, atol=1e-3)
    assert level.histogram.sum() == stack.size
    assert level.highest_adu == stack.max()
    assert level.drift == pytest.approx(np.abs(stack.mean((1, 2)) - stack[0].mean()).max())


def test_light_that_fades_is_neither_noise_nor_signal() -> None:
    """Mean and variance belong to each other: shot noise of a frame scaled up is that of a brighter one."""
    fading = np.linspace(1, 0.7, 2000)
    stack = (100 + RANDOM.poisson(400 * fading[:, None, None], (2000, 16, 16))).astype(np.uint16)
    level = of(stack, 100.0).level()
    ratio = level.variance_adu2.mean() / (level.mean_adu - 100).mean()
    assert ratio == pytest.approx(1, abs=5 * np.sqrt(2 / stack.size))
    assert level.drift == pytest.approx(0.3, abs=0.02)
    assert level.steadiness == pytest.approx(1, abs=0.01)


def test_a_scene_that_changes_is_seen() -> None:
    stack = RANDOM.poisson(100, (40, 32, 32)) + 40 * (np.arange(40)[:, None, None] > 20) * (np.arange(32) % 2)
    assert of(stack.astype(np.uint16), 10.0).level().steadiness < 0.8


def test_frames_that_are_all_alike_are_steady() -> None:
    level = of(np.full((20, 4, 4), 7, np.uint16)).level()
    assert (level.variance_adu2.max(), level.steadiness) == (0, 1)


@pytest.mark.parametrize(("offset_adu", "least"), [(None, LEAST_DARK), (10.0, LEAST_LIT)])
def test_too_few_frames(offset_adu: float | None, least: int) -> None:
    stack = RANDOM.poisson(100, (least - 1, 4, 4)).astype(np.uint16)
    with pytest.raises(InputError, match=rf"frames.tif: {least - 1} frames; allowed: >= {least} frames"):
        of(stack, offset_adu).level()
    assert LevelStatistics("none").frames == 0


def test_frames_of_another_size() -> None:
    statistics = of(np.zeros((1, 4, 6), np.uint16))
    with pytest.raises(InputError, match=r"frame 1 is 6 x 4, those before 4 x 6"):
        statistics.add(np.zeros((6, 4), np.uint16))


def test_light_no_brighter_than_the_dark() -> None:
    with pytest.raises(InputError, match=r"mean 50.0 ADU, no brighter than the dark frames' 100.0 ADU"):
        of(np.full((1, 4, 4), 50, np.uint16), 100.0)

"""Scenes for training: reproducible, non-negative, band-limited, a fair part of them empty, and moving as told."""

from __future__ import annotations

import numpy as np
import pytest

from smartscope_models.training.scenes import EMPTY_SHARE, SHARES, draw_scene
from smartscope_models.training.structures import FIELD_STRUCTURES, POINT_STRUCTURES


def test_the_same_seed_gives_the_same_scene() -> None:
    first, again, other = draw_scene((1, 4), 64), draw_scene((1, 4), 64), draw_scene((1, 5), 64)
    assert np.array_equal(first.frames, again.frames)
    assert not np.array_equal(first.frames, other.frames)


def test_scenes_are_scaled_and_never_negative() -> None:
    for k in range(12):
        scene = draw_scene((2, k), 64)
        assert scene.frames.shape == (3, 64, 64)
        assert scene.frames.dtype == np.float32
        assert scene.frames.min() >= 0
        if not scene.empty:
            assert np.percentile(scene.frames[-1], 99.9) == pytest.approx(1.0, rel=1e-3)


def test_a_fair_part_is_empty() -> None:
    empty = sum(draw_scene((3, k), 32).empty for k in range(200))
    assert 0.5 * EMPTY_SHARE < empty / 200 < 1.7 * EMPTY_SHARE


def test_nothing_is_sharper_than_the_optics() -> None:
    """Beyond the cut-off a scene holds less than a thousandth of its contrast (clipping, the window)."""
    scene = next(s for k in range(40) if (s := draw_scene((4, k), 128)).psf_sigma_px > 1.6 and not s.empty)
    window = np.hanning(128)
    spectrum = np.abs(np.fft.fft2((scene.frames[-1] - scene.frames[-1].mean()) * window[:, None] * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128))
    assert spectrum[frequency > 0.42].sum() < 1e-3 * spectrum.sum()


def test_some_scenes_move_and_some_are_still() -> None:
    change = [np.abs(np.diff(draw_scene((5, k), 48).frames, axis=0)).max() for k in range(24)]
    assert any(value < 1e-4 for value in change)
    assert any(value > 1e-2 for value in change)


@pytest.mark.parametrize("name", sorted(POINT_STRUCTURES))
def test_points_have_an_owner_and_positive_amounts(name: str) -> None:
    points = POINT_STRUCTURES[name](96, np.random.default_rng(1))
    assert points.xy_px.shape == (len(points.amount), 2)
    assert len(points.owner) == len(points.amount)
    assert (points.amount > 0).all()


@pytest.mark.parametrize("name", sorted(FIELD_STRUCTURES))
def test_fields_are_light(name: str) -> None:
    field = FIELD_STRUCTURES[name](96, np.random.default_rng(1))
    assert field.shape == (96, 96)
    assert (field >= 0).all()
    assert field.std() > 0


def test_every_structure_is_drawn() -> None:
    assert set(SHARES) == set(POINT_STRUCTURES) | set(FIELD_STRUCTURES)
    assert sum(SHARES.values()) == pytest.approx(1.0)

"""A specimen at rest, made to move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tuning_helpers import CAMERA

from smartscope.ports import whole_sensor
from smartscope_models.calibration import SensorCalibration
from smartscope_models.tuning.clips import Clip
from smartscope_models.tuning.movement import REST, SPEEDS, displaced, draw_velocity, reach_px
from smartscope_models.tuning.views import clip_length, views_of


def where(frames: torch.Tensor) -> list[tuple[int, int]]:
    """(row, column) of the one bright pixel of each frame."""
    return [divmod(int(frame.argmax()), frame.shape[-1]) for frame in frames[0]]


def bright_pixel(frames: int) -> torch.Tensor:
    image = torch.zeros(1, frames, 32, 32)
    image[..., 16, 16] = 1
    return image


def test_earlier_frames_lie_where_the_specimen_was() -> None:
    moved = displaced(bright_pixel(3), (1.0, -2.0))
    assert where(moved) == [(14, 20), (15, 18), (16, 16)]
    assert torch.equal(displaced(bright_pixel(3), REST), bright_pixel(3))
    assert torch.equal(displaced(bright_pixel(1), (3.0, 3.0)), bright_pixel(1))


def test_slow_movement_goes_in_whole_pixels_at_its_speed_on_average() -> None:
    rng, steps = np.random.default_rng(1), []
    for _ in range(2000):
        rows, columns = zip(*where(displaced(bright_pixel(3), (0.3, -0.6), tuple(rng.random(2)))), strict=True)
        steps.append((rows[2] - rows[0], columns[2] - columns[0]))
        assert (rows[2], columns[2]) == (16, 16)
    assert np.mean(steps, axis=0) == pytest.approx([0.6, -1.2], abs=0.06)


def test_velocities_are_of_all_speeds_and_headings() -> None:
    rng = np.random.default_rng(1)
    drawn = np.array([draw_velocity(rng) for _ in range(3000)])
    speed = np.hypot(*drawn.T)
    assert np.mean(speed == 0) == pytest.approx(0.35, abs=0.03)
    assert SPEEDS[0] <= speed[speed > 0].min() < 0.3
    assert 2.5 < speed.max() <= SPEEDS[1]
    assert np.abs(drawn.mean(0)).max() < 0.1


def test_views_leave_out_what_came_in_over_the_edge() -> None:
    assert (reach_px(1), reach_px(3)) == (0, 6)
    for frames, edge in ((1, 1), (3, 7)):
        clip = Clip(np.full((clip_length(frames), 64, 64), 200, np.uint16), whole_sensor((64, 64)), 0)
        (view,) = views_of([clip], SensorCalibration(CAMERA), seed=1)
        inside = torch.zeros(64, 64)
        inside[edge:-edge, edge:-edge] = 1
        assert torch.equal(view.usable[0, 0], inside)
        assert len({*view.motions}) == 2

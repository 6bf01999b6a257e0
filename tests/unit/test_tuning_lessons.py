"""The loss needs no clean image, and is right on average for any layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from tuning_helpers import CAMERA, SIZE, small_network

from smartscope.ports import whole_sensor
from smartscope_models.calibration import SensorCalibration
from smartscope_models.training.loss import SPOT_PX, smoothed
from smartscope_models.training.network import level_of
from smartscope_models.tuning.clips import Clip
from smartscope_models.tuning.last_layers import LastLayers, features
from smartscope_models.tuning.lessons import lesson_of
from smartscope_models.tuning.views import (
    BLOCK_PX,
    CHOOSING,
    JUDGED,
    LEARNT,
    Exposure,
    View,
    clip_length,
    target_variance,
    views_of,
)

FRAMES = pytest.mark.parametrize("frames", [1, 3])


def scene(frames: int, drift: float = 0.0) -> Tensor:
    """(1, L, SIZE, SIZE) stabilised values without noise, drifting (px a frame)."""
    x, t = torch.arange(SIZE)[None, None, None], torch.arange(clip_length(frames))[None, :, None, None]
    wave = torch.sin((x - drift * t) / 3.0) * torch.ones(SIZE, 1)
    return 10 + 3 * wave


def view(stable: Tensor) -> View:
    ones = torch.ones(1, 1, SIZE, SIZE)
    return View(stable, ones, torch.zeros_like(ones))


def with_noise(clean: Tensor, seed: int) -> Tensor:
    return clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))


@FRAMES
def test_the_loss_is_the_squared_error_plus_the_noise_of_the_target(frames: int) -> None:
    clean, found, true = scene(frames), [], []
    weak, strong = (small_network(sigma, frames) for sigma in (0.4, 1.2))
    for seed in range(8):
        noisy = view(with_noise(clean, seed))
        seen = torch.cat([exposure.seen for exposure in noisy.exposures()])
        for network in (weak, strong):
            layers = LastLayers(network.body)
            with torch.no_grad():
                squares, _ = lesson_of(network, noisy, torch.ones(1, 1, SIZE, SIZE), SPOT_PX).loss(layers)
                quiet = seen[:, -1:] - layers(features(network.body, seen - level_of(seen)))
            found.append(float(squares.mean()))
            true.append(float(((quiet - clean[:, :1]) ** 2).mean()))
    excess = np.array(found) - np.array(true) - target_variance(frames)
    error = excess.std() / np.sqrt(len(excess))
    assert abs(excess.mean()) < 4 * error < 0.01
    assert max(true) > 5 * min(true)


@FRAMES
def test_the_bias_is_what_two_exposures_have_wrong_in_common(frames: int) -> None:
    clean, network = scene(frames), small_network(2.5, frames)
    layers, found, true = LastLayers(network.body), [], []
    for seed in range(8):
        lesson = lesson_of(network, view(with_noise(clean, seed)), torch.ones(1, 1, SIZE, SIZE), SPOT_PX)
        everywhere = replace(lesson, visible=torch.ones_like(lesson.weight))
        with torch.no_grad():
            found.append(float(everywhere.loss(layers)[1].mean()))
    contrast = clean[:, :frames] - level_of(clean[:, :frames])
    with torch.no_grad():
        wrong = -layers(features(network.body, contrast))  # a linear network without noise takes out signal alone
    true = float((smoothed(wrong, SPOT_PX) ** 2).mean())
    error = np.std(found) / np.sqrt(len(found))
    assert true > 20 * error
    assert abs(np.mean(found) - true) < 4 * error


@FRAMES
def test_steady_movement_cancels_in_the_target(frames: int) -> None:
    t = torch.arange(frames + 2.0)[None, :, None, None] * torch.ones(1, 1, 4, 4)
    exposure = Exposure(t[:, :1], t[:, 1:-1], t[:, -1:])
    torch.testing.assert_close(exposure.target, exposure.newest)


@FRAMES
def test_two_exposures_of_a_clip_share_no_frame(frames: int) -> None:
    stable = torch.arange(clip_length(frames))[None, :, None, None] * torch.ones(1, 1, SIZE, SIZE)
    one, two = view(stable).exposures()
    used = [sorted(int(x) for part in (e.before, e.seen, e.after) for x in part[0, :, 0, 0]) for e in (one, two)]
    assert used[0] + used[1] == list(range(clip_length(frames)))
    assert one.seen.shape[1] == frames


def test_only_what_can_be_seen_counts_as_bias() -> None:
    clean = torch.full((1, clip_length(1), SIZE, SIZE), 10.0)
    clean[..., 64:68, 64:68] = 14.0
    lesson = lesson_of(small_network(1.0), view(with_noise(clean, 1)), torch.ones(1, 1, SIZE, SIZE), SPOT_PX)
    assert float(lesson.visible[..., 65:67, 65:67].min()) > 0.9
    assert float(lesson.visible.mean()) < 0.05


def test_parts_are_the_same_places_in_all_views_of_a_larger_field() -> None:
    shape = (96, 800)
    roi, rng = whole_sensor(shape), np.random.default_rng(1)
    clips = [Clip(rng.poisson(300, (6, *shape)).astype(np.uint16), roi, k) for k in range(6)]
    views = views_of(clips, SensorCalibration(CAMERA), seed=3)
    assert all(v.stable.shape[-2:] == (96, 512) for v in views)
    assert len({tuple(v.part[0, 0, 0].tolist()) for v in views}) > 1
    whole = views_of([Clip(np.zeros((6, 480, 512), np.uint16), roi, 0)], SensorCalibration(CAMERA), seed=3)[0].part
    shares = [float((whole == part).float().mean()) for part in (JUDGED, CHOOSING, LEARNT)]
    assert shares == pytest.approx([0.25, 0.15, 0.6], abs=0.01)
    blocks = whole.unfold(2, BLOCK_PX, BLOCK_PX).unfold(3, BLOCK_PX, BLOCK_PX)
    assert torch.equal(blocks.amin((-1, -2)), blocks.amax((-1, -2)))
    again = views_of([Clip(np.zeros((6, 480, 512), np.uint16), roi, 0)], SensorCalibration(CAMERA), seed=4)[0].part
    assert not torch.equal(whole, again)
    assert views_of([Clip(np.zeros((6, 63, 512), np.uint16), roi, 0)], SensorCalibration(CAMERA), seed=3) == []

"""What is refused before anything is learnt, each on frames of its own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from tuning_helpers import CAMERA, SIZE, counts, texture

from smartscope.config import CameraCalibration
from smartscope.ports import whole_sensor
from smartscope_models.calibration import SensorCalibration
from smartscope_models.tuning.clips import Clip
from smartscope_models.tuning.noise import Noise, examine, lag1
from smartscope_models.tuning.views import View, clip_length, views_of

STILL = np.repeat(texture()[None], 12, axis=0)


def views(pixels: npt.NDArray[np.uint16], camera: CameraCalibration = CAMERA, frames: int = 1) -> list[View]:
    length, roi = clip_length(frames), whole_sensor((SIZE, SIZE))
    clips = [Clip(pixels[k : k + length], roi, k) for k in range(0, len(pixels) - length + 1, length)]
    return views_of(clips, SensorCalibration(camera), seed=1)


def figures(pixels: npt.NDArray[np.uint16], camera: CameraCalibration = CAMERA) -> Noise:
    return examine(views(pixels, camera))[0]


@pytest.mark.parametrize("frames", [1, 3])
def test_a_specimen_at_rest_is_taken(frames: int) -> None:
    noise, still = examine(views(counts(np.tile(STILL, (3, 1, 1))), frames=frames))
    assert noise.refusal() == ""
    assert noise.ratio == pytest.approx(1.0, abs=0.05)
    assert noise.still_share > 0.99
    assert abs(noise.unrest) < 0.003
    assert all(float(mask.mean()) > 0.97 for mask in still)


def test_an_empty_field_teaches_nothing() -> None:
    assert "nothing is in view" in figures(counts(np.full((12, SIZE, SIZE), 5.0, np.float32))).refusal()


def test_a_specimen_that_jumps_about_is_refused() -> None:
    half = np.arange(SIZE)[:, None] < SIZE // 2
    moving = np.stack([np.where(half, np.roll(texture(), 2 * k * (-1) ** k, axis=1), 5.0) for k in range(12)])
    noise, still = examine(views(counts(moving.astype(np.float32))))
    assert noise.refusal().startswith("the specimen moves between frames")
    assert 0.3 < float(torch.cat(still).mean()) < 0.6
    everywhere = np.stack([np.roll(texture(), 2 * k * (-1) ** k, axis=1) for k in range(12)])
    assert figures(counts(everywhere)).refusal().endswith("or everything in view moves between frames")


def test_slow_movement_that_a_target_would_keep_is_refused() -> None:
    drift = np.stack([ndimage.shift(texture(), (0, 1.0 * k), order=3, mode="wrap") for k in range(6)])
    noise = figures(counts(np.clip(drift, 0, None).astype(np.float32)))
    assert noise.unrest > 0.005
    assert noise.still_share > 0.8
    assert "noise variances change" in noise.refusal()


def test_correlated_noise_is_refused() -> None:
    noisy = counts(STILL).astype(float)
    smeared = ndimage.convolve1d(noisy, [0.25, 0.5, 0.25], axis=2, mode="wrap")
    assert "correlated" in figures(np.rint(smeared).astype(np.uint16)).refusal()


def test_noise_that_is_not_as_calibrated_is_refused() -> None:
    wrong = CAMERA.model_copy(update={"electrons_per_adu": CAMERA.electrons_per_adu * 2})
    assert "calibrate it" in figures(counts(STILL), wrong).refusal()


def test_autocorrelation_along_both_axes() -> None:
    white = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    weight = torch.ones_like(white)
    assert max(map(abs, lag1([white], [weight]))) < 0.02
    along_x = white + 0.5 * white.roll(1, dims=3)
    assert lag1([along_x + 7.0], [weight]) == pytest.approx((0.4, 0.0), abs=0.02)
    assert lag1([along_x.transpose(2, 3)], [weight]) == pytest.approx((0.0, 0.4), abs=0.02)


def test_saturated_and_noisy_pixels_and_the_border_have_no_weight(tmp_path: Path) -> None:
    pixels = counts(STILL[:6])
    pixels[3, 40, 50] = math.ceil(CAMERA.saturation_adu)
    read = np.full((SIZE, SIZE), CAMERA.read_noise_e, np.float32)
    read[80, 90] = 10.0
    np.save(tmp_path / "read.npy", read)
    (view,) = views(pixels, CAMERA.model_copy(update={"read_noise_map": str(tmp_path / "read.npy")}))
    bad = np.argwhere(view.usable[0, 0, 1:-1, 1:-1].numpy() == 0) + 1
    assert {tuple(place) for place in bad.tolist()} == {
        (row + i, column + j) for row, column in ((40, 50), (80, 90)) for i in (-1, 0, 1) for j in (-1, 0, 1)
    }
    assert float(view.usable[0, 0, 0].sum() + view.usable[0, 0, :, -1].sum()) == 0

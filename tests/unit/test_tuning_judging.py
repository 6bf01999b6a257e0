"""Each reason not to keep what was tuned, brought about by layers that deserve it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tuning_helpers import CAMERA, SIZE, counts, small_network, texture

from smartscope.ports import whole_sensor
from smartscope_models.calibration import SensorCalibration
from smartscope_models.tuning.clips import Clip
from smartscope_models.tuning.empty_fields import background_e, empty_clips
from smartscope_models.tuning.judging import Judge
from smartscope_models.tuning.last_layers import LastLayers
from smartscope_models.tuning.lessons import lesson_of
from smartscope_models.tuning.rule import Change, Measures, objections
from smartscope_models.tuning.views import View, clip_length, views_of

ROI = whole_sensor((SIZE, SIZE))
CALIBRATION = SensorCalibration(CAMERA)
GOOD = Measures(0.6, 0.001, 1.03, 0.01, 0.05, 0.0, 0.0)
FALL, SAME = Change(-0.01, 0.001), Change(0.0, 0.001)
NETWORK = small_network(1.0)
LAYERS = LastLayers(NETWORK.body)


def views(light: np.ndarray, number: int = 4, frames: int = 1) -> list[View]:
    bright = np.repeat(light[None], clip_length(frames), axis=0)
    return views_of([Clip(counts(bright, seed=k), ROI, k) for k in range(number)], CALIBRATION, seed=1)


@pytest.fixture(scope="module")
def judge() -> Judge:
    seen = views(texture())
    lessons = [lesson_of(NETWORK, view, torch.ones_like(view.usable), 1.2) for view in seen]
    empty = views_of(
        empty_clips(CAMERA, Clip(np.zeros((6, SIZE, SIZE), np.uint16), ROI, 0), 20.0, 6, 1), CALIBRATION, 1
    )
    return Judge(NETWORK, seen, lessons, empty, variance=1.0, psf_sigma_px=1.0)


def changed(*, tail: float = 1.0, block: float = 0.0) -> LastLayers:
    """The layers, their tail stronger or weaker, their block something else."""
    layers = LastLayers(NETWORK.body)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        layers.scale.fill_(tail)
        for weight in layers.block.parameters():
            weight.add_(block * torch.randn(weight.shape, generator=generator))
    return layers


def verdict(judge: Judge, layers: LastLayers) -> str:
    found = objections(judge.measure(LAYERS), judge.measure(layers), *judge.changes(LAYERS, layers))
    return "; ".join(found)


def test_chi2_is_one_plus_the_squared_error(judge: Judge) -> None:
    """By the squared error that the frames in between tell, which has no part in chi2."""
    for layers in (LAYERS, changed(tail=0.6), changed(tail=1.3)):
        found = judge.measure(layers)
        squared_error = found.loss - 6 * found.bias - 0.5
        assert found.chi2 == pytest.approx(1 + squared_error, abs=0.03)


def test_the_same_layers_are_no_better(judge: Judge) -> None:
    assert "does not surely fall" in verdict(judge, changed())
    loss, bias = judge.changes(LAYERS, changed())
    assert (loss.mean, bias.mean) == (0.0, 0.0)


def test_signal_taken_out_raises_loss_bias_and_chi2(judge: Judge) -> None:
    found = verdict(judge, changed(tail=2.5))
    assert "does not surely fall" in found
    assert "spots are rendered less truly" in found
    assert "chi2 of the residual leaves 1" in found


def test_structure_in_an_empty_field_is_found(judge: Judge) -> None:
    found = verdict(judge, changed(block=0.4))
    assert "more false structures in an empty field (" in found
    assert "at the PSF's size" in found


def test_a_residual_that_follows_its_neighbours_is_found(judge: Judge) -> None:
    layers = changed()
    with torch.no_grad():  # takes out half of a smooth picture too: what goes out is correlated
        layers.tail.weight[:, :4] += 0.5 / 36
    assert "the residual is less white" in verdict(judge, layers)


def test_a_network_that_shows_the_past_is_found() -> None:
    now = small_network(0.3, frames=3)
    late = small_network(0.3, frames=3)
    with torch.no_grad():  # shows half of the newest and half of the frame before
        late.body.head.weight[4:8] = late.body.head.weight[:4].roll(-4, dims=1)
        late.body.tail.weight[:, :4] *= 0.5
        late.body.tail.weight[:, 4:8] = late.body.tail.weight[:, :4]
        for k in range(4):
            late.body.tail.weight[k, k, 1, 1] += 0.5
            late.body.tail.weight[k, 4 + k, 1, 1] -= 0.5
    seen = views(texture(), frames=3)
    lags = []
    for network in (now, late):
        lessons = [lesson_of(network, view, torch.ones_like(view.usable), 1.2) for view in seen]
        judge = Judge(network, seen, lessons, seen[:1], variance=1.0, psf_sigma_px=1.0)
        lags.append(judge.measure(LastLayers(network.body)).lag)
    assert lags == pytest.approx([0.0, 0.5], abs=0.05)


def test_what_is_no_number_is_not_kept(judge: Judge) -> None:
    assert "is no number" in verdict(judge, changed(tail=math.nan))
    assert "is no number" in verdict(judge, changed(tail=math.inf))


def test_the_rule() -> None:
    def found(before: Measures = GOOD, loss: Change = FALL, bias: Change = SAME, **after: float) -> list[str]:
        return objections(before, replace(before, **after), loss, bias)

    assert found() == []
    assert found(bias=Change(0.002, 0.001)) == []
    assert len(found(bias=Change(0.004, 0.001))) == 1
    assert len(found(loss=Change(-0.002, 0.001))) == 1
    assert len(found(loss=Change(math.nan, math.nan))) == 1
    assert found(chi2=1.0) == []
    assert len(found(chi2=1.04)) == 1
    assert len(found(chi2=0.94)) == 1
    assert found(replace(GOOD, chi2=0.9), chi2=0.9) == []
    assert len(found(replace(GOOD, chi2=0.9), chi2=0.89)) == 1
    assert found(lag=-0.05) == []
    assert len(found(lag=0.06)) == len(found(lag=-0.06)) == 1
    assert found(replace(GOOD, lag=0.2), lag=0.22) == []
    assert len(found(replace(GOOD, lag=0.2), lag=0.23)) == 1
    assert found(whiteness=0.06) == []
    assert len(found(whiteness=0.08)) == 1
    assert found(false_structures=1.0) == []
    assert len(found(false_structures=2.0)) == 1
    assert found(replace(GOOD, false_structures_psf=8.0), false_structures_psf=8.0) == []
    assert len(found(replace(GOOD, false_structures_psf=8.0), false_structures_psf=9.0)) == 1


def test_blocks_without_weight_are_no_verdict() -> None:
    (view,) = views(texture(), 1)
    lesson = lesson_of(NETWORK, view, torch.zeros_like(view.usable), 1.2)
    judge = Judge(NETWORK, [view], [lesson], [view], 1.0, 1.0)
    assert "is no number" in verdict(judge, changed(tail=1.1))


def test_the_empty_field_has_the_background_and_the_noise_of_the_camera(tmp_path: Path) -> None:
    light = np.where(np.arange(SIZE)[:, None] < 40, 7.0, texture()).astype(np.float32)
    pixels = CALIBRATION.region(ROI, (SIZE, SIZE))
    assert background_e(views(light), pixels) == pytest.approx(7.0, abs=0.7)
    offset = np.full((SIZE + 8, SIZE + 8), 300.0, np.float32)
    np.save(tmp_path / "offset.npy", offset)
    camera = CAMERA.model_copy(update={"offset_map": str(tmp_path / "offset.npy")})
    like = Clip(np.zeros((3, SIZE, SIZE), np.uint16), replace(ROI, x=8, y=8), 0)
    clips = empty_clips(camera, like, 20.0, 3, seed=1)
    counted = np.stack([clip.pixels for clip in clips])
    assert counted.mean() == pytest.approx(300 + 20 / 0.46, abs=0.2)
    assert counted.var() == pytest.approx((20 + 1.6**2) / 0.46**2 + 1 / 12, rel=0.03)
    assert not np.array_equal(counted[0, 0], counted[1, 0])
    whole = camera.model_copy(update={"offset_map": None})
    np.save(tmp_path / "cut.npy", offset[8:, 8:])
    for path in (None, str(tmp_path / "cut.npy")):  # a map of the region alone
        cut = empty_clips(whole.model_copy(update={"offset_map": path}), like, 20.0, 3, seed=1)
        assert cut[0].pixels.shape == (3, SIZE, SIZE)

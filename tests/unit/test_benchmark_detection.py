"""The judge of detection: masks scored as the challenge scores them, and the peer has the size it claims."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from judging.detection import ctc_judge  # noqa: E402
from judging.detection.masks_score import MaskScore  # noqa: E402
from judging.detection.particles import PICASSO, TRACKPY, _settings  # noqa: E402
from judging.detection.star_network import GRID, RAYS, StarNetwork  # noqa: E402
from judging.detection.star_training import lesson, star_loss, train  # noqa: E402
from judging.detection.stars import labels_of, rays_of  # noqa: E402
from judging.localization.multiply_adds import multiply_adds, parameters  # noqa: E402

from smartscope_models.training import checkpoint  # noqa: E402
from smartscope_models.training.detector import Detector  # noqa: E402
from smartscope_models.training.learn_detector import DETECTOR_RECIPES, DetectorRecipe  # noqa: E402


def squares(*boxes: tuple[int, int, int]) -> np.ndarray:
    """(40, 60) labels of squares (left, top, edge)."""
    labels = np.zeros((40, 60), np.int64)
    for k, (left, top, edge) in enumerate(boxes):
        labels[top : top + edge, left : left + edge] = k + 1
    return labels


def score(truth: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    found = MaskScore()
    found.outlines(truth, masks)
    found.markers(truth, masks)
    return found.seg, found.det


def test_masks_are_scored_as_the_challenge_scores_them() -> None:
    truth = squares((2, 2, 10), (20, 2, 10), (40, 2, 10))
    assert score(truth, truth[:]) == (1.0, 1.0)
    assert score(truth, truth * 0) == (0.0, 0.0)
    one_missed = np.where(truth == 2, 0, truth)
    assert score(truth, one_missed) == pytest.approx((2 / 3, 1 - 10 / 30))
    one_false = squares((2, 2, 10), (20, 2, 10), (40, 2, 10), (2, 25, 8))
    assert score(truth, one_false) == pytest.approx((1.0, 1 - 1 / 30))
    merged = np.where(truth == 2, 1, truth)
    assert score(truth, merged)[1] == pytest.approx(1 - 5 / 30)  # to be split
    shifted = squares((4, 2, 10), (20, 2, 10), (40, 2, 10))
    assert score(truth, shifted)[0] == pytest.approx((80 / 120 + 2) / 3)
    assert score(truth, squares((8, 2, 10), (20, 2, 10), (40, 2, 10)))[0] == pytest.approx(2 / 3)
    assert (MaskScore().seg, MaskScore().det) == (0.0, 0.0)


def test_ours_needs_a_third_of_the_peer_s_multiply_adds() -> None:
    star, ours = StarNetwork(), Detector(DETECTOR_RECIPES["detect_objects"].sizes)
    assert parameters(star) == pytest.approx(1.425e6, rel=0.01)
    assert parameters(ours) <= 900_000
    of_star = sum(multiply_adds(star, lambda: star(torch.zeros(1, 1, 128, 128))).values())
    of_ours = sum(multiply_adds(ours, lambda: ours.maps(torch.zeros(1, 8, 64, 64))).values())
    assert 16 * of_star == pytest.approx(13.6e9, rel=0.05)  # at 512 x 512
    assert of_ours <= of_star / 3


def test_stars_come_back_from_their_rays() -> None:
    labels = squares((4, 4, 12), (16, 4, 12), (36, 20, 14)).astype(np.int32)
    rays = rays_of(labels, GRID, RAYS)
    inside = labels[::GRID, ::GRID] > 0
    centre = np.zeros(inside.shape, np.float32)
    for x, y in ((10, 10), (22, 10), (43, 27)):
        centre[y // GRID, x // GRID] = 0.9
    found = labels_of(np.maximum(centre, 0.6 * inside).astype(np.float32), rays, labels.shape)
    assert found.max() == 3
    assert score(labels.astype(np.int64), found.astype(np.int64))[0] > 0.85
    assert not labels_of(centre * 0, rays, labels.shape).any()


def test_the_peer_learns_from_the_same_lessons(tmp_path: Path) -> None:
    recipe = DetectorRecipe("short", crop_px=32, crops=2, steps=2)
    frames, deep, rays = lesson(recipe, 0, None)
    assert frames.shape == (2, 1, 32, 32)
    assert deep.shape == (2, 1, 16, 16)
    assert rays.shape == (2, RAYS, 16, 16)
    right = star_loss(torch.logit(deep.clamp(1e-3, 1 - 1e-3)), rays, deep, rays)
    assert float(star_loss(torch.zeros_like(deep), rays + 3, deep, rays)) > float(right)
    path = train(replace(recipe, seed=2), tmp_path, lambda line: None)
    StarNetwork().load_state_dict(torch.load(path, weights_only=True))


def test_every_mask_has_a_name_of_its_own_for_the_other_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = """
import json, sys
from pathlib import Path
import tifffile
seen = [sorted(set(tifffile.imread(path).ravel().tolist())) for path in sorted(Path(sys.argv[1]).glob("mask*.tif"))]
lines = Path(sys.argv[1], "res_track.txt").read_text().split(chr(10))
assert lines == ["1 0 0 0", "2 0 0 0", "3 2 2 0", ""], lines
assert seen == [[0, 1, 2], [0], [0, 3]], seen
print(json.dumps({"SEG": 0.5}))
"""
    monkeypatch.setattr(ctc_judge, "PROGRAM", look)
    frames = [squares((2, 2, 5), (20, 2, 5)), squares(), squares((9, 9, 4))]
    assert ctc_judge.independent(sys.executable, tmp_path, frames) == {"ctcmetrics_seg": 0.5}
    monkeypatch.setattr(ctc_judge, "PROGRAM", "import no_such_thing")
    with pytest.raises(SystemExit, match="py-ctcmetrics: ModuleNotFoundError"):
        ctc_judge.independent(sys.executable, tmp_path, frames)


def test_other_tools_are_tried_at_many_settings() -> None:
    tried = list(_settings(TRACKPY, {"settings": {"minmass": 100.0}}))
    assert {"diameter": 7, "minmass": 55.0} in tried
    assert len(tried) == 12
    assert len({row["min_net_gradient"] for row in _settings(PICASSO, {"settings": {"min_net_gradient": 10}})}) == 6


def test_the_peer_goes_on_where_it_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 2)
    recipe = DetectorRecipe("short", crop_px=32, crops=2, steps=2)
    train(recipe, tmp_path, lambda line: None)
    path = train(replace(recipe, steps=3), tmp_path, lambda line: None)
    whole = train(replace(recipe, steps=3), tmp_path / "whole", lambda line: None)
    again, straight = (torch.load(weights, weights_only=True) for weights in (path, whole))
    assert all(torch.equal(again[name], value) for name, value in straight.items())

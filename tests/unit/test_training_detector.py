"""The training of the detecting network: what lessons say is what they show, the loss, the list, the package."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from smartscope.errors import InputError  # noqa: E402
from smartscope_models.detection.answer import COLUMNS, FLOOR, MOST, SCALES  # noqa: E402
from smartscope_models.detection.light import SOFT, background_of, cells_of  # noqa: E402
from smartscope_models.detection.network import in_pixels  # noqa: E402
from smartscope_models.packages import open_package  # noqa: E402
from smartscope_models.training import __main__ as command  # noqa: E402
from smartscope_models.training import checkpoint, detector_shipping, learn_detector  # noqa: E402
from smartscope_models.training.blobs import centres, depths, drawn, scattered  # noqa: E402
from smartscope_models.training.detector import (  # noqa: E402
    COARSE_HEADS,
    RARE,
    REACH,
    SPOT_HEADS,
    Detector,
    DetectorSizes,
    RawMaps,
    listed,
)
from smartscope_models.training.detector_judging import Listed, calibrated  # noqa: E402
from smartscope_models.training.detector_judging import listed as judged  # noqa: E402
from smartscope_models.training.detector_loss import detector_losses  # noqa: E402
from smartscope_models.training.learn_detector import (  # noqa: E402
    DETECTOR_RECIPES,
    DetectorRecipe,
    DetectorState,
    learn,
)
from smartscope_models.training.nuclei import RealNuclei, draw_nuclei  # noqa: E402
from smartscope_models.training.objects import ObjectLessons, Objects, draw_lessons  # noqa: E402

TINY = DetectorSizes((8, 8, 8, 8, 8))
SHORT = DetectorRecipe("short", sizes=TINY, seed=9, crop_px=32, crops=4, steps=12)
PLAIN = replace(
    Objects(),
    detectors=replace(Objects().detectors, emccd_share=0.0, photomultiplier_share=0.0, mapped_share=0.0),
    unevenness=0.0,
    event_share=0.0,
)
SPOTS = replace(PLAIN, spot_share=1.0, snr=(8.0, 15.0), density_per_px=(1e-3, 2e-3), single_share=0.0)


@pytest.fixture(autouse=True)
def _no_progress_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that the exporter imports shows progress by tqdm, which leaves a thread behind."""
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)


def quiet(line: str) -> None:
    assert line


def frames_of(lessons: ObjectLessons) -> Any:
    """(B, 2, S, S) as shown, the newest first."""
    halves = [torch.nn.functional.pixel_shuffle(lessons.seen[:, 4 * k : 4 * k + 4], 2)[:, 0] for k in (0, 1)]
    return torch.stack(halves, dim=1).numpy()


# ------------------------------------------------------------------------------------------------------ lessons


def test_lessons_repeat_and_differ() -> None:
    one, again, other = (draw_lessons(Objects(), 4, 32, (5, seed)) for seed in (1, 1, 2))
    assert torch.equal(one.seen, again.seen)
    assert torch.equal(one.objects, again.objects)
    assert not torch.equal(one.seen, other.seen)


def test_spots_are_where_the_lesson_says_now_and_before() -> None:
    lessons = draw_lessons(replace(SPOTS, background_e=(1.0, 1.01), sigma_px=(1.2, 1.3)), 24, 64, (6,))
    newest, before = frames_of(lessons).transpose(1, 0, 2, 3)
    level = np.median(newest)
    there = []
    for k in range(len(lessons.seen)):
        for x, y, _, back_x, back_y, *_ in lessons.objects[k, lessons.present[k] & lessons.followed[k]].tolist():
            places = [(newest, x, y), (before, x + back_x, y + back_y)]
            inside = all(2 < px < 61 and 2 < py < 61 for _, px, py in places)
            there += [[frame[k, round(py), round(px)] for frame, px, py in places]] if inside else []
    assert len(there) > 50
    assert (np.array(there) > level + 1).mean() > 0.95


def test_noise_near_the_background_is_shown_as_it_is() -> None:
    dark = replace(SPOTS, density_per_px=(1e-9, 1.1e-9), background_e=(20.0, 100.0))
    shown = frames_of(draw_lessons(dark, 64, 32, (7,)))[:, 0]
    assert np.median([one.std() for one in np.sinh(shown) * SOFT]) == pytest.approx(1.0, abs=0.08)


def test_a_lesson_without_an_earlier_frame_shows_none_and_asks_for_no_motion() -> None:
    lessons = draw_lessons(replace(Objects(), single_share=1.0), 6, 32, (8,))
    assert not lessons.seen[:, 4:].any()
    assert not lessons.followed.any()


def test_outlines_touch_but_never_overlap_and_their_centres_are_told() -> None:
    for seed in range(6):
        scene = draw_nuclei(96, np.random.default_rng(seed))
        seen = centres(scene.labels, len(scene.objects))
        np.testing.assert_allclose(seen[:, :2], scene.objects[:, :2])
        np.testing.assert_allclose(np.sqrt(seen[:, 2] / math.pi), np.exp(scene.objects[:, 2]))
        assert scene.light.shape == (2, 96, 96)
        assert np.isfinite(scene.light).all()
        lit, dark = scene.light[1][scene.labels > 0], scene.light[1][scene.labels == 0]
        assert not len(lit) or not len(dark) or lit.mean() > dark.mean()


def test_daughters_point_to_their_mother() -> None:
    """Somewhere in some scenes there are pairs whose backward motion ends in the same place."""
    met = 0
    for seed in range(60):
        scene = draw_nuclei(128, np.random.default_rng((3, seed)))
        daughters = scene.objects[scene.objects[:, 5] == 1]
        home = daughters[:, :2] + daughters[:, 3:5]
        for k in range(len(home)):
            apart = np.hypot(*(home - home[k]).T)
            # centres are those of what is seen, so that covered or cut daughters point a little beside
            met += int((np.sort(apart)[1:2] < 0.5 * math.exp(daughters[k, 2])).sum())
    assert met >= 10


def test_depth_is_one_inside_and_touching_objects_end_at_each_other() -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[5:15, 3:13], labels[5:15, 13:23] = 1, 2
    found = np.empty(labels.shape, np.float32)
    depths(labels, found)
    assert found[labels == 0].max() == 0
    assert found[5:15, 12].max() < 0.35
    assert found[9:11, 7:9].min() == pytest.approx(1.0)
    whole = np.ones((8, 8), np.int32)  # no edge anywhere
    depths(whole, found[:8, :8])
    assert np.isfinite(found[:8, :8]).all()


def test_blobs_keep_their_area_however_long_they_are() -> None:
    rng = np.random.default_rng(2)
    blobs = scattered(10.0, 64, rng)
    one = replace(
        blobs.where(np.arange(len(blobs)) == 0),
        xy_px=np.array([[32.0, 32.0]]),
        radius_px=np.array([10.0]),
        long=np.array([3.0]),
        waves=np.zeros((1, 2, 4)),
    )
    labels, depth = drawn(one, 64)
    assert (labels > 0).sum() == pytest.approx(math.pi * 100, rel=0.03)
    assert depth.max() <= 1
    assert labels[32, 32] == 1


def test_real_images_are_turned_and_scaled_together_with_their_outlines(tmp_path: Path) -> None:
    labels = np.zeros((3, 80, 70), np.uint16)
    labels[:, 20:40, 10:30], labels[:, 20:40, 30:52] = 7, 3
    images = (200 * (labels > 0)).astype(np.uint8)
    np.savez(tmp_path / "real.npz", images=images, labels=labels)
    real = RealNuclei(tmp_path / "real.npz")
    assert len(real) == 3
    objects = 0
    for seed in range(12):
        scene = real.draw(64, np.random.default_rng(seed))
        objects += len(scene.objects)
        inside = scene.labels > 0
        if inside.any() and not inside.all():
            assert (scene.light[1][inside] > 0.5).mean() > 0.9
            assert (scene.light[1][~inside] > 0.5).mean() < 0.1
        assert set(np.unique(scene.labels)) - {0} == set(range(1, len(scene.objects) + 1))
    assert objects > 10
    lessons = draw_lessons(replace(Objects(), spot_share=0.0, real_share=1.0), 4, 64, (1,), real)
    assert lessons.present.any()


def test_what_is_no_file_of_nuclei_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file of nuclei"):
        RealNuclei(tmp_path / "none.npz")
    np.savez(tmp_path / "flat.npz", images=np.zeros((4, 4)), labels=np.zeros((4, 4)))
    with pytest.raises(InputError, match=r"\(4, 4\)"):
        RealNuclei(tmp_path / "flat.npz")


def test_the_host_shows_what_the_lessons_show() -> None:
    """Level by quantiles on the host, by truth in the lessons: the same picture but for a small shift."""
    rng = np.random.default_rng(4)
    stable = rng.normal(12.0, 1.0, (64, 96)).astype(np.float32)
    stable[10:30, 20:40] += 60
    assert background_of(stable) == pytest.approx(12, abs=0.6)
    assert background_of(stable[:9, :9]) == pytest.approx(12, abs=1.5)
    cells = np.full((4, 48, 64), np.nan, np.float32)
    cells_of(stable, 12.0, cells)
    whole = torch.nn.functional.pixel_shuffle(torch.from_numpy(cells)[None], 2)[0, 0].numpy()
    np.testing.assert_allclose(whole[:64, :96], np.arcsinh((stable - 12.0) / SOFT), atol=1e-5)
    np.testing.assert_array_equal(whole[64:, :96], whole[63:31:-1, :96])
    np.testing.assert_array_equal(whole[:, 96:], whole[:, 95:63:-1])


# ------------------------------------------------------------------------------------------------------ the network


def raw_of(batch: int, edge: int) -> RawMaps:
    """Maps that say nothing."""
    spots = torch.zeros(batch, SPOT_HEADS, edge // 2, edge // 2)
    spots[:, :4] = 2 * RARE
    coarse = [torch.zeros(batch, COARSE_HEADS, edge // step, edge // step) for step in (4, 8)]
    for part in coarse:
        part[:, 0] = 2 * RARE
    return RawMaps(spots, coarse[0], coarse[1])


class Told(Detector):
    """A detector that says what it is told to."""

    def __init__(self, raw: RawMaps) -> None:
        super().__init__(TINY)
        self.raw = raw

    def maps(self, cells: Any) -> RawMaps:
        return self.raw


def answer_of(raw: RawMaps, edge: int) -> tuple[Any, Any]:
    with torch.no_grad():
        places, objects, depths_ = Told(raw).eval()(torch.zeros(1, 8, edge // 2, edge // 2))
    assert places.shape == (1, MOST)
    assert objects.shape == (1, MOST, len(COLUMNS))
    assert depths_.shape == (1, 2, edge // 2, edge // 2)
    return in_pixels(places[0].numpy(), objects[0].numpy(), (edge // 2, edge // 2))


def test_each_grid_s_objects_come_out_where_they_are() -> None:
    raw = raw_of(1, 64)
    raw.spots[0, 3, 10, 5] = 4.0  # the pixel (21, 11)
    raw.spots[0, 4 + 3, 10, 5] = math.atanh(0.25 / REACH)
    raw.spots[0, 12:15, 10, 5] = torch.tensor([0.3, 0.5, -0.25])
    raw.organelles[0, 0, 2, 7] = 4.0
    raw.cells[0, :3, 5, 1] = torch.tensor([4.0, math.atanh(0.5 / REACH), 0.0])
    raw.cells[0, 6, 5, 1] = 3.0
    scale, objects = answer_of(raw, 64)
    assert scale.tolist() == [0, 1, 2]
    assert objects[:, 0] == pytest.approx([1 / (1 + math.exp(-4))] * 3, abs=2e-3)
    assert objects[0, 1:3] == pytest.approx([11.25, 21.0], abs=1e-4)
    assert objects[0, 3] == pytest.approx(math.sqrt(0.5 * 4.0) * math.exp(0.3), rel=1e-4)
    assert objects[0, 4:6] == pytest.approx([4.0, -2.0])
    assert objects[1, 1:3] == pytest.approx([7.5 * 4 - 0.5, 2.5 * 4 - 0.5], abs=1e-4)
    assert objects[2, 1:3] == pytest.approx([1.5 * 8 - 0.5 + 4.0, 5.5 * 8 - 0.5], abs=1e-4)
    assert objects[2, 6] == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-5)


def test_a_peak_s_probability_is_that_of_all_pixels_around_it() -> None:
    raw = raw_of(1, 64)
    for row, logit in ((10, 0.0), (11, -0.5)):  # two pixels share a spot: 0.5 and 0.38
        raw.spots[0, 0 if row % 2 == 0 else 2, row // 2, 8] = logit
    scale, objects = answer_of(raw, 64)
    assert scale.tolist() == [0]
    assert objects[0, 0] == pytest.approx(0.5 + 1 / (1 + math.exp(0.5)), abs=2e-3)
    assert objects[0, 2] == pytest.approx(10.0, abs=1e-4)


def test_no_more_than_the_likeliest_are_listed_and_none_below_the_floor() -> None:
    rng = np.random.default_rng(1)
    likelihood = torch.from_numpy(rng.random((1, 3 * MOST)).astype(np.float32))
    columns = torch.arange(3 * MOST, dtype=torch.float32)[None, :, None].expand(1, -1, 8)
    places, objects = listed(likelihood, columns)
    kept = np.sort(np.argsort(-likelihood[0].numpy(), kind="stable")[:MOST])
    assert places[0].tolist() == kept.tolist()
    assert torch.equal(objects[0, :, 0], likelihood[0, kept])
    assert torch.equal(objects[0, :, 1], places[0])
    few = torch.tensor([[0.0, FLOOR / 2, 0.9, FLOOR]])
    places, objects = listed(few, columns[:, :4])
    assert places[0, :4].tolist() == [2, 3, -1, -1]
    assert not objects[0, 2:].any()


def perfect(lessons: ObjectLessons, edge: int, shift: float = 0.0) -> RawMaps:
    """Maps that say the truth, moved by ``shift`` cells."""
    raw = raw_of(len(lessons.seen), edge)
    heads = (raw.spots, raw.organelles, raw.cells)
    for k in range(len(lessons.seen)):
        for row, scale in zip(
            lessons.objects[k, lessons.present[k]].tolist(), lessons.scale[k, lessons.present[k]].tolist(), strict=True
        ):
            step = 1 if scale == 0 else SCALES[scale].step_px
            column, line = (min(int((v + 0.5) // step), edge // step - 1) for v in row[:2])
            away = [(v + 0.5) / step - c - 0.5 + shift for v, c in zip(row[:2], (column, line), strict=True)]
            low, high = SCALES[scale].radius_px
            likes = [row[2] - 0.5 * math.log(low * high), row[3] / 8, row[4] / 8, *(8 * (2 * e - 1) for e in row[5:])]
            place = [math.atanh(max(min(v / REACH, 0.999), -0.999)) for v in away]
            head = heads[scale][k]
            if scale:
                head[:, line, column] = torch.tensor([9.0, *place, *likes])
                continue
            own = 2 * (line % 2) + column % 2
            head[own, line // 2, column // 2] = 9.0
            head[4 + own, line // 2, column // 2], head[8 + own, line // 2, column // 2] = place
            head[12:18, line // 2, column // 2] = torch.tensor(likes)
    raw.spots[:, -2:-1] = 20 * (lessons.foreground - 0.5)
    raw.spots[:, -1:] = torch.logit(lessons.depth.clamp(1e-4, 1 - 1e-4))
    return raw


def test_the_loss_is_least_for_the_truth() -> None:
    lessons = draw_lessons(replace(Objects(), density_per_px=(1e-3, 2e-3), single_share=0.0), 6, 64, (10,))
    best, beside, silent = (
        detector_losses(raw, lessons)
        for raw in (perfect(lessons, 64), perfect(lessons, 64, 0.3), raw_of(len(lessons.seen), 64))
    )
    assert beside.places > best.places
    assert silent.total > best.total
    for name in ("spots", "organelles", "cells", "likes", "outlines"):
        assert getattr(silent, name) >= getattr(best, name), name
    assert float(best.spots + best.organelles + best.cells) < 0.2


def test_objects_that_two_grids_may_hold_are_no_error_in_the_other() -> None:
    lessons = draw_lessons(replace(Objects(), spot_share=0.0), 1, 64, (11,))
    one = torch.zeros(1, 1, 8)
    one[..., :3] = torch.tensor([31.0, 31.0, math.log(11.0)])
    lessons = replace(
        lessons, objects=one, present=torch.ones(1, 1, dtype=torch.bool), scale=torch.full((1, 1), 1),
        followed=torch.zeros(1, 1, dtype=torch.bool),
    )  # fmt: skip
    both, small = raw_of(1, 64), replace(lessons, objects=one - torch.tensor([0.0, 0, 1, 0, 0, 0, 0, 0]))
    both.cells[0, 0, 4, 4] = 6.0
    assert float(detector_losses(both, lessons).cells) < 0.01
    assert float(detector_losses(both, small).cells) > 1.0


def test_the_truth_is_judged_right_and_shifted_objects_are_not() -> None:
    lessons = draw_lessons(replace(SPOTS, spot_share=0.5), 4, 64, (12,))
    one = replace(lessons, **{name: getattr(lessons, name)[:1] for name in ObjectLessons.__slots__})
    found = judged(Told(perfect(one, 64)), one)
    there = int(one.present.sum())
    assert there > 0
    assert found[0].truth == there
    assert found[0].precision(0.5) == 1
    assert found[0].recall(0.5) > 0.85  # two in neighbouring pixels are one peak
    far = judged(Told(perfect(replace(one, objects=one.objects + 20.0 * (torch.arange(8) < 1)), 64)), one)
    assert far[0].recall(0.5) < 0.5
    assert Listed(np.empty(0), np.empty(0, bool), 0).precision(0.5) == 1


def test_probabilities_are_made_true() -> None:
    rng = np.random.default_rng(5)
    true = rng.uniform(0.02, 0.98, 4000)
    told = 1 / (1 + np.exp(-(np.log(true / (1 - true)) - 0.8) / 1.6))
    slope, shift = calibrated(Listed(told, rng.random(4000) < true, 4000))
    assert (slope, shift) == pytest.approx((1.6, 0.8), abs=0.12)
    assert calibrated(Listed(told[:5], np.ones(5, bool), 5)) == (1.0, 0.0)
    assert calibrated(Listed(told, np.ones(4000, bool), 5)) == (1.0, 0.0)


# ------------------------------------------------------------------------------------------------------ learning


def test_learning_makes_the_loss_less() -> None:
    state = DetectorState(SHORT)
    state.set_rate(0.02)
    lessons = draw_lessons(SHORT.objects, 4, 32, (13,))
    losses = [float(state.learn(lessons, step).total) for step in range(40)]
    assert np.mean(losses[-5:]) < 0.7 * losses[0]


def test_the_same_seed_gives_the_same_weights_also_when_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 5)
    monkeypatch.setattr(learn_detector, "SAID_EVERY", 4)
    whole = learn(SHORT, quiet)
    learn(SHORT, quiet, keep=tmp_path)
    again = learn(SHORT, quiet, keep=tmp_path)  # from step 10 on
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_a_run_becomes_longer_or_stops_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 5)
    early = replace(SHORT, steps=5)
    begun = learn(early, quiet, keep=tmp_path)
    as_kept = learn(early, quiet, keep=tmp_path)
    longer = learn(replace(early, steps=7), quiet, keep=tmp_path)
    for name, value in as_kept.network.state_dict().items():
        assert torch.equal(value, begun.network.state_dict()[name]), name
    assert any(
        not torch.equal(a, b) for a, b in zip(begun.network.parameters(), longer.network.parameters(), strict=True)
    )


def test_the_rate_follows_straight_lines() -> None:
    recipe = replace(SHORT, rates=((0, 0.1), (10, 0.5), (20, 0.5), (40, 0.0)))
    assert [recipe.rate(step) for step in (0, 5, 10, 15, 30, 40, 99)] == pytest.approx([0.1, 0.3, 0.5, 0.5, 0.25, 0, 0])


def test_one_command_makes_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "detect_objects"
    monkeypatch.setitem(DETECTOR_RECIPES, name, replace(DETECTOR_RECIPES[name], sizes=TINY, crops=4, crop_px=32))
    monkeypatch.setattr(detector_shipping, "LESSONS", 4)
    monkeypatch.setattr(detector_shipping, "TRIES", 2)
    np.savez(
        tmp_path / "real.npz", images=np.zeros((1, 40, 40), np.uint8), labels=np.tile(np.arange(40) // 20, (1, 40, 1))
    )
    asked = [name, "--steps", "2", "--images", str(tmp_path / "real.npz"), "--output", str(tmp_path / name)]
    assert command.main(asked) == 0
    manifest = open_package(tmp_path / name).manifest
    assert manifest.task == "detect"
    assert manifest.training is not None
    assert '"images": "real.npz"' in manifest.training.recipe
    assert len(manifest.metrics) == 10
    assert "sha256" in capsys.readouterr().out


def test_images_are_for_detectors_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["localize_flat", "--images", str(tmp_path / "x.npz"), "--output", str(tmp_path / "out")]
    assert command.main(asked) == 1
    assert "learns from no images" in capsys.readouterr().err

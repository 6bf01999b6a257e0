"""The training of localising networks: physics of the lessons, the loss, repeatability, the package."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from smartscope_models.localization.decode import molecules_in  # noqa: E402
from smartscope_models.localization.sight import SCALE  # noqa: E402
from smartscope_models.packages import open_package  # noqa: E402
from smartscope_models.training import __main__ as command  # noqa: E402
from smartscope_models.training import checkpoint, learn_localizer  # noqa: E402
from smartscope_models.training.learn_localizer import (  # noqa: E402
    LOCALIZER_RECIPES,
    LocalizerRecipe,
    LocalizerState,
    learn,
    maps_of,
)
from smartscope_models.training.localizer import Localizer, LocalizerSizes, answers_of, heads_of  # noqa: E402
from smartscope_models.training.localizer_judging import Found, judge  # noqa: E402
from smartscope_models.training.localizer_loss import localizer_losses  # noqa: E402
from smartscope_models.training.molecules import Fields, Lessons, draw_lessons  # noqa: E402

TINY = LocalizerSizes(stem=4, body=8, dilations=(1, 2))
SHORT = LocalizerRecipe("short", sizes=TINY, seed=9, crop_px=32, crops=2, steps=12)
PLAIN = replace(
    Fields(),
    detectors=replace(Fields().detectors, emccd_share=0.0, mapped_share=0.0),
    misjudged_level=0.0,
    misjudged_sigma=0.0,
    unevenness=0.0,
)


@pytest.fixture(autouse=True)
def _no_progress_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that the exporter imports shows progress by tqdm, which leaves a thread behind."""
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)


def quiet(line: str) -> None:
    assert line


def test_lessons_repeat_and_differ() -> None:
    one, again, other = (draw_lessons(Fields(), 3, 32, (5, seed)) for seed in (1, 1, 2))
    assert torch.equal(one.seen, again.seen)
    assert torch.equal(one.molecules, again.molecules)
    assert not torch.equal(one.seen, other.seen)


def test_the_noise_of_what_is_seen_is_one_and_the_level_is_zero() -> None:
    dark = replace(PLAIN, density_per_px=(1e-9, 1.1e-9), background_e=(20.0, 100.0))
    seen = draw_lessons(dark, 64, 32, (6,)).seen * SCALE
    assert float(seen.mean()) == pytest.approx(0.0, abs=0.05)
    assert float(seen.std()) == pytest.approx(1.0, abs=0.03)


def test_as_many_molecules_glow_as_the_density_says() -> None:
    fields = replace(PLAIN, density_per_px=(0.01, 0.0101), faintest_e=0.0)
    for fleeting, expected in ((1.0, 0.01 * 48**2), (0.0, None)):
        lessons = draw_lessons(replace(fields, fleeting_share=fleeting, on_frames=(4.0, 4.01)), 200, 48, (7,))
        # a molecule that glows for four frames on average touches five
        expected = expected or 0.01 * 48**2 * (1 + 1 / 4)
        lit = lessons.present & (lessons.molecules[..., 2] > 0)
        assert float(lit.sum(1).float().mean()) == pytest.approx(expected, rel=0.05)


def test_light_is_conserved_on_its_way_to_the_pixels() -> None:
    fields = replace(PLAIN, density_per_px=(0.004, 0.0041), background_e=(1.0, 1.01), photons_e=(4000.0, 4001.0))
    lessons = draw_lessons(fields, 200, 48, (8,))
    level = 2 * math.sqrt(1 + 0.375)  # read noise is small beside what follows
    stable = lessons.seen[:, -1] * SCALE + level
    light = float(((stable / 2) ** 2 - 0.375 - 1).sum() / len(lessons.seen))
    sent = torch.exp(lessons.molecules[..., 2]) * lessons.present
    assert light == pytest.approx(float(sent.sum() / len(sent)), rel=0.1)


def test_heights_make_spots_elliptical() -> None:
    fields = replace(PLAIN, depth_nm=500.0, density_per_px=(2e-4, 2.1e-4), photons_e=(5000.0, 5001.0))
    lessons = draw_lessons(fields, 300, 32, (9,))
    alone = lessons.present.sum(1) == 1
    slopes = []
    for k in torch.nonzero(alone).flatten().tolist():
        x, y, _, z = lessons.molecules[k, lessons.present[k]][0].tolist()
        if not (6 < x < 25 and 6 < y < 25):
            continue
        light = ((lessons.seen[k, -1].numpy() - lessons.background[k, 0].numpy()) * SCALE).clip(0) ** 2
        rows, columns = np.mgrid[:32, :32]
        near = (np.hypot(rows - y, columns - x) < 6) * light
        slopes.append((z, (near * ((rows - y) ** 2 - (columns - x) ** 2)).sum() / near.sum()))
    z, difference = np.array(slopes).T
    assert np.corrcoef(z, difference)[0, 1] > 0.7  # above focus the spot is wide along y


def exact(lessons: Lessons, shift_px: float = 0.0, error_px: float = 0.05, number: float = 1.0) -> Any:
    """Maps that say the truth, moved by ``shift_px``; each molecule in its own pixel."""
    count, edge = len(lessons.seen), lessons.seen.shape[-1]
    maps = torch.zeros(count, 8, edge, edge)
    maps[:, 0], maps[:, 4:7] = 1e-6, error_px
    maps[:, 7:8] = lessons.background
    for k in range(count):
        for x, y, log, _ in lessons.molecules[k, lessons.present[k]].tolist():
            column, row = min(max(round(x), 0), edge - 1), min(max(round(y), 0), edge - 1)
            maps[k, 0, row, column] = 0.999 * number
            maps[k, 1:4, row, column] = torch.tensor([x + shift_px - column, y - row, log])
    return maps


def test_the_loss_is_least_for_the_truth_and_for_honest_errors() -> None:
    lessons = draw_lessons(replace(Fields(), density_per_px=(1e-3, 2e-3)), 8, 48, (10,))
    best = localizer_losses(exact(lessons, 0.05), lessons)
    assert localizer_losses(exact(lessons, 0.5), lessons).places > best.places
    assert localizer_losses(exact(lessons, 0.05, error_px=0.5), lessons).places > best.places
    assert localizer_losses(exact(lessons, 0.05, error_px=0.005), lessons).places > best.places
    assert localizer_losses(exact(lessons, 0.05, number=0.5), lessons).number > best.number
    assert float(best.background) == 0
    assert float(best.total) == pytest.approx(float((best.number + best.places) / 10))


def test_the_truth_is_found_in_maps_that_say_it() -> None:
    lessons = draw_lessons(replace(Fields(), density_per_px=(1e-3, 2e-3)), 4, 48, (11,))
    for maps, k in zip(exact(lessons).numpy(), range(4), strict=True):
        rows = molecules_in(maps)
        truth = lessons.molecules[k, lessons.present[k]].numpy()
        lone = [min((np.hypot(*(t[:2] - o[:2])) for o in truth if o is not t), default=9) > 3 for t in truth]
        for x, y, log in truth[np.array(lone, bool)][:, :3]:
            nearest = rows[np.argmin(np.hypot(rows[:, 0] - x, rows[:, 1] - y))]
            assert nearest[:3] == pytest.approx([x, y, log], abs=1e-3)
            assert nearest[8 + 1] == pytest.approx(0.999, abs=1e-3)


def test_pixels_that_share_a_molecule_are_one() -> None:
    maps = np.zeros((8, 16, 16), np.float32)
    maps[4:7] = 0.1
    maps[0, 8, 8], maps[0, 8, 9] = 0.45, 0.4
    maps[1, 8, 8], maps[1, 8, 9] = 0.5, -0.5  # both point to (8.5, 8)
    maps[0, 3, 3] = 0.3  # alone it is too little
    (row,) = molecules_in(maps)
    assert row[:2] == pytest.approx([8.5, 8.0])
    assert row[9] == pytest.approx(0.85)
    assert row[4] == pytest.approx(0.1, abs=1e-3)
    assert len(molecules_in(maps, threshold=0.2)) == 2
    assert len(molecules_in(maps, threshold=0.9)) == 0


def test_a_map_of_heights_is_told_too() -> None:
    maps = np.zeros((10, 8, 8), np.float32)
    maps[0, 4, 4], maps[8, 4, 4], maps[9, 4, 4] = 0.9, 0.4, 0.2
    (row,) = molecules_in(maps)
    assert (row[3], row[7]) == pytest.approx((0.4, 0.2))


def test_judging_counts_pairs_misses_and_false_alarms() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0, 1000, (400, 2))
    places = truth + rng.normal(0, 0.1, truth.shape)
    errors = np.full(truth.shape, 0.1)
    right = judge([Found(places, errors, truth)])
    assert right.jaccard == 1
    assert right.rms_px == pytest.approx(0.1 * math.sqrt(2), rel=0.1)
    assert right.calibration == pytest.approx(1, rel=0.1)
    half = judge([Found(places[:200], errors[:200] / 2, truth), Found(np.empty((0, 2)), np.empty((0, 2)), truth[:0])])
    assert half.jaccard == pytest.approx(0.5)
    assert half.calibration == pytest.approx(2, rel=0.15)
    assert judge([Found(places[:0], errors[:0], truth)]).jaccard == 0


@pytest.mark.parametrize("deep", [False, True])
def test_maps_by_cells_are_the_maps_by_pixels(deep: bool) -> None:
    raw = torch.randn(1, 4 * len(LocalizerSizes(deep=deep).heads), 3, 5)
    cells = answers_of(raw, deep)
    assert torch.equal(heads_of(raw, deep)[0, :, 1, 0], cells[0, 2::4, 0, 0])


def test_the_exported_network_is_the_trained_one() -> None:
    torch.manual_seed(1)
    network = Localizer(TINY).eval()
    lessons = replace(draw_lessons(Fields(), 1, 32, (12,)), earlier=torch.ones(1))
    cells = torch.nn.functional.pixel_unshuffle(lessons.seen.transpose(0, 1), 2)
    with torch.no_grad():
        earlier = network.stem.of_cells(cells[:2]).flatten(0, 1)[None]
        maps, stem = network(cells[2:], earlier, lessons.conditions)
        expected = maps_of(network, lessons)
    assert stem.shape == (1, TINY.stem, 16, 16)
    found = torch.nn.functional.pixel_shuffle(maps, 2)
    assert float((found - expected).abs().max()) < 0.02  # the training rounds to bfloat16


def test_learning_makes_the_loss_less() -> None:
    state = LocalizerState(replace(SHORT, learning_rate=0.02))
    lessons = draw_lessons(SHORT.fields, 4, 32, (13,))
    losses = [float(state.learn(lessons, step).total) for step in range(40)]
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


def test_the_same_seed_gives_the_same_weights_also_when_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 5)
    monkeypatch.setattr(learn_localizer, "SAID_EVERY", 4)
    whole = learn(SHORT, quiet)
    learn(replace(SHORT, steps=12), quiet, keep=tmp_path)
    again = learn(SHORT, quiet, keep=tmp_path)  # from step 10 on
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


@pytest.mark.parametrize("name", LOCALIZER_RECIPES)
def test_one_command_makes_a_package(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = LOCALIZER_RECIPES[name]
    tiny = replace(recipe, sizes=replace(TINY, deep=recipe.sizes.deep), crops=2, crop_px=32)
    monkeypatch.setitem(LOCALIZER_RECIPES, name, tiny)
    assert command.main([name, "--steps", "2", "--output", str(tmp_path / name)]) == 0
    manifest = open_package(tmp_path / name).manifest
    assert manifest.task == "localize"
    assert manifest.outputs[0].shape[1] == 4 * len(tiny.sizes.heads)
    assert len(manifest.metrics) == 9
    assert "sha256" in capsys.readouterr().out

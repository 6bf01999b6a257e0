"""The training of networks for structured illumination: physics of the stacks, the loss, repeatability, the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from smartscope.errors import InputError  # noqa: E402
from smartscope_models.packages import open_package  # noqa: E402
from smartscope_models.structured_illumination.field import Field  # noqa: E402
from smartscope_models.structured_illumination.reconstruction import Reconstruction  # noqa: E402
from smartscope_models.structured_illumination.views import CHANNELS  # noqa: E402
from smartscope_models.training import __main__ as command  # noqa: E402
from smartscope_models.training import checkpoint, refine  # noqa: E402
from smartscope_models.training.fringes import draw_stack  # noqa: E402
from smartscope_models.training.network import Architecture  # noqa: E402
from smartscope_models.training.refiner import EDGE_FLOOR, FLOOR, SPOT_PX, Refiner, refiner_losses  # noqa: E402
from smartscope_models.training.stack_bank import power_of, shown, stack_bank  # noqa: E402
from smartscope_models.training.stack_recipe import STACK_RECIPES, StackRecipe  # noqa: E402

TINY = Architecture(CHANNELS, fine=4, coarse=8, coarse_blocks=1)
SHORT = StackRecipe("short", sizes=TINY, seed=9, stacks=3, raw_px=64, crop_px=64, crops=2, steps=12)


@pytest.fixture(autouse=True)
def _no_progress_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that the exporter imports shows progress by tqdm, which leaves a thread behind."""
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)


def quiet(line: str) -> None:
    assert line


@pytest.mark.parametrize("seed", [1, 6])
def test_a_bright_stack_becomes_what_the_network_is_asked_for(seed: int) -> None:
    stack = draw_stack((3, seed), 96, 1e6, "filaments")
    power = power_of(stack.frames[0], Field(96, stack.cutoff))
    image = Reconstruction(stack.layout, 96, stack.cutoff, stack.known, power).full(stack.frames[0])
    inner = slice(16, -16)
    image, truth = image[inner, inner].flatten(), stack.truth_e[inner, inner].flatten()
    assert float(torch.corrcoef(torch.stack([image, truth]))[0, 1]) > 0.99
    assert float(image.mean()) == pytest.approx(float(truth.mean()), rel=0.02)


def test_stacks_repeat_and_their_draws_differ() -> None:
    one, again, other = draw_stack((3, 1), 64), draw_stack((3, 1), 64), draw_stack((3, 2), 64)
    assert torch.equal(one.frames, again.frames)
    assert not torch.equal(one.frames[0], one.frames[1])
    assert not torch.equal(one.truth_e, other.truth_e)


def test_the_noise_is_that_of_photons_and_camera() -> None:
    stack = draw_stack((3, 4), 96, 500.0, "tissue")
    difference = stack.frames[0] - stack.frames[1]
    excess = difference.var((1, 2)) / 2 - stack.frames.mean((0, 2, 3))
    assert 0.7**2 - 0.5 < float(excess.mean()) < 3.0**2 + 0.5


def test_some_fields_are_empty_and_their_truth_is_flat() -> None:
    flat = [float(np.ptp(draw_stack((5, k), 64).truth_e.numpy())) < 1e-4 for k in range(40)]
    assert 2 <= sum(flat) <= 14


@pytest.mark.parametrize("preview", [False, True])
def test_what_is_shown_is_of_one_size_whatever_the_light(preview: bool) -> None:
    for peak_e in (20.0, 1000.0):
        lesson = shown(draw_stack((3, 5), 128, peak_e, "filaments"), preview)
        assert lesson.shape == (2, CHANNELS + 1, 256, 256)
        error = (lesson[:, 0] - lesson[:, CHANNELS]).std((1, 2))
        assert ((error > 0.3) & (error < 3.0)).all()


def test_the_loss_tells_noise_from_what_is_wrong_in_both_draws() -> None:
    truth = torch.zeros(8, 1, 64, 64)
    noise = torch.Generator().manual_seed(1)
    independent = torch.randn(8, 1, 64, 64, generator=noise)
    common = independent[:4].repeat(2, 1, 1, 1)
    one, two = refiner_losses(independent, truth), refiner_losses(common, truth)
    assert float(one.error) == pytest.approx(np.log(1 + FLOOR), abs=0.02)
    assert float(one.edges) == pytest.approx(np.log(4 + EDGE_FLOOR), abs=0.02)
    assert float(two.error) == pytest.approx(float(one.error), abs=0.02)
    assert abs(float(one.bias)) < 0.05
    assert float(two.bias) == pytest.approx(
        1 + 1 / (4 * np.pi * SPOT_PX**2), rel=0.05
    )  # all of the edges, some of spots


def test_a_bank_is_kept_and_a_passing_one_goes(tmp_path: Path) -> None:
    with stack_bank(SHORT, tmp_path, quiet) as bank:
        first = np.array(bank)
    with stack_bank(SHORT, tmp_path, lambda line: pytest.fail("drawn again")) as bank:
        assert np.array_equal(bank, first)
    with stack_bank(replace(SHORT, stacks=1), None, quiet) as bank:
        place = Path(bank.filename)
        assert np.array_equal(bank[0], first[0])
    assert not place.exists()


def test_a_training_that_was_cut_off_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stack_bank(SHORT, tmp_path, quiet) as bank:
        whole = refine.refine(SHORT, bank, quiet).network.state_dict()
        monkeypatch.setattr(checkpoint, "EVERY", 5)
        learn = refine._learn

        def cut_off(*given: Any) -> Any:
            if given[-1] == 7:
                raise KeyboardInterrupt
            return learn(*given)

        monkeypatch.setattr(refine, "_learn", cut_off)
        with pytest.raises(KeyboardInterrupt):
            refine.refine(SHORT, bank, quiet, keep=tmp_path)
        steps: list[int] = []
        monkeypatch.setattr(refine, "_learn", lambda *given: (steps.append(given[-1]), learn(*given))[1])
        resumed = refine.refine(SHORT, bank, quiet, keep=tmp_path).network.state_dict()
        assert steps == list(range(5, 12))
        assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
        with pytest.raises(InputError, match="of another recipe"):
            refine.refine(replace(SHORT, bias_weight=3.0), bank, quiet, keep=tmp_path)


def test_a_short_training_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "SAID_EVERY", 20)
    lines: list[str] = []
    with stack_bank(SHORT, tmp_path, quiet) as bank:
        refine.refine(replace(SHORT, steps=60), bank, lines.append)
    errors = [float(line.split(": ")[1].split(",")[0]) for line in lines]
    assert errors[-1] < errors[0]


def test_every_recipe_keeps_the_bounds_of_the_product() -> None:
    for made in STACK_RECIPES.values():
        assert sum(weights.numel() for weights in Refiner(made.sizes).parameters()) <= 500_000
        assert made.name in made.text()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_command_makes_a_package_that_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = next(iter(STACK_RECIPES))
    monkeypatch.setitem(STACK_RECIPES, name, replace(STACK_RECIPES[name], sizes=TINY, raw_px=64, crop_px=64))
    folder = tmp_path / name
    assert command.main([name, "--steps", "2", "--scenes", "2", "--seed", "5", "--output", str(folder)]) == 0
    package = open_package(folder)
    assert package.manifest.task == "structured_illumination"
    assert set(package.networks) == {"fp32", "fp16"}
    assert package.manifest.training is not None
    assert package.manifest.training.seed == 5

"""The denoising network and its training: noise statistics, unbiased measures, physics of the body, export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from smartscope.errors import InputError, UnsupportedModel  # noqa: E402
from smartscope_models.training import __main__ as command  # noqa: E402
from smartscope_models.training import checkpoint, export  # noqa: E402
from smartscope_models.training import train as training  # noqa: E402
from smartscope_models.training.cameras import Detectors, draw_cameras  # noqa: E402
from smartscope_models.training.exposures import Bank, Batch, Levels, expose  # noqa: E402
from smartscope_models.training.loss import FLOOR, decibels, losses, smoothed, visible  # noqa: E402
from smartscope_models.training.network import (  # noqa: E402
    Architecture,
    Denoiser,
    electrons,
    level_of,
    stabilise,
)
from smartscope_models.training.optimiser import Muon, orthogonal  # noqa: E402
from smartscope_models.training.recipe import RECIPES, recipe  # noqa: E402
from smartscope_models.training.train import scene_bank, train  # noqa: E402


@pytest.fixture(autouse=True)
def _no_progress_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that the exporter imports shows progress by tqdm, which leaves a thread behind."""
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)


TINY = Architecture(fine=4, coarse=8, coarse_blocks=1)
RIGHT = Detectors(emccd_share=0.0, photomultiplier_share=0.0, misjudged_share=0.0)
PLAIN = replace(Levels(), detectors=RIGHT)
KINDS = {
    "scmos": RIGHT,
    "emccd": replace(RIGHT, emccd_share=1.0),
    "photomultiplier": replace(RIGHT, photomultiplier_share=1.0),
}


def network(frames: int = 1) -> Denoiser:
    torch.manual_seed(3)
    return Denoiser(replace(TINY, frames=frames)).eval()


def flat(levels: Levels, number: int = 6) -> Batch:
    rng, noise = np.random.default_rng(2), torch.Generator().manual_seed(2)
    return expose(torch.zeros(number, 1, 96, 96), levels, rng, noise)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_variance_one_and_the_right_mean(kind: str) -> None:
    batch = flat(replace(PLAIN, detectors=KINDS[kind], background_e=(8.0, 60.0)))
    usable = (batch.stable - batch.stable.mean((2, 3), keepdim=True)).flatten(1)
    # a hot pixel borrows from its neighbours, so that a few are too quiet; the slope of the field adds a little
    assert usable.std(1).numpy() == pytest.approx(np.ones(len(usable)), abs=0.25)
    seen = electrons(batch.stable.mean((2, 3), keepdim=True), batch.nominal).flatten()
    assert seen.numpy() == pytest.approx(batch.truth_e.mean((1, 2, 3)).numpy(), rel=0.06)


def test_a_slow_detector_correlates_neighbours_along_the_line_only() -> None:
    tubes = replace(RIGHT, photomultiplier_share=1.0)
    levels = replace(PLAIN, detectors=tubes, background_e=(20.0, 60.0))
    rng, noise = np.random.default_rng(3), torch.Generator().manual_seed(3)
    cameras = draw_cameras(tubes, np.full(4, 60.0), np.full(4, 50.0), rng)
    light = torch.full((4, 1, 256, 256), 50.0)
    counts = cameras.counts(light, cameras.read_map(256, noise), noise)
    counts = counts - counts.mean((2, 3), keepdim=True)
    variance = counts.square().mean((2, 3))
    across = (counts[..., 1:] * counts[..., :-1]).mean((2, 3)) / variance
    smear = cameras.smear[:, :, 0, 0]
    shot = 50 * cameras.noise_factor[:, :, 0, 0] / (50 * cameras.noise_factor + cameras.read_e**2)[:, :, 0, 0]
    expected = shot * smear * (1 - smear) / ((1 - smear) ** 2 + smear**2)
    assert across.numpy() == pytest.approx(expected.numpy(), abs=0.015)
    along = (counts[..., 1:, :] * counts[..., :-1, :]).mean((2, 3)) / variance
    assert along.numpy() == pytest.approx(np.zeros((4, 1)), abs=0.015)
    assert float(flat(levels).stable.min()) >= 0.0


def test_what_a_slow_detector_smears_is_kept() -> None:
    cameras = draw_cameras(
        replace(RIGHT, photomultiplier_share=1.0), np.full(2, 60.0), np.full(2, 1.0), np.random.default_rng(1)
    )
    light = torch.zeros(2, 1, 8, 8)
    light[..., 3] = 10.0
    smeared = cameras.smeared(light)
    assert torch.allclose(smeared.sum(), light.sum())
    assert torch.allclose(smeared[..., 4], 10 * cameras.smear[..., 0].expand(2, 1, 8))


def test_the_inverse_is_exact_for_poisson_means() -> None:
    noise = torch.Generator().manual_seed(1)
    means = torch.tensor([1.0, 2.0, 5.0, 20.0, 200.0]).reshape(-1, 1, 1, 1)
    counts = torch.poisson(means.expand(-1, 1, 400, 400), generator=noise)
    calibration, nominal = torch.zeros(5, 3, 400, 400), torch.tensor([[0.0, 1.0, 0.0]]).expand(5, 3)
    calibration[:, 1] = 1
    back = electrons(stabilise(counts, calibration, nominal).mean((2, 3), keepdim=True), nominal)
    assert back.flatten().numpy() == pytest.approx(means.flatten().numpy(), rel=0.02)


def test_a_noisy_pixel_borrows_from_its_neighbours() -> None:
    counts = torch.full((1, 1, 16, 16), 100.0)
    counts[0, 0, 8, 8] = 400.0
    calibration = torch.stack([torch.zeros(16, 16), torch.ones(16, 16), torch.ones(16, 16)])[None]
    calibration[0, 2, 8, 8] = 400.0
    stable = stabilise(counts, calibration, torch.tensor([[0.0, 1.0, 1.0]]))
    assert float(stable.max() - stable.min()) < 0.5


def spotted(frames: int = 1, shift_px: int = 0) -> Batch:
    """Exposures of bright spots on a lattice, that move by ``shift_px`` a frame."""
    scene = torch.zeros(8, frames, 96, 96)
    for k in range(frames):
        scene[:, k, 8::16, (8 + shift_px * (k - frames + 1)) % 16 :: 16] = 1.0
    scene = smoothed(scene.flatten(0, 1)[:, None], 1.5).reshape(scene.shape)
    levels = replace(PLAIN, peak_e=(4000.0, 4001.0), background_e=(20.0, 21.0), background_share=(0.001, 0.002))
    return expose(scene, levels, np.random.default_rng(2), torch.Generator().manual_seed(2))


def test_squared_bias_is_measured_without_the_noise() -> None:
    """Errors of independent noise count nothing on average; a constant one counts as its square where one sees it."""
    batch = spotted()
    seen = visible(batch)
    assert 0.02 < float(seen.mean()) < 0.99
    unit = torch.sqrt((batch.variance_e2 + batch.variance_e2.mean((1, 2, 3), keepdim=True)) / 2)
    noise = torch.randn(batch.truth_e.shape, generator=torch.Generator().manual_seed(4))
    none = losses(batch.truth_e + unit * noise, batch)
    shifted = losses(batch.truth_e + unit * (noise + 0.5), batch)
    wanted = 0.25 * float(seen.mean()) / (1.25 + FLOOR)
    assert abs(float(none.bias)) < 0.1 * wanted
    assert float(shifted.bias) == pytest.approx(wanted, rel=0.1)


def test_bias_of_what_nobody_can_see_does_not_count() -> None:
    batch = flat(replace(PLAIN, background_e=(20.0, 21.0), background_share=(0.01, 0.02), peak_e=(2.0, 2.1)))
    assert float(losses(batch.truth_e + 1.0, batch).bias) == 0.0


@pytest.mark.parametrize("lag", [0.0, 0.5, 1.0])
def test_a_lag_is_measured_as_its_square(lag: float) -> None:
    batch = spotted(frames=3, shift_px=1)
    noise = torch.randn(batch.truth_e.shape, generator=torch.Generator().manual_seed(4))
    late = batch.truth_e + lag * batch.backward_e + torch.sqrt(batch.variance_e2) * noise
    assert float(losses(late, batch).lag) == pytest.approx(lag**2, rel=0.05, abs=0.01)


def test_single_frames_have_no_lag() -> None:
    batch = spotted()
    assert float(losses(batch.truth_e + 1.0, batch).lag) == 0.0


def test_the_body_has_no_bias_and_is_homogeneous() -> None:
    net = network()
    assert not [name for name, _ in net.named_parameters() if "bias" in name]
    stable = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(net.body(3 * stable), 3 * net.body(stable), atol=1e-4)


def test_the_body_follows_a_shift() -> None:
    net = network()
    stable = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(6))
    moved = torch.roll(stable, (4, 8), (2, 3))
    there, here = net.body(moved), torch.roll(net.body(stable), (4, 8), (2, 3))
    assert torch.allclose(there[..., 40:-40, 40:-40], here[..., 40:-40, 40:-40], atol=1e-5)


def test_earlier_frames_count_and_the_newest_is_corrected() -> None:
    net = network(frames=3)
    stable = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    quiet = net.quiet(stable, level_of(stable))
    other = stable.clone()
    other[:, 0] += torch.randn(32, 32, generator=torch.Generator().manual_seed(8))
    assert not torch.allclose(quiet, net.quiet(other, level_of(other)))
    torch.nn.init.zeros_(net.body.tail.weight)
    assert torch.equal(net.quiet(stable, level_of(stable)), stable[:, -1:])


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (5, 5)])
def test_orthogonal_keeps_directions_and_evens_out_their_sizes(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    even = orthogonal(matrix)
    sizes = torch.linalg.svdvals(even)
    assert float(sizes.min()) > 0.6
    assert float(sizes.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ even @ right.T
    assert torch.allclose(turned, torch.diag(turned.diagonal()), atol=1e-4)
    assert torch.allclose(orthogonal(1000 * matrix), even, atol=1e-5)


def test_muon_goes_down_and_leaves_alone_what_has_no_gradient() -> None:
    weights = torch.nn.Parameter(torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(2)))
    idle = torch.nn.Parameter(torch.ones(4, 2, 3, 3))
    optimiser, before = Muon([weights, idle], 0.02), float(weights.detach().square().sum())
    for _ in range(200):
        optimiser.zero_grad()
        weights.square().sum().backward()
        optimiser.step()
    assert float(weights.detach().square().sum()) < 0.1 * before
    assert torch.equal(idle.detach(), torch.ones(4, 2, 3, 3))


def test_smoothing_keeps_the_sum_of_what_is_inside_and_mirrors_at_borders() -> None:
    image = torch.zeros(1, 1, 31, 41)
    image[0, 0, 15, 20] = 1.0
    spot = smoothed(image, 1.2)
    assert float(spot.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(spot[0, 0, 15, 20]) == pytest.approx(1 / (2 * np.pi * 1.2**2), rel=0.02)
    assert torch.allclose(smoothed(torch.ones(1, 1, 9, 9), 1.2), torch.ones(1, 1, 9, 9), atol=1e-6)


def test_a_short_training_learns_and_repeats() -> None:
    short = replace(recipe("denoise_frame", steps=40, scenes=6, scene_px=64, crop_px=32, seed=9), sizes=TINY)
    scenes = scene_bank(short, None, lambda line: None)
    first, again = (train(short, scenes, lambda line: None) for _ in range(2))
    state = first.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.network.state_dict().items())
    untrained = train(replace(short, steps=1), scenes, lambda line: None)
    assert first.decibels > untrained.decibels


SHORT = replace(recipe("denoise_frame", steps=12, scenes=4, scene_px=48, crop_px=32, seed=9), sizes=TINY)


def test_a_training_that_was_cut_off_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = scene_bank(SHORT, None, lambda line: None)
    whole = train(SHORT, scenes, lambda line: None).network.state_dict()
    monkeypatch.setattr(checkpoint, "EVERY", 5)
    learn = training._learn

    def cut_off(*given: Any) -> Any:
        if given[-1] == 7:
            raise KeyboardInterrupt
        return learn(*given)

    monkeypatch.setattr(training, "_learn", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train(SHORT, scenes, lambda line: None, keep=tmp_path)
    steps: list[int] = []
    monkeypatch.setattr(training, "_learn", lambda *given: (steps.append(given[-1]), learn(*given))[1])
    resumed = train(SHORT, scenes, lambda line: None, keep=tmp_path).network.state_dict()
    assert steps == list(range(5, 12))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_state_of_another_recipe_or_in_pieces_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 5)
    scenes = scene_bank(SHORT, None, lambda line: None)
    train(SHORT, scenes, lambda line: None, keep=tmp_path)
    with pytest.raises(InputError, match="of another recipe"):
        train(replace(SHORT, bias_weight=1.0), scenes, lambda line: None, keep=tmp_path)
    next(tmp_path.glob("*.pt")).write_bytes(b"half a file")
    with pytest.raises(InputError, match="cannot be read"):
        train(SHORT, scenes, lambda line: None, keep=tmp_path)


def test_scenes_are_kept_for_the_next_training(tmp_path: Path) -> None:
    few = recipe("denoise_frame", scenes=2, scene_px=48)
    drawn = scene_bank(few, tmp_path / "kept", lambda line: None)
    assert np.array_equal(scene_bank(few, tmp_path / "kept", lambda line: pytest.fail("drawn again")), drawn)


def test_crops_keep_the_order_of_time() -> None:
    scenes = np.zeros((1, 3, 40, 40), np.float16)
    scenes[0, 0], scenes[0, 1], scenes[0, 2] = 0.25, 0.5, 1.0
    cut = Bank(scenes).crops(16, 3, 32, np.random.default_rng(1))
    assert (cut[:, 0] < cut[:, 1]).all()
    assert (cut[:, 1] < cut[:, 2]).all()


def test_decibels() -> None:
    assert decibels(np.log(0.1)) == pytest.approx(10.0)


def test_every_recipe_keeps_the_bounds_of_the_product() -> None:
    for made in RECIPES.values():
        net = Denoiser(made.sizes)
        assert sum(weights.numel() for weights in net.parameters()) <= 500_000
        assert made.name in made.text()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_command_makes_a_package_that_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from smartscope_models.packages import open_package

    folder = tmp_path / "denoise_causal"
    short = ["--steps", "2", "--scenes", "3", "--seed", "5", "--output", str(folder), "--keep", str(tmp_path / "kept")]
    assert command.main(["denoise_causal", *short]) == 0
    assert "sha256" in capsys.readouterr().out
    package = open_package(folder)
    assert package.manifest.history == 2
    assert set(package.networks) == {"fp32", "fp16"}
    assert package.manifest.training is not None
    assert package.manifest.training.seed == 5


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    given = ["denoise_frame", "--steps", "1", "--scenes", "2", "--output", str(tmp_path / "file" / "x")]
    assert command.main(given) == 1
    assert "remedy" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_another_opset_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "OPSET", 18)
    original = torch.onnx.export

    def newer(*args: object, **options: object) -> object:
        return original(*args, **{**options, "opset_version": 19})

    monkeypatch.setattr(torch.onnx, "export", newer)
    with pytest.raises(UnsupportedModel, match="opset"):
        export.onnx_files(network())

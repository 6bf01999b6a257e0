"""The network after the reconstruction: what it is shown, how it runs, and the preview from one frame per direction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import structured_illumination_helpers as helpers
import tifffile
from packages_helpers import FACTS, write_tiny_denoiser

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from smartscope.errors import InputError, UnsupportedModel  # noqa: E402
from smartscope.optics.pattern_layout import Layout  # noqa: E402
from smartscope.processing import process_file  # noqa: E402
from smartscope_models.packages import Examples, Manifest, TensorSpec, write_package  # noqa: E402
from smartscope_models.resolution import ring_resolution  # noqa: E402
from smartscope_models.structured_illumination.estimate import Estimator  # noqa: E402
from smartscope_models.structured_illumination.low_light import LowLight  # noqa: E402
from smartscope_models.structured_illumination.padding import Padding  # noqa: E402
from smartscope_models.structured_illumination.parameters import Parameters  # noqa: E402
from smartscope_models.structured_illumination.power import Power  # noqa: E402
from smartscope_models.structured_illumination.preview import PACKAGE as PREVIEW_PACKAGE  # noqa: E402
from smartscope_models.structured_illumination.preview import Preview  # noqa: E402
from smartscope_models.structured_illumination.reconstruction import Reconstruction  # noqa: E402
from smartscope_models.structured_illumination.views import CHANNELS, Information, Views  # noqa: E402
from smartscope_models.structured_illumination.weights import bands_of, widefield_variance  # noqa: E402

SIZE = 128
CUTOFF = helpers.OPTICS.cutoff_per_px * SIZE
TWO, THREE = Layout(), Layout(3, 5, 3)
LAYOUTS = pytest.mark.parametrize("layout", [TWO, THREE], ids=["two beams", "three beams"])
IDENTITY = """<ir_version: 8, opset_import: ["" : 17]>
first (float[1,3,height,width] views) => (float[1,1,height,width] image)
<int64[1] start = {0}, int64[1] stop = {1}, int64[1] axis = {1}>
{ image = Slice (views, start, stop, axis) }"""
Floats = npt.NDArray[np.float32]


def even_fringes(layout: Layout) -> Parameters:
    known = helpers.fringes(layout, SIZE, 1)
    return Parameters(known.carriers, known.phases_rad, known.modulation, np.ones_like(known.gains))


def information(known: Parameters, power: Power) -> Information:
    padding = Padding.around(SIZE)
    return Information.of(bands_of(known, padding), padding, CUTOFF, power, widefield_variance(known))


def write_identity(folder: Path) -> str:
    """A package whose network gives back the first view."""

    def images(name: str, channels: int) -> TensorSpec:
        shape = (1, channels, "height", "width")
        return TensorSpec(name=name, dtype="float32", axes=("batch", "channel", "y", "x"), shape=shape)

    manifest = Manifest(
        name="first",
        task="structured_illumination",
        description="Gives back the first view",
        licence="BSD-3-Clause",
        parameters=0,
        inputs=(images("views", CHANNELS),),
        outputs=(images("image", 1),),
        min_size=32,
        size_multiple=24,
    )
    views = np.arange(CHANNELS * 32 * 32, dtype=np.float32).reshape(1, CHANNELS, 32, 32)
    network = onnx.parser.parse_model(IDENTITY).SerializeToString()
    write_package(folder, manifest, {"fp32": network}, Examples({"views": views}, {"image": views[:, :1]}), FACTS)
    return str(folder)


def ring_means(image: torch.Tensor) -> npt.NDArray[np.float64]:
    """Spectral density per fine pixel in ten rings up to one cycle per raw pixel."""
    spectrum = torch.fft.fft2(image - image.mean()).abs().square() / image.numel()
    axis = torch.fft.fftfreq(len(image), 0.5)
    ring = (torch.hypot(axis[:, None], axis) * 10).to(torch.int64).flatten()
    return (torch.bincount(ring, spectrum.flatten()) / torch.bincount(ring)).numpy()[:10]


# ------------------------------------------------------------------------------------------------- views


@LAYOUTS
@pytest.mark.parametrize("deviation_e", [1.0, 5.0])
def test_the_noise_of_the_second_view_is_white_whatever_bands_and_camera(layout: Layout, deviation_e: float) -> None:
    known, power = even_fringes(layout), Power(deviation_e**2, 1e4 * deviation_e**2, -1.5)
    noise = torch.Generator().manual_seed(1)
    frames = deviation_e * torch.randn(layout.frames, SIZE, SIZE, generator=noise)
    image = Reconstruction(layout, SIZE, CUTOFF, known, power).full(frames)
    views, unit, level = Views(information(known, power)).of(image)
    assert ring_means(views[0, 1])[1:5] == pytest.approx(4.0, rel=0.12)
    assert torch.allclose(views[0, 0] * unit + level, image, atol=1e-3)


def test_the_expected_error_is_the_error() -> None:
    """A specimen that is a random field of the power spectrum told: nothing is left to guess."""
    layout, known = TWO, even_fringes(TWO)
    power = Power(9.0, 2e3, -1.0)
    truth_of = information(known, power)
    rng = np.random.default_rng(4)
    fine = 2 * SIZE
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(fine, 0.5), np.fft.fftfreq(fine, 0.5))) * SIZE
    density = power.specimen(torch.from_numpy(f)).numpy() * 4
    density[f > 0.99 * SIZE] = 0
    scene = np.fft.ifft2(np.fft.fft2(rng.normal(size=(fine, fine))) * np.sqrt(density)).real + 200
    errors = []
    for seed in range(2):
        frames = helpers.illuminated(np.pad(scene, 2 * helpers.MARGIN, mode="wrap"), layout, known, 9.0, None)
        frames = frames + 3 * np.random.default_rng(seed).normal(size=frames.shape).astype(np.float32)
        image = Reconstruction(layout, SIZE, CUTOFF, known, power).full(torch.from_numpy(frames)).numpy()
        reach = CUTOFF + max(np.hypot(*known.carriers.reshape(-1, 2).T))
        seen = np.fft.ifft2(np.fft.fft2(scene) * helpers.lens(f, reach)).real
        errors.append((image - seen)[16:-16, 16:-16].std())
    assert Views(truth_of).error_e == pytest.approx(np.mean(errors), rel=0.1)


def test_noise_is_alike_in_bright_and_in_dark_places() -> None:
    known, power = even_fringes(TWO), Power(53.0, 1e5, -1.5)
    light = np.full((SIZE, SIZE), 2.0)
    light[:, SIZE // 2 :] = 100.0
    rng = np.random.default_rng(2)
    frames = (rng.poisson(light, (9, SIZE, SIZE)) + rng.normal(0, 1, (9, SIZE, SIZE))).astype(np.float32)
    image = Reconstruction(TWO, SIZE, CUTOFF, known, power).full(torch.from_numpy(frames))
    views, _, _ = Views(information(known, power)).of(image)
    fine = views[0, 1].diff(dim=1)  # what changes from pixel to pixel, for the step would outdo the noise
    dark, bright = float(fine[:, 40:100].std()), float(fine[:, 156:216].std())
    assert dark / bright == pytest.approx(1.0, abs=0.5)
    raw = image.diff(dim=1)
    assert float(raw[:, 40:100].std()) < 0.3 * float(raw[:, 156:216].std())


@pytest.mark.parametrize("there", [False, True])
def test_an_answer_counts_only_where_the_data_hold_more_than_noise(there: bool) -> None:
    """A fine wave is added to the answer, in a field that is told to be full of detail and is, or is not."""
    known, told = even_fringes(TWO), Power(9.0, 3e3, -1.0)
    information_told, rng = information(known, told), np.random.default_rng(4)
    fine, scene = 2 * SIZE, np.zeros((2 * SIZE, 2 * SIZE))
    if there:
        f = np.hypot(*np.meshgrid(np.fft.fftfreq(fine, 0.5), np.fft.fftfreq(fine, 0.5))) * SIZE
        density = 4 * told.specimen(torch.from_numpy(f)).numpy()
        scene = np.fft.ifft2(np.fft.fft2(rng.normal(size=(fine, fine))) * np.sqrt(density)).real
    lit = helpers.illuminated(np.pad(scene + 100, 2 * helpers.MARGIN, mode="wrap"), TWO, known, 9.0, None)
    frames = torch.from_numpy((lit + 3 * rng.normal(size=lit.shape)).astype(np.float32))
    image = Reconstruction(TWO, SIZE, CUTOFF, known, told).full(frames)
    wave = torch.cos(2 * torch.pi * 0.2 * torch.arange(fine))[None, :].expand(fine, fine)
    views = Views(information_told)
    change = views.joined(image, image + wave) - views.joined(image, image)
    kept = float((change * wave)[32:-32, 32:-32].mean() / wave[32:-32, 32:-32].square().mean())
    assert kept > 0.95 if there else kept < 0.2


def test_an_empty_field_promises_no_perfect_image() -> None:
    nothing = Power(4.0, 1e-9, -2.0)
    assert Views(information(even_fringes(TWO), nothing)).error_e > 0.1


# --------------------------------------------------------------------------------------------- the network


def test_a_network_that_gives_back_the_first_view_changes_no_more_than_the_filter(tmp_path: Path) -> None:
    known = helpers.fringes(TWO, SIZE, 2)
    frames = torch.from_numpy(helpers.illuminated(helpers.specimen(SIZE, 2), TWO, known, 100.0, 2))
    power = Estimator(TWO, SIZE, CUTOFF).run(frames).power
    image = Reconstruction(TWO, SIZE, CUTOFF, known, power).full(frames)
    network = LowLight(write_identity(tmp_path / "first"), "torch")
    network.expect(SIZE, CUTOFF, known, power)
    quiet = network.apply(image)
    assert quiet.shape == (2 * SIZE, 2 * SIZE)
    assert quiet.dtype == np.float32
    own = Views(information(known, power)).joined(image, image).numpy()
    assert np.abs(quiet - own).max() < 1e-3
    assert agreement(quiet, image.numpy()) > 0.99
    assert network.facts()["network"] == "first"


def test_networks_for_something_else_and_images_of_unknown_fringes_are_refused(tmp_path: Path) -> None:
    write_tiny_denoiser(tmp_path / "tiny")
    with pytest.raises(UnsupportedModel, match="its task is denoise"):
        LowLight(str(tmp_path / "tiny"))
    with pytest.raises(InputError, match="nothing is known"):
        LowLight(write_identity(tmp_path / "first"), "torch").apply(torch.zeros(64, 64))


# --------------------------------------------------------------------------------------------- the preview


def previewed(peak_e: float, seed: int, layout: Layout = TWO) -> tuple[Floats, Floats, Floats]:
    """Preview, mean of the same frames, and the specimen through a lens of twice the aperture; all (2N, 2N)."""
    known, scene = helpers.fringes(layout, SIZE, 3), helpers.specimen(SIZE, 3)
    whole = torch.from_numpy(helpers.illuminated(scene, layout, known, peak_e, seed))
    light, frames = peak_e / layout.frames, whole[:: layout.phases]
    power = Estimator(layout, SIZE, CUTOFF).run(whole).power
    image = Preview(layout, SIZE, CUTOFF, known, power).image(frames).numpy()
    axis = np.fft.fftfreq(len(scene), 0.5)
    ideal = np.fft.ifft2(np.fft.fft2(scene) * helpers.lens(np.hypot(axis, axis[:, None]), 1.88 * CUTOFF / SIZE)).real
    rim = 2 * helpers.MARGIN
    return image, np.kron(frames.mean(0).numpy(), np.ones((2, 2))), light * ideal[rim:-rim, rim:-rim]


def agreement(one: Floats, two: Floats) -> float:
    inner = slice(16, -16)
    return float(np.corrcoef(one[inner, inner].ravel(), two[inner, inner].ravel())[0, 1])


def test_a_preview_shows_more_than_the_frames_it_is_made_of() -> None:
    image, mean, truth = previewed(3000.0, 1)
    assert agreement(image, truth) > 0.92
    assert agreement(image, truth) > agreement(mean, truth) + 0.05
    assert image.mean() == pytest.approx(truth.mean(), rel=0.05)


def test_a_preview_says_that_it_is_one_and_a_network_can_follow(tmp_path: Path) -> None:
    known = helpers.fringes(TWO, SIZE, 3)
    frames = torch.from_numpy(helpers.illuminated(helpers.specimen(SIZE, 3), TWO, known, 300.0, 1)[::3])
    made = Preview(TWO, SIZE, CUTOFF, known, Power(6.0, 1e3, -1.0))
    network = LowLight(write_identity(tmp_path / "first"), "torch")
    network.expect_information(made.known)
    plain, quiet = made.run(frames), made.run(frames, network)
    assert plain.preview
    assert (plain.network, quiet.network) == ("", "first")
    assert agreement(plain.image, quiet.image) > 0.95  # the power is made up: the filter corrects it


def test_a_preview_of_nothing_is_nothing() -> None:
    made = Preview(TWO, SIZE, CUTOFF, helpers.fringes(TWO, SIZE, 3), Power(6.0, 1e3, -1.0))
    assert not made.run(torch.zeros(3, SIZE, SIZE)).image.any()


def test_seeing_and_its_adjoint_belong_together() -> None:
    known = helpers.fringes(TWO, SIZE, 3)
    made = Preview(TWO, SIZE, CUTOFF, known, Power(4.0, 1e3, -1.0))
    draw = torch.Generator().manual_seed(5)
    fine = 2 * Padding.around(SIZE).whole
    scene = torch.randn(fine, fine, generator=draw)
    frames = torch.randn(3, SIZE, SIZE, generator=draw)
    there = float((made._seen(torch.fft.rfft2(scene)) * frames).sum())
    back = torch.fft.irfft2(made._back(frames), s=(fine, fine)) * (4.0 / 4)  # times 4 over a noise of 4
    assert float((scene * back).sum()) == pytest.approx(there, rel=1e-3)


# -------------------------------------------------------------------------------------------------- files


def test_files_are_reconstructed_with_a_network(tmp_path: Path) -> None:
    known = helpers.fringes(TWO, SIZE, 1)
    frames = helpers.illuminated(helpers.specimen(SIZE, 1), TWO, known, 3000.0, 1)
    counts = np.rint(frames / 0.5 + 100).clip(0).astype(np.uint16)
    tifffile.imwrite(tmp_path / "raw.tif", counts, photometric="minisblack")
    camera, optics = tmp_path / "camera.json", tmp_path / "optics.json"
    camera.write_text(
        json.dumps({"pixel_size_nm": 81.0, "offset_adu": 100.0, "electrons_per_adu": 0.5, "read_noise_e": 1.6})
    )
    optics.write_text(json.dumps({"numerical_aperture": 1.4, "emission_nm": 525.0}))
    given = tmp_path / "raw.tif"
    process_file("reconstruct", given, tmp_path / "plain.tif", camera, optics, [], None)
    options = [f"model={write_identity(tmp_path / 'first')}", "engine=torch"]
    process_file("reconstruct", given, tmp_path / "net.tif", camera, optics, options, tmp_path / "r.json")
    plain, made = (tifffile.imread(tmp_path / name) for name in ("plain.tif", "net.tif"))
    assert agreement(made, plain) > 0.999
    assert json.loads((tmp_path / "r.json").read_text())["network"] == "first"


# ------------------------------------------------------------------------------------- the shipped networks


def both_draws(peak_e: float, seed: int, size: int = 192) -> list[tuple[Floats, Floats, Floats]]:
    """Linear image, the shipped network's, and the ideal one of two stacks of one specimen, fringes measured."""
    known, scene = helpers.fringes(TWO, size, seed), helpers.specimen(size, seed)
    cutoff = helpers.OPTICS.cutoff_per_px * size
    axis = np.fft.fftfreq(len(scene), 0.5)
    ideal = np.fft.ifft2(np.fft.fft2(scene) * helpers.lens(np.hypot(axis, axis[:, None]), 1.88 * cutoff / size)).real
    rim = 2 * helpers.MARGIN
    network = LowLight(engine="torch")
    made = []
    for draw in (1, 2):
        frames = torch.from_numpy(helpers.illuminated(scene, TWO, known, peak_e, 100 * seed + draw))
        estimate = Estimator(TWO, size, cutoff).run(frames)
        linear = Reconstruction(TWO, size, cutoff, estimate.parameters, estimate.power).full(frames).clone()
        network.expect(size, cutoff, estimate.parameters, estimate.power)
        made.append((linear.numpy(), network.apply(linear), peak_e / 9 * ideal[rim:-rim, rim:-rim]))
    return made


def test_in_little_light_the_shipped_network_finds_detail_that_is_there() -> None:
    (linear, quiet, truth), (linear_again, again, _) = both_draws(100.0, 7)
    assert agreement(quiet, truth) > agreement(linear, truth) + 0.04
    fine_px = ring_resolution(quiet, again, 1.0)
    assert fine_px < 0.9 * ring_resolution(linear, linear_again, 1.0)
    assert ring_resolution(quiet, truth, 1.0, 7**-0.5) < 1.12 * fine_px
    assert quiet.mean() == pytest.approx(linear.mean(), rel=0.02)


def test_in_bright_light_the_shipped_network_does_no_harm() -> None:
    (linear, quiet, truth), _ = both_draws(3000.0, 8)
    assert agreement(quiet, truth) > agreement(linear, truth) - 0.001
    assert agreement(quiet, linear) > 0.98


def test_an_empty_field_stays_empty() -> None:
    known, network = even_fringes(TWO), LowLight(engine="torch")
    rng = np.random.default_rng(6)
    frames = torch.from_numpy((rng.poisson(1.0, (9, SIZE, SIZE)) + rng.normal(0, 1.6, (9, SIZE, SIZE))).astype("f4"))
    power = Power(3.56, 300.0, -1.5)  # as of the stack before, when there was a specimen
    network.expect(SIZE, CUTOFF, known, power)
    linear = Reconstruction(TWO, SIZE, CUTOFF, known, power).full(frames).clone()
    assert network.apply(linear).std() < 0.6 * float(linear.std())


def test_the_shipped_network_of_previews_comes_nearer_to_the_truth() -> None:
    known, scene = helpers.fringes(TWO, SIZE, 9), helpers.specimen(SIZE, 9)
    whole = torch.from_numpy(helpers.illuminated(scene, TWO, known, 500.0, 9))
    made = Preview(TWO, SIZE, CUTOFF, known, Estimator(TWO, SIZE, CUTOFF).run(whole).power)
    network = LowLight(PREVIEW_PACKAGE, "torch")
    network.expect_information(made.known)
    axis = np.fft.fftfreq(len(scene), 0.5)
    ideal = np.fft.ifft2(np.fft.fft2(scene) * helpers.lens(np.hypot(axis, axis[:, None]), 1.88 * CUTOFF / SIZE)).real
    truth = ideal[2 * helpers.MARGIN : -2 * helpers.MARGIN, 2 * helpers.MARGIN : -2 * helpers.MARGIN]
    plain, quiet = made.run(whole[::3]), made.run(whole[::3], network)
    assert quiet.preview
    assert agreement(quiet.image, truth) > agreement(plain.image, truth) + 0.01

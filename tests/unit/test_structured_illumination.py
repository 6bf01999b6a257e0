"""Reconstruction of structured illumination: what is measured of the fringes, and what the image is worth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structured_illumination_helpers as helpers
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the extra 'torch' is not installed")

from smartscope.errors import InputError  # noqa: E402
from smartscope.optics.pattern_layout import Layout  # noqa: E402
from smartscope.processing import process_file  # noqa: E402
from smartscope_models.structured_illumination import carriers, placement  # noqa: E402
from smartscope_models.structured_illumination.estimate import Estimator, alike  # noqa: E402
from smartscope_models.structured_illumination.overlap import cut  # noqa: E402
from smartscope_models.structured_illumination.padding import Padding  # noqa: E402
from smartscope_models.structured_illumination.parameters import Parameters  # noqa: E402
from smartscope_models.structured_illumination.power import Power  # noqa: E402
from smartscope_models.structured_illumination.reconstruction import Reconstruction  # noqa: E402
from smartscope_models.structured_illumination.sectioning import sectioned  # noqa: E402
from smartscope_models.structured_illumination.separation import mixing, separation  # noqa: E402
from smartscope_models.structured_illumination.stack import StackReconstructor, checked  # noqa: E402
from smartscope_models.structured_illumination.transfer import Optics, frequencies, transfer  # noqa: E402

SIZE = 128
CUTOFF = helpers.OPTICS.cutoff_per_px * SIZE
TWO, THREE, HEXAGONAL = Layout(), Layout(3, 5, 3), Layout(1, 7, 2, hexagonal=True)
LAYOUTS = pytest.mark.parametrize("layout", [TWO, THREE, HEXAGONAL], ids=["two beams", "three beams", "hexagonal"])


def drawn(layout: Layout, peak_e: float, seed: int = 1, noise: bool = True) -> tuple[torch.Tensor, Parameters]:
    known = helpers.fringes(layout, SIZE, seed)
    scene = helpers.specimen(SIZE, seed)
    return torch.from_numpy(helpers.illuminated(scene, layout, known, peak_e, seed if noise else None)), known


def slow(frames: torch.Tensor, layout: Layout, known: Parameters, power: Power) -> np.ndarray:
    """The same image with whole complex transforms on the fine grid, band by band."""
    padding = Padding.around(SIZE)
    whole, fine = padding.whole, 2 * padding.whole
    index, u = padding.sources().numpy(), padding.places().numpy() / SIZE
    seen = (index + 0.5) / SIZE
    f = np.fft.fftfreq(fine, 1 / fine) * SIZE / whole
    place = (np.arange(fine) + 0.5) / 2 / SIZE - padding.before / SIZE

    def moved(k: np.ndarray) -> np.ndarray:
        t = torch.from_numpy(f)
        return transfer(t + float(k[0]), t + float(k[1]), CUTOFF, SIZE).numpy()

    def enlarged(picture: np.ndarray) -> np.ndarray:
        axis = np.fft.fftfreq(whole, 1 / whole)
        early = np.exp(-2j * np.pi * axis * 0.25 / whole)
        return 4 * np.fft.ifft2(
            np.fft.ifftshift(np.pad(np.fft.fftshift(np.fft.fft2(picture) * early * early[:, None]), whole // 2))
        )

    total, weight, reach = np.zeros((fine, fine), complex), np.zeros((fine, fine)), 0.0
    stack = frames.numpy().astype(float).reshape(layout.angles, layout.phases, SIZE, SIZE)
    for angle in range(layout.angles):
        unmix = separation(known.phases_rad[angle]) / known.gains[angle][None]
        rows = [(unmix[0], np.zeros(2), 1.0)]
        for order in range(layout.orders):
            k = known.carriers[angle, order]
            reach = max(reach, float(np.hypot(*k)))
            depth = known.modulation[angle, order]
            rows += [(unmix[1 + order], k, depth), (unmix[1 + order].conj(), -k, depth)]
        plain = separation(known.phases_rad[angle])
        for number, (row, k, depth) in enumerate(rows):
            band = np.tensordot(row, stack[angle], 1)[index][:, index]
            turn = np.exp(2j * np.pi * (k[0] * (u - seen)[None, :] + k[1] * (u - seen)[:, None]))
            noise = power.noise * float((np.abs(plain[(number + 1) // 2]) ** 2).sum())
            passed = depth * moved(k)
            back = np.exp(-2j * np.pi * (k[0] * place[None, :] + k[1] * place[:, None]))
            total += passed / noise * np.fft.fft2(enlarged(band * turn) * back)
            weight += passed**2 / noise
    radius = np.hypot(f, f[:, None])
    wanted = helpers.lens(radius, CUTOFF + reach)
    specimen = power.specimen(torch.from_numpy(radius)).numpy()
    image = np.fft.ifft2(total / (weight + 1 / specimen) * wanted).real
    first = 2 * padding.before
    return image[first : first + 2 * SIZE, first : first + 2 * SIZE]


@LAYOUTS
def test_the_quick_way_makes_the_same_image_as_the_slow_one(layout: Layout) -> None:
    frames, known = drawn(layout, 500.0)
    power = Power(2.0, 3e3, -1.0)
    quick = Reconstruction(layout, SIZE, CUTOFF, known, power).full(frames).numpy()
    expected = slow(frames, layout, known, power)
    assert np.abs(quick - expected).max() < 1e-3 * np.ptp(expected)


@LAYOUTS
def test_fringes_are_measured(layout: Layout) -> None:
    frames, known = drawn(layout, 2000.0)
    found = Estimator(layout, SIZE, CUTOFF).run(frames).parameters
    assert np.hypot(*(found.carriers - known.carriers).reshape(-1, 2).T).max() < 0.06
    apart = np.exp(1j * (found.phases_rad - known.phases_rad))
    common = np.angle(apart.mean(1, keepdims=True))
    assert np.degrees(np.abs(np.angle(apart * np.exp(-1j * common)))).max() < (
        7.0 if layout.hexagonal else 4.0 * layout.orders
    )
    assert found.modulation == pytest.approx(known.modulation, rel=0.12)
    assert found.gains / found.gains.mean() == pytest.approx(known.gains, abs=0.06)


def test_known_fringes_are_refined_and_need_no_search() -> None:
    frames, known = drawn(TWO, 2000.0)
    near = replace(known, carriers=known.carriers + 0.3)
    found = Estimator(TWO, SIZE, CUTOFF).run(frames, near)
    assert np.hypot(*(found.parameters.carriers - known.carriers).reshape(-1, 2).T).max() < 0.06
    assert np.isnan(found.peaks).all()


def test_the_noise_takes_nothing_off_the_depth() -> None:
    depths = []
    for seed in (1, 2, 3, 4):
        frames, known = drawn(TWO, 150.0, seed)
        depths.append(Estimator(TWO, SIZE, CUTOFF).run(frames, known).parameters.modulation)
    assert np.mean(depths) == pytest.approx(0.9, rel=0.06)


def test_phases_at_the_limit_of_light_are_as_good_as_they_say() -> None:
    errors, doubts = [], []
    for seed in (1, 2, 3, 4):
        frames, known = drawn(TWO, 150.0, seed)
        estimate = Estimator(TWO, SIZE, CUTOFF).run(frames, known)
        apart = np.exp(1j * (estimate.parameters.phases_rad - known.phases_rad))
        errors.append(np.angle(apart * np.exp(-1j * np.angle(apart.mean(1, keepdims=True)))))
        doubts.append(estimate.doubts_rad)
    ratio = np.sqrt(np.mean(np.square(errors))) / np.mean(doubts)
    assert 0.4 < ratio < 1.5


@LAYOUTS
def test_an_image_is_finer_than_widefield_and_ends_where_the_optics_end(layout: Layout) -> None:
    frames, known = drawn(layout, 3000.0)
    made = StackReconstructor(layout, SIZE, helpers.OPTICS).run(frames)
    assert made.verdict.state == "ok", made.verdict.why
    assert made.verdict.resolution_nm < 0.7 * made.verdict.widefield_resolution_nm
    limit = SIZE * 81.0 / (CUTOFF + np.hypot(*known.carriers.reshape(-1, 2).T).max())
    assert made.verdict.resolution_nm >= 0.999 * limit
    scene = helpers.specimen(SIZE, 1)[
        2 * helpers.MARGIN : -2 * helpers.MARGIN, 2 * helpers.MARGIN : -2 * helpers.MARGIN
    ]
    f = np.fft.fftfreq(2 * SIZE, 1 / (2 * SIZE))
    ideal = np.fft.ifft2(np.fft.fft2(scene) * helpers.lens(np.hypot(f, f[:, None]), SIZE * 81.0 / limit)).real
    inner = slice(16, -16)
    assert np.corrcoef(made.image[inner, inner].ravel(), ideal[inner, inner].ravel())[0, 1] > 0.97
    fade = np.hanning(2 * SIZE)
    power = np.abs(np.fft.fft2((made.image - made.image.mean()) * fade * fade[:, None])) ** 2
    assert power[np.hypot(f, f[:, None]) > SIZE * 81.0 / limit + 4].sum() < 1e-3 * power.sum()


def test_brightness_is_kept() -> None:
    frames, _ = drawn(TWO, 2000.0, noise=False)
    made = StackReconstructor(TWO, SIZE, helpers.OPTICS).run(frames)
    blocks = [
        image.reshape(8, -1, 8, image.shape[-1] // 8).mean((1, 3)) for image in (made.image, frames.mean(0).numpy())
    ]
    slope, offset = np.polyfit(blocks[1].ravel(), blocks[0].ravel(), 1)
    assert slope == pytest.approx(1.0, abs=0.03)
    assert abs(offset) < 0.03 * blocks[1].mean()


def test_too_little_light_is_said_and_shown_as_widefield() -> None:
    frames, _ = drawn(TWO, 6.0)
    made = StackReconstructor(TWO, SIZE, helpers.OPTICS).run(frames)
    assert made.verdict.state == "fail"
    assert "more light" in made.verdict.why[0]
    assert made.verdict.resolution_nm == made.verdict.widefield_resolution_nm
    assert made.image.shape == (2 * SIZE, 2 * SIZE)
    f = np.fft.fftfreq(2 * SIZE, 1 / (2 * SIZE))
    power = np.abs(np.fft.fft2(made.image - made.image.mean())) ** 2
    assert power[np.hypot(f, f[:, None]) > 1.1 * CUTOFF].sum() < 1e-2 * power.sum()


def test_flat_fringes_are_no_fringes() -> None:
    known = helpers.fringes(TWO, SIZE, 1, depth=0.0)
    frames = helpers.illuminated(helpers.specimen(SIZE, 1), TWO, known, 2000.0, 1)
    verdict = StackReconstructor(TWO, SIZE, helpers.OPTICS).run(torch.from_numpy(frames)).verdict
    assert verdict.state == "fail"


def moved(frames: torch.Tensor, shift: int) -> torch.Tensor:
    return torch.cat([frames[:3], torch.roll(frames[3:], shift, -1)])


def test_small_motion_between_directions_is_taken_back() -> None:
    frames, _ = drawn(TWO, 2000.0)
    still = StackReconstructor(TWO, SIZE, helpers.OPTICS).run(frames)
    made = StackReconstructor(TWO, SIZE, helpers.OPTICS).run(moved(frames, 1))
    assert made.verdict.moved_px == pytest.approx(1.0, abs=0.2)
    assert made.verdict.state == "ok"
    inner = slice(24, -24)
    image = np.roll(made.image, -1, 1)  # fine pixels: the mean of the directions lies 2/3 of a raw one to the right
    assert np.corrcoef(image[inner, inner].ravel(), still.image[inner, inner].ravel())[0, 1] > 0.97


def test_large_motion_between_directions_is_said() -> None:
    frames, _ = drawn(TWO, 2000.0)
    for shift, state in ((3, "weak"), (6, "fail")):
        verdict = StackReconstructor(TWO, SIZE, helpers.OPTICS).run(moved(frames, shift)).verdict
        assert verdict.moved_px == pytest.approx(shift, abs=0.4)
        assert verdict.state == state
        assert any("moved" in why for why in verdict.why)


@pytest.mark.parametrize("peak_e", [400.0, 3000.0])
def test_frames_in_another_order_are_refused_by_name(peak_e: float) -> None:
    helped = helpers.illuminated(helpers.specimen(256, 1), TWO, helpers.fringes(TWO, 256, 1), peak_e, 1)
    frames = torch.from_numpy(helped)
    turned = frames.reshape(3, 3, 256, 256).transpose(0, 1).reshape(9, 256, 256)
    with pytest.raises(InputError, match="angle inside phase"):
        StackReconstructor(TWO, 256, helpers.OPTICS).run(turned)


def test_what_cannot_be_estimated_in_either_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def alike(_: Estimator, __: torch.Tensor, ___: Parameters | None = None) -> None:
        raise InputError("the phases of an angle are alike")

    frames, _ = drawn(TWO, 500.0)
    reconstructor = StackReconstructor(TWO, SIZE, helpers.OPTICS)
    monkeypatch.setattr(Estimator, "run", alike)
    with pytest.raises(InputError, match="alike"):
        reconstructor.run(frames)


def test_a_standing_pattern_fails() -> None:
    frames, _ = drawn(TWO, 2000.0)
    verdict = StackReconstructor(TWO, SIZE, helpers.OPTICS).run(frames[[0, 0, 0, 3, 3, 3, 6, 6, 6]]).verdict
    assert verdict.state == "fail"


def test_values_that_are_no_numbers_are_refused() -> None:
    frames, _ = drawn(TWO, 500.0)
    frames[4, 5, 6] = torch.nan
    with pytest.raises(InputError, match=r"frame 4 .* no numbers"):
        StackReconstructor(TWO, SIZE, helpers.OPTICS).run(frames)
    with pytest.raises(InputError, match=r"frame 4 .* no numbers"):
        checked(frames.numpy(), TWO, 60_000)


def test_in_a_large_field_the_middle_is_searched_first(monkeypatch: pytest.MonkeyPatch) -> None:
    known = helpers.fringes(TWO, 512, 1)
    frames = torch.from_numpy(helpers.illuminated(helpers.specimen(512, 1), TWO, known, 1000.0, 1))
    peaks = []
    for sure in (carriers.SURE_PEAK, np.inf):
        monkeypatch.setattr(carriers, "SURE_PEAK", sure)
        found = Estimator(TWO, 512, helpers.OPTICS.cutoff_per_px * 512).run(frames)
        assert np.hypot(*(found.parameters.carriers - known.carriers).reshape(-1, 2).T).max() < 0.03
        peaks.append(found.peaks.min())
    assert peaks[1] > 1.5 * peaks[0]


def test_out_of_focus_light_is_taken_out_and_detail_is_kept() -> None:
    frames, _ = drawn(TWO, 3000.0)
    place = torch.arange(SIZE) / SIZE
    haze = 300 * torch.cos(2 * torch.pi * 1.3 * place)[None, :] * torch.ones(SIZE)[:, None]
    fringe = 10 * torch.cos(2 * torch.pi * 40 * place)[None, :] * torch.ones(SIZE)[:, None]
    plain, hazy, striped = (sectioned(frames + part, CUTOFF, 0.9) for part in (torch.zeros(()), haze, fringe))
    inner = slice(16, -16)
    assert (hazy - plain)[:, inner, inner].std() < 0.15 * haze.std()
    assert (striped - plain)[:, inner, inner].std() == pytest.approx(float(fringe[inner, inner].std()), rel=0.02)


def test_an_image_may_be_sectioned() -> None:
    frames, known = drawn(TWO, 3000.0)
    whole, part = (
        StackReconstructor(TWO, SIZE, helpers.OPTICS, sectioning=share).run(frames, known) for share in (0.0, 0.9)
    )
    assert part.verdict == whole.verdict
    assert part.image.mean() == pytest.approx(0.1 * float(whole.image.mean()), rel=0.1)
    with pytest.raises(InputError, match="sectioning"):
        StackReconstructor(TWO, SIZE, helpers.OPTICS, sectioning=2.0)


def test_depths_share_what_they_know_where_they_are_unsure() -> None:
    depths = np.array([[0.8], [0.9], [1.0]])
    assert alike(depths, np.full((3, 1), 1e-4)) == pytest.approx(depths, rel=1e-3)
    assert np.ptp(alike(depths, np.full((3, 1), 0.3))) < 0.02
    assert alike(depths[:1], np.full((1, 1), 0.3)) == pytest.approx(depths[:1])


@settings(max_examples=25, deadline=None)
@given(x=st.integers(-8, 8), y=st.integers(-12, 12))
def test_a_part_of_a_spectrum_is_cut_from_its_half(x: int, y: int) -> None:
    picture = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 32, 32)))
    rows, columns = np.arange(y - 8, y + 8) % 32, np.arange(x - 8, x + 8) % 32
    part = cut(torch.fft.rfft2(picture), np.array([x - 8, y - 8]), 16)
    assert torch.allclose(part, torch.fft.fft2(picture)[:, rows][:, :, columns])


def test_bleaching_is_found() -> None:
    known = helpers.fringes(TWO, SIZE, 1)
    known = replace(known, gains=np.linspace(1.3, 0.7, 9).reshape(3, 3))
    frames = torch.from_numpy(helpers.illuminated(helpers.specimen(SIZE, 1), TWO, known, 2000.0, 1))
    verdict = StackReconstructor(TWO, SIZE, helpers.OPTICS).run(frames).verdict
    assert verdict.bleached == pytest.approx(0.46, abs=0.06)
    assert verdict.state == "weak"
    assert any("light was lost" in why for why in verdict.why)


def test_separation_undoes_mixing() -> None:
    phases = np.random.default_rng(1).uniform(0, 6, (7, 3))
    bands = np.random.default_rng(2).normal(size=(4,)) + 1j * np.array([0.0, 1, 2, 3])
    whole = np.concatenate([bands, bands[1:].conj()])
    assert separation(phases) @ (mixing(phases) @ whole) == pytest.approx(bands)


def test_a_pattern_that_stands_still_is_refused() -> None:
    with pytest.raises(InputError, match="alike"):
        separation(np.zeros((3, 1)))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ((3, 2, 2), "too few frames"),
        ((3, 3, 3), "too few frames"),
        ((0, 3, 2), "too few frames"),
        ((3, 3, 4), "4 beams"),
        ((3, 7, 3, True), "3 beams"),
        ((3, 7, 2, True), "all directions"),
    ],
)
def test_impossible_layouts_are_refused(given: tuple[int, ...], what: str) -> None:
    with pytest.raises(InputError, match=what):
        Layout(*given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (np.arange(8 * 64 * 64, dtype=np.uint16).reshape(8, 64, 64), "8 raw frames"),
        (np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), "1 raw frames"),
        (np.arange(9 * 64 * 32, dtype=np.uint16).reshape(9, 64, 32), "frames of"),
        (np.full((9, 64, 64), 100, np.uint16), "all pixels are alike"),
        (np.tile(np.array([100, 65535], np.uint16), (9, 64, 32)), "saturated"),
    ],
)
def test_stacks_that_cannot_be_worked_with_are_refused(raw: np.ndarray, what: str) -> None:
    with pytest.raises(InputError, match=what):
        checked(raw, TWO, 60_000)


def test_pixels_must_carry_what_the_lens_resolves() -> None:
    with pytest.raises(InputError, match="cannot carry"):
        StackReconstructor(TWO, 128, replace(helpers.OPTICS, pixel_size_nm=160.0))
    with pytest.raises(InputError, match="33 pixels"):
        StackReconstructor(TWO, 33, helpers.OPTICS)


def test_transfer_is_one_at_rest_and_nothing_beyond_the_lens() -> None:
    f = frequencies(64)
    passed = transfer(f, f, 20.0, 64)
    assert float(passed[0, 0]) == 1.0
    assert float(passed[torch.hypot(f[None], f[:, None]) >= 20].abs().max()) < 1e-12
    assert torch.allclose(passed, passed.T)


@pytest.mark.parametrize("shift", [(0, 0), (7, -5), (13, 9), (3, 15)])
def test_every_element_of_a_band_is_put_in_its_place_once(shift: tuple[int, int]) -> None:
    whole = 32
    half = np.zeros((2 * whole, whole + 1), int)
    band = np.arange(1, whole * whole + 1).reshape(whole, whole)
    for part in placement.direct(shift, whole):
        half[slice(*part.rows), slice(*part.columns)] += band[slice(*part.from_rows), slice(*part.from_columns)]
    for qy in range(-whole // 2, whole // 2):
        for qx in range(-whole // 2, whole // 2):
            kx, ky = qx + shift[0], qy + shift[1]
            if kx >= 0:
                assert half[ky, kx] == band[qy, qx]
    turned = band[np.ix_(-np.arange(whole) % whole, -np.arange(whole) % whole)]
    half[:] = 0
    for part in placement.mirrored(shift, whole):
        half[slice(*part.rows), slice(*part.columns)] += turned[slice(*part.from_rows), slice(*part.from_columns)]
    for qy in range(-whole // 2 + 1, whole // 2):
        for qx in range(-whole // 2 + 1, whole // 2):
            kx, ky = qx + shift[0], qy + shift[1]
            if kx <= 0:
                assert half[-ky, -kx] == band[qy, qx]


def written(folder: Path, frames: torch.Tensor, **optics: object) -> tuple[Path, Path, Path]:
    counts = np.clip(frames.numpy() / 0.46 + 100, 0, 65535).round().astype(np.uint16)
    tifffile.imwrite(folder / "raw.tif", counts, photometric="minisblack")
    (folder / "camera.json").write_text(
        json.dumps({"pixel_size_nm": 81.0, "offset_adu": 100.0, "electrons_per_adu": 0.46, "read_noise_e": 1.6})
    )
    (folder / "optics.json").write_text(json.dumps({"numerical_aperture": 1.4, "wavelength_nm": 525.0, **optics}))
    return folder / "raw.tif", folder / "camera.json", folder / "optics.json"


def test_files_are_reconstructed_with_a_report(tmp_path: Path) -> None:
    frames, known = drawn(THREE, 3000.0)
    raw, camera, optics = written(tmp_path, torch.cat([frames, frames]), angles=3, phases=5, beams=3)
    line = process_file("reconstruct", raw, tmp_path / "o.tif", camera, optics, [], tmp_path / "r.json")
    assert "stacks 2" in line
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["verdict"] == "ok"
    assert np.abs(np.array(found["carriers_px"]) - known.carriers[:, -1]).max() < 0.1
    images = tifffile.imread(tmp_path / "o.tif")
    assert images.shape == (2, 2 * SIZE, 2 * SIZE)
    assert np.array_equal(images[0], images[1])


def test_a_movie_that_is_no_whole_number_of_stacks_is_refused(tmp_path: Path) -> None:
    frames, _ = drawn(TWO, 300.0)
    raw, camera, optics = written(tmp_path, frames[:8])
    with pytest.raises(InputError, match="8 frames"):
        process_file("reconstruct", raw, tmp_path / "o.tif", camera, optics, [], None)
    assert not (tmp_path / "o.tif").exists()
    with pytest.raises(InputError, match="4 beams"):
        process_file("reconstruct", raw, tmp_path / "o.tif", camera, optics, ["beams=4"], None)
    with pytest.raises(InputError, match="no option 'sectionning'"):
        process_file("reconstruct", raw, tmp_path / "o.tif", camera, optics, ["sectionning=0.9"], None)
    raw, camera, optics = written(tmp_path, frames)
    with pytest.raises(InputError, match="sectioning 2"):
        process_file("reconstruct", raw, tmp_path / "o.tif", camera, optics, ["sectioning=2"], None)


def test_the_cutoff_of_a_lens_in_cycles_per_pixel() -> None:
    assert Optics(0.5, 525.0, 160.0).cutoff_per_px == pytest.approx(0.305, abs=1e-3)


def test_pixel_maps_of_the_camera_are_used(tmp_path: Path) -> None:
    """A sensor with a pattern of its own, whose map is told, gives the image of a sensor without."""
    frames, _ = drawn(TWO, 2000.0)
    raw, camera, optics = written(tmp_path, frames)
    process_file("reconstruct", raw, tmp_path / "even.tif", camera, optics, [], None)
    extra = np.random.default_rng(3).integers(0, 40, (SIZE, SIZE)).astype(np.uint16)
    tifffile.imwrite(raw, tifffile.imread(raw) + extra, photometric="minisblack")
    np.save(tmp_path / "offset_adu.npy", 100 + extra.astype(np.float32))
    camera.write_text(json.dumps({**json.loads(camera.read_text()), "maps": ["offset_adu.npy"]}))
    process_file("reconstruct", raw, tmp_path / "told.tif", camera, optics, [], None)
    even, told = (tifffile.imread(tmp_path / name) for name in ("even.tif", "told.tif"))
    assert np.abs(told - even).max() < 1e-3 * np.ptp(even)

"""Objects are where they are, as bright and as large as they are, and noise alone makes no more than was allowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.errors import PluginError
from smartscope.ports import Instrument
from smartscope.result import Detections, Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.detection import CellDetector, SpotDetector
from smartscope_models.detection.gauss_fit import fit_spots
from smartscope_models.detection.matched_filter import SpotFilter

CAMERA = CameraCalibration()
INSTRUMENT = Instrument(CAMERA, OpticsConfig())


def exposed(light_e: np.ndarray, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    electrons = rng.poisson(light_e) + rng.normal(0, CAMERA.read_noise_e, light_e.shape)
    return np.clip(np.rint(electrons / CAMERA.electrons_per_adu + CAMERA.offset_adu), 0, 65535).astype(np.uint16)


def spots_on(shape: tuple[int, int], places: np.ndarray, sigma: float, peak: float, background: float) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = np.full(shape, float(background))
    for px, py in places:
        light += peak * np.exp(-0.5 * ((x - px) ** 2 + (y - py) ** 2) / sigma**2)
    return light


def found(model: SpotDetector | CellDetector, pixels: np.ndarray) -> Detections:
    frame = a_frame(pixels)
    detections = model.step([frame], Result(frame)).detections
    assert detections is not None
    return detections


def lattice(pitch: int, count: int, seed: int = 0) -> np.ndarray:
    """(count², 2) places, apart, off the pixel grid."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:count, :count]
    return (np.c_[x.ravel(), y.ravel()] + 0.5) * pitch + rng.uniform(-0.5, 0.5, (count * count, 2))


def nearest(detections: Detections, places: np.ndarray) -> np.ndarray:
    """(M,) row of the place nearest to each detection."""
    gap = np.hypot(*(np.c_[detections.x_px, detections.y_px][:, None] - places[None]).transpose(2, 0, 1))
    rows: np.ndarray = gap.argmin(1)
    return rows


def test_spots_are_found_to_a_fraction_of_a_pixel() -> None:
    places, sigma, peak = lattice(16, 12), 1.3, 100.0
    spots = found(SpotDetector(INSTRUMENT, sigma_px=sigma), exposed(spots_on((192, 192), places, sigma, peak, 10)))
    assert len(spots) == len(places)
    error = np.c_[spots.x_px, spots.y_px] - places[nearest(spots, places)]
    assert np.sqrt((error**2).mean()) < 0.08  # Mortensen's limit is 0.06 here
    assert np.abs(error.mean(0)).max() < 0.02
    assert np.median(spots.size_px) == pytest.approx(sigma, rel=0.03)
    assert np.median(spots.intensity) == pytest.approx(2 * np.pi * sigma**2 * peak, rel=0.05)
    assert (spots.label == 0).all()


def test_spots_are_found_in_the_denoised_image_where_that_is_asked() -> None:
    """What is in the image alone is found by ``source: image`` alone; without an image the frame is read."""
    places = np.array([[30.3, 40.6], [70.8, 60.2]])
    light = spots_on((96, 96), places, 1.2, 60, 10)
    empty = a_frame(exposed(np.full((96, 96), 10.0)))
    image = (light / CAMERA.electrons_per_adu + CAMERA.offset_adu).astype(np.float32)
    of_frame, of_image = SpotDetector(INSTRUMENT), SpotDetector(INSTRUMENT, source="image")
    for model in (of_frame, of_image):
        model.warm_up((96, 96))
    detections = of_image.step([empty], Result(empty, image=image)).detections
    assert detections is not None
    got = np.stack([detections.x_px, detections.y_px], axis=1)
    assert got[np.argsort(got[:, 0])] == pytest.approx(places, abs=0.05)
    unseen = of_frame.step([empty], Result(empty, image=image)).detections
    assert unseen is not None
    assert len(unseen) == 0
    seen = a_frame(exposed(light))
    without = of_image.step([seen], Result(seen)).detections
    assert without is not None
    assert len(without) == 2
    assert of_image.reads == {"image"}
    assert not of_frame.reads


def test_dark_spots_are_spots_too() -> None:
    places = lattice(24, 6)
    light = spots_on((144, 144), places, 2.5, -60, 200)
    dark = found(SpotDetector(INSTRUMENT, sigma_px=2.5, polarity="dark"), exposed(light))
    assert len(dark) == len(places)
    assert np.sqrt(np.mean((np.c_[dark.x_px, dark.y_px] - places[nearest(dark, places)]) ** 2)) < 0.25
    assert len(found(SpotDetector(INSTRUMENT, sigma_px=2.5), exposed(light))) < 5


@pytest.mark.parametrize("allowed", [10.0, 200.0])
def test_noise_alone_makes_as_many_as_allowed(allowed: float) -> None:
    model = SpotDetector(INSTRUMENT, sigma_px=1.3, false_alarms_per_megapixel=allowed)
    noise = exposed(np.full((1000, 1000), 50.0))
    false = found(model, noise)
    assert len(false) < 1.5 * allowed + 10
    if allowed > 100:
        assert len(false) > 0.2 * allowed


def test_a_rate_that_no_threshold_reaches_keeps_a_threshold() -> None:
    assert SpotFilter.of(20.0).threshold(10_000) == 1.0


def test_hot_pixels_and_edges_of_cells_are_no_spots() -> None:
    y, x = np.mgrid[:128, :128]
    light = np.where(np.hypot(x - 64, y - 64) < 30, 150.0, 10.0)
    pixels = exposed(light)
    pixels[10::20, 5::24] = 3000
    assert len(found(SpotDetector(INSTRUMENT), pixels)) <= 1


def test_the_strongest_are_kept() -> None:
    places = lattice(16, 6)
    light = spots_on((96, 96), places[:18], 1.0, 300, 10) + spots_on((96, 96), places[18:], 1.0, 80, 0)
    spots = found(SpotDetector(INSTRUMENT, sigma_px=1.0, max_spots=18), exposed(light))
    assert len(spots) == 18
    assert set(nearest(spots, places)) == set(range(18))


def test_a_fit_that_cannot_succeed_says_so() -> None:
    flat = np.full((9, 9), 100, np.uint16)
    out = np.empty((1, 4))
    one = np.ones((9, 9), np.float32)
    fit_spots(flat, one, one, np.array([[4, 4]]), 1.0, 1.3, 3, 1.0, 1.0, out)
    assert np.isnan(out[0, 0]) or out[0, 3] < 100


def discs(shape: tuple[int, int], rows: list[tuple[float, float, float, float]]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = np.full(shape, 5.0)
    for cx, cy, radius, level in rows:
        light[np.hypot(x - cx, y - cy) < radius] = level
    return light


def test_cells_have_place_size_and_light() -> None:
    rows = [(60.0, 70.0, 30.0, 40.0), (180.0, 60.0, 25.0, 120.0), (120.0, 190.0, 40.0, 60.0)]
    model = CellDetector(INSTRUMENT, min_radius_um=1.5, max_radius_um=8)
    model.warm_up((256, 256))
    cells = found(model, exposed(discs((256, 256), rows)))
    assert len(cells) == 3
    for cx, cy, radius, level in rows:
        k = int(np.hypot(cells.x_px - cx, cells.y_px - cy).argmin())
        assert np.hypot(cells.x_px[k] - cx, cells.y_px[k] - cy) < 1
        assert cells.size_px[k] == pytest.approx(radius, rel=0.1)
        assert cells.intensity[k] == pytest.approx(np.pi * radius**2 * (level - 5), rel=0.15)
    assert (cells.label == 1).all()


def test_touching_cells_are_parted_and_lumpy_ones_are_not() -> None:
    model = CellDetector(INSTRUMENT, min_radius_um=1.5, max_radius_um=8)
    pair = found(model, exposed(discs((192, 192), [(65, 96, 30, 80), (119, 96, 30, 80)])))
    assert sorted(np.round(pair.x_px / 5) * 5) == [65, 120]
    lumpy = discs((192, 192), [(96, 96, 40, 80), (84, 90, 10, 50), (108, 100, 8, 40)])
    assert len(found(model, exposed(lumpy))) == 1


def test_nothing_is_found_in_nothing() -> None:
    model = CellDetector(INSTRUMENT)
    assert len(found(model, exposed(np.full((256, 256), 5.0)))) == 0
    assert len(found(model, exposed(discs((256, 256), [(50, 50, 6, 100)])))) == 0, "smaller than the smallest cell"
    assert len(found(model, np.zeros((4, 4), np.uint16))) == 0, "smaller than one reduced pixel"


def test_radii_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(PluginError, match="is not below max_radius_um"):
        CellDetector(INSTRUMENT, min_radius_um=9, max_radius_um=3)


def hits(cells: Detections, labels: np.ndarray) -> tuple[int, int, int]:
    """Objects of the truth with exactly one detection on them, detections, objects."""
    names = [n for n in np.unique(labels) if n]
    y = np.clip(np.rint(cells.y_px).astype(int), 0, labels.shape[0] - 1)
    x = np.clip(np.rint(cells.x_px).astype(int), 0, labels.shape[1] - 1)
    under = labels[y, x]
    return sum(int((under == n).sum() == 1) for n in names), len(cells), len(names)


@pytest.mark.data
def test_real_nuclei_of_many_images(data: Path) -> None:
    """dsb2018: 64 images from many microscopes, CC0."""
    with np.load(data / "dsb2018_64_nuclei_256.npz") as file:
        images, labels = file["images"], file["labels"]
    camera = CameraCalibration(pixel_size_nm=500, offset_adu=0, electrons_per_adu=1, read_noise_e=1)
    model = CellDetector(Instrument(camera, OpticsConfig()), min_radius_um=1.5, max_radius_um=20)
    right, made, true = np.sum(
        [hits(found(model, x.astype(np.uint16)), y) for x, y in zip(images, labels, strict=True)], axis=0
    )
    assert right / made > 0.85
    assert right / true > 0.75


@pytest.mark.data
def test_real_nuclei_of_a_movie(data: Path) -> None:
    """GOWT1 stem cells, Cell Tracking Challenge: very different brightness within one image."""
    image = pytest.importorskip("PIL.Image", reason="pillow reads these LZW-compressed files")
    camera = CameraCalibration(pixel_size_nm=240, offset_adu=0, electrons_per_adu=1, read_noise_e=1)
    model = CellDetector(Instrument(camera, OpticsConfig()), min_radius_um=2.5, max_radius_um=12)
    folder, counts = data / "ctc" / "Fluo-N2DH-GOWT1", []
    for k in (0, 8, 16):
        with (
            image.open(folder / "01" / f"t{k:03}.tif") as raw,
            image.open(folder / "01_GT" / "TRA" / f"man_track{k:03}.tif") as truth,
        ):
            counts.append(hits(found(model, np.array(raw).astype(np.uint16)), np.array(truth)))
    right, made, true = np.sum(counts, axis=0)
    assert right / made > 0.8
    assert right / true > 0.8


@pytest.mark.data
def test_real_beads(data: Path) -> None:
    """1 um beads in water, brightfield: dark rings with a bright middle, about the same number in each frame."""
    image = pytest.importorskip("PIL.Image", reason="pillow reads PNG files")
    camera = CameraCalibration(pixel_size_nm=351, offset_adu=0, electrons_per_adu=1, read_noise_e=1)
    model = SpotDetector(Instrument(camera, OpticsConfig()), sigma_px=2.5, polarity="dark")
    files = sorted(data.glob("trackpy/**/bulk_water/*.png"))[:4]
    counts = []
    for path in files:
        with image.open(path) as picture:
            counts.append(len(found(model, np.ascontiguousarray(np.array(picture)[..., 0]).astype(np.uint16))))
    assert min(counts) > 60
    assert max(counts) < 1.3 * min(counts)

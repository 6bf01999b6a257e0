"""Objects by a network: what it is shown, what is made of its list, outlines, light, and who looks where it cannot."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from detecting import write_bright
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.errors import PluginError, UnsupportedModel
from smartscope.frame import Frame
from smartscope.ports import Instrument, TaskInputs
from smartscope.result import Detections, Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.calibration import SensorCalibration
from smartscope_models.detection import ObjectDetector
from smartscope_models.detection.instances import finer, measured, seeded, spot_light, work
from smartscope_models.detection.network import Found, ObjectNetwork, in_pixels, without_doubles
from smartscope_models.detection.network_path import NetworkPath
from smartscope_models.detection.objects import DescribedDetections, joined
from smartscope_models.tasks import DetectTask

CAMERA = CameraCalibration()
INSTRUMENT = Instrument(CAMERA, OpticsConfig())
PLACES = np.array([[20.0, 13.0], [41.0, 30.0], [58.0, 44.0]])


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bright(tmp_path_factory.mktemp("zoo")))


def scene(
    places: np.ndarray = PLACES, shape: tuple[int, int] = (50, 70), seed: int = 1, peak: float = 400
) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    light = np.full(shape, 10.0)
    for px, py in places:
        light += peak * np.exp(-0.5 * ((x - px) ** 2 + (y - py) ** 2) / 1.5**2)
    electrons = np.random.default_rng(seed).poisson(light)
    return (electrons / CAMERA.electrons_per_adu + CAMERA.offset_adu).astype(np.uint16)


def numbered(pixels: np.ndarray, index: int) -> Frame:
    return replace(a_frame(pixels), index=index)


def found(model: ObjectDetector, *frames: Frame) -> DescribedDetections:
    detections = model.step(frames, Result(frames[-1])).detections
    assert isinstance(detections, DescribedDetections)
    return detections


def test_a_network_s_objects_come_as_detections_in_pixels_and_electrons(bright: str) -> None:
    model = ObjectDetector(INSTRUMENT, network=bright, probability=0.4)
    model.warm_up((50, 70))
    spots = found(model, a_frame(scene()))
    order = np.argsort(spots.x_px)
    np.testing.assert_allclose(np.c_[spots.x_px, spots.y_px][order], PLACES, atol=1.5)
    assert (spots.label == 0).all()
    assert (spots.probability > 0.4).all()
    assert spots.size_px == pytest.approx(np.exp(0.5), rel=1e-5)
    assert set(spots.back_x_px) == {1.0}
    assert spots.flash == pytest.approx(0.3)
    assert model.facts()["finder"] == "network"
    assert model.facts()["network"] == "bright"
    assert model.outlines is not None
    assert not model.outlines.any()
    assert len(joined(spots, spots)) == 6


def test_another_size_of_frame_is_taken_as_it_comes(bright: str) -> None:
    model = ObjectDetector(INSTRUMENT, network=bright, probability=0.4)
    model.warm_up((50, 70))
    for shape in ((33, 90), (1, 1), (64, 64)):
        spots = found(model, a_frame(scene(PLACES[:1], shape)))
        assert ((spots.x_px < shape[1]) & (spots.y_px < shape[0])).all()


def test_the_frame_before_is_shown_where_it_can_be_compared(bright: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ObjectDetector(INSTRUMENT, network=bright)
    assert model.history == 1
    one, two, three = (numbered(scene(seed=k), k) for k in (4, 5, 6))
    path = model._path
    assert path is not None
    shown = []
    run = path._network.engine.run

    def watch(inputs: dict[str, np.ndarray]) -> object:
        shown.append(inputs["cells"][0].copy())
        return run(inputs)

    monkeypatch.setattr(path._network.engine, "run", watch)
    model.warm_up((50, 70))
    shown.clear()
    found(model, one)
    found(model, one, two)
    np.testing.assert_array_equal(shown[1][4:], shown[0][:4])
    assert not shown[0][4:].any()
    found(model, two, three)
    again = shown[2].copy()
    found(model, numbered(scene(seed=9), 30))  # another one in between
    found(model, two, three)
    np.testing.assert_array_equal(shown[4], again)
    for other in (
        numbered(two.pixels, 3),
        replace(two, epoch=two.epoch + 1),
        replace(two, settings=replace(two.settings, exposure_ms=two.settings.exposure_ms + 1)),
    ):
        found(model, other, three)
        assert not shown[-1][4:].any()
    found(model, two, replace(three, lost_before=True))
    assert not shown[-1][4:].any()


def test_the_shipped_network_looks_for_what_it_finds_best() -> None:
    frame = a_frame(scene(PLACES, (50, 70), peak=60))
    for kinds, facts in ((("spot", "cell"), {"cells": "classical"}), (("spot",), {})):
        model = ObjectDetector(INSTRUMENT, kinds=kinds)
        assert {"finder": "network", "network": "detect_objects", **facts}.items() <= model.facts().items()
        assert model.history == 1
        model.warm_up((50, 70))
        found = model.step([frame], Result(frame)).detections
        assert found is not None
        spots = np.stack([found.x_px, found.y_px], axis=1)[found.label == 0]
        gaps = np.hypot(*(PLACES[:, None] - spots[None]).transpose(2, 0, 1))
        assert gaps.shape == (3, 3)
        assert gaps.min(axis=1).max() < 0.5
        assert (model.outlines is None) == ("cell" in kinds)
    assert ObjectDetector(INSTRUMENT, kinds=("cell",)).facts() == {"finder": "classical"}


def test_without_a_usable_network_the_classical_detectors_look(bright: str, monkeypatch: pytest.MonkeyPatch) -> None:
    none = "smartscope_models.detection.detector.PACKAGE"
    monkeypatch.setattr(none, "denoise_frame")
    model = ObjectDetector(INSTRUMENT, kinds=("spot", "cell"))
    assert model.facts() == {"finder": "classical", "network": "none: its task is denoise"}
    assert (model.history, model.outlines) == (0, None)
    model.warm_up((50, 70))
    frame = a_frame(scene())
    spots = model.step([frame], Result(frame, image=np.zeros((50, 70), np.float32))).detections
    assert spots is not None
    assert len(spots) == 3
    with pytest.raises(UnsupportedModel, match="its task is denoise"):
        ObjectDetector(INSTRUMENT, finder="network")
    with pytest.raises(UnsupportedModel, match="its task is denoise"):
        ObjectDetector(INSTRUMENT, network="denoise_frame")
    with pytest.raises(PluginError, match="organelles are found by a network alone"):
        ObjectDetector(INSTRUMENT, kinds=("organelle",), finder="classical")


# ---------------------------------------------------------------------------------------------------- the list


def test_places_of_all_grids_become_pixels() -> None:
    half = (16, 32)  # 512 spots, 8 x 16 organelles, 4 x 8 cells
    places = np.array([33.0, 512.0, 512 + 17, 512 + 128 + 9, -1], np.float32)
    objects = np.zeros((5, 9), np.float32)
    objects[:, 3] = 1.0
    scale, rows = in_pixels(places, objects, half)
    assert scale.tolist() == [0, 1, 1, 2]
    np.testing.assert_allclose(rows[:, 1:3], [[2.5, 2.5], [1.5, 1.5], [5.5, 5.5], [11.5, 11.5]])
    assert rows[:, 3] == pytest.approx(np.e)


def listed(*rows: tuple[int, float, float, float, float]) -> Found:
    """Scale, probability, x, y, radius of each."""
    objects = np.zeros((len(rows), 9))
    objects[:, :4] = [row[1:] for row in rows]
    field = np.zeros((4, 4), np.float32)
    return Found(np.array([row[0] for row in rows]), objects, field, field, 5.0)


def test_what_is_said_twice_of_an_object_is_told_once_and_adds_up() -> None:
    both = listed((1, 0.5, 20, 20, 12), (2, 0.3, 24, 20, 12), (2, 0.9, 60, 60, 13), (1, 0.7, 61, 60, 12))
    once = without_doubles(both)
    assert once.scale.tolist() == [1, 2]
    assert once.objects[:, 0] == pytest.approx([0.8, 1.0])
    assert once.objects[0, 1:4] == pytest.approx([21.5, 20, 12])
    row = listed((2, 0.3, 20, 20, 20), (2, 0.4, 32, 20, 20), (2, 0.3, 44, 20, 20), (2, 0.2, 56, 20, 20))
    told = without_doubles(row).objects
    assert told[:, 0] == pytest.approx([1.0, 0.2])  # nothing is counted twice
    assert told[:, 1] == pytest.approx([32, 56])
    apart = listed((1, 0.9, 20, 20, 4), (2, 0.6, 22, 21, 30), (0, 0.9, 20, 20, 1.5), (2, 0.5, 80, 20, 14))
    assert len(without_doubles(apart).scale) == 4  # a small thing in a large one is another thing
    assert len(without_doubles(listed((1, 0.9, 20, 20, 12))).scale) == 1


# ---------------------------------------------------------------------------------------------------- outlines


def disc(shape: tuple[int, int], *circles: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Foreground and depth of circles (x, y, radius), each pixel in the one in which it lies deeper."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    deep = np.max([1 - np.hypot(x - cx, y - cy) / r for cx, cy, r in circles], axis=0)
    return (deep > 0).astype(np.float32), np.maximum(deep, 0).astype(np.float32)


def flooded(foreground: np.ndarray, depth: np.ndarray, seeds: list[tuple[float, float]], reach: float) -> np.ndarray:
    labels = np.empty(foreground.shape, np.int32)
    x, y = np.array(seeds).T if seeds else np.empty((2, 0))
    seeded(foreground, depth, y, x, np.full(len(seeds), reach), labels, *work(foreground.shape))
    return labels


def test_touching_objects_are_parted_where_depth_is_least() -> None:
    foreground, depth = disc((40, 60), (20, 20, 12), (40, 20, 12))
    labels = flooded(foreground, depth, [(20, 20), (40, 20)], 30)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert ((labels > 0) == (foreground > 0.5)).all()
    columns = np.arange(60)[None] * np.ones((40, 1))
    assert columns[labels == 1].max() <= 30
    assert columns[labels == 2].min() >= 30


def test_nothing_is_reached_too_far_or_without_a_seed() -> None:
    foreground, depth = disc((40, 60), (20, 20, 12), (45, 20, 8))
    labels = flooded(foreground, depth, [(20, 20)], 6.0)
    assert 0 < (labels == 1).sum() <= np.pi * 6.5**2
    assert not labels[:, 33:].any()
    assert not flooded(foreground, depth, [], 5.0).any()
    assert not flooded(foreground * 0, depth, [(20, 20)], 5.0).any()  # a seed on the background


def test_a_centre_in_a_nucleolus_finds_its_nucleus() -> None:
    foreground, depth = disc((40, 40), (20, 20, 14))
    y, x = np.mgrid[:40, :40]
    foreground[np.hypot(x - 20, y - 20) < 3.6] = 0
    assert (flooded(foreground, depth, [(20, 20)], 30.0) == 1).sum() == (foreground > 0.5).sum()
    assert not flooded(foreground, depth, [(20, 20)], 10.0).any()  # too far for a small one


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 13), st.integers(1, 13), st.integers(0, 2**31))
def test_any_depths_give_labels_of_seeds_in_the_foreground(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    foreground, depth = rng.random((2, height, width)).astype(np.float32)
    seeds = [tuple(place) for place in rng.uniform(-3, 16, (int(rng.integers(0, 5)), 2))]
    labels = flooded(foreground, depth, seeds, 5.0)
    assert not labels[foreground <= 0.5].any()
    assert labels.max() <= len(seeds)
    out = np.empty((2 * height - 1, 2 * width - 1), np.int32)
    finer(labels, foreground, out)
    assert set(np.unique(out)) <= set(np.unique(labels)) | {0}


def test_outlines_at_full_size_keep_area_and_centre() -> None:
    foreground, depth = disc((30, 30), (14.2, 15.1, 9.0))
    soft = np.clip(0.5 + 9 * depth - 9 * (1 - foreground) * 0.1, 0, 1).astype(np.float32)
    labels = flooded(foreground, depth, [(14, 15)], 20)
    out = np.empty((60, 60), np.int32)
    finer(labels, np.where(foreground > 0, np.maximum(soft, 0.51), 0).astype(np.float32), out)
    assert (out > 0).sum() == pytest.approx(np.pi * 18**2, rel=0.05)
    figures = np.empty((1, 4))
    pixels = np.full((60, 60), 110, np.uint16)
    measured(out, pixels, np.full((60, 60), 100, np.float32), np.full((60, 60), 0.5, np.float32), 2.0, figures)
    assert figures[0, 1] == pytest.approx(3.0 * figures[0, 0])
    assert figures[0, 2:] == pytest.approx([28.9, 30.7], abs=0.4)


def test_a_spot_s_light_is_its_own_not_its_background_s() -> None:
    y, x = np.mgrid[:30, :30]
    light = 25 + 80 * np.exp(-0.5 * ((x - 14.3) ** 2 + (y - 15.8) ** 2) / 1.4**2)
    pixels = np.rint(light / 0.01).astype(np.uint16)
    total = np.empty(2)
    flat = np.ones((30, 30), np.float32)
    spot_light(
        pixels, 0 * flat, np.float32(0.01) * flat, np.array([14.3, -40.0]), np.array([15.8, 3.0]),
        np.array([1.4, 1.4]), total,
    )  # fmt: skip
    assert total == pytest.approx([2 * np.pi * 1.4**2 * 80, 0.0], rel=1e-3)


class Round(ObjectNetwork):
    """Says that there is a cell of radius 10 at (30, 24), an organelle of 5 at (60, 30), and a spot."""

    def __init__(self) -> None:
        pass

    def warm_up(self, shape: tuple[int, int]) -> None:
        self.half = (-(-shape[0] // 2), -(-shape[1] // 2))

    def keep(self, stable: np.ndarray | None) -> None:
        pass

    def find(self, stable: np.ndarray) -> Found:
        objects = np.zeros((3, 9))
        objects[:, :4] = [[0.9, 31, 24, 9], [0.8, 60, 30, 5], [0.7, 10, 40, 1.3]]
        foreground, depth = disc(self.half, (14.75, 11.75, 5), (29.75, 14.75, 2.5))
        level = 2 * (10 + 0.375 + CAMERA.read_noise_e**2) ** 0.5
        return Found(np.array([2, 1, 0]), objects, foreground, depth, level)


@pytest.mark.parametrize(
    ("kinds", "labels"),
    [
        (("spot", "organelle", "cell"), [1, 2, 0]),
        (("spot", "cell"), [1, 1, 0]),
        (("organelle",), [2]),
        (("spot",), [0]),
    ],
)
def test_the_kinds_asked_for_are_told(kinds: tuple[str, ...], labels: list[int]) -> None:
    path = NetworkPath(Round(), SensorCalibration(CAMERA), kinds, 0.5)
    path.warm_up((50, 80))
    frame = a_frame(scene(np.empty((0, 2)), (50, 80)))
    assert path.find([frame]).label.tolist() == labels
    there = {1 + row for row, label in enumerate(labels) if label}
    assert set(np.unique(path.outlines)) - {0} == there


def test_outlines_correct_place_and_size_and_hold_the_light() -> None:
    path = NetworkPath(Round(), SensorCalibration(CAMERA), ("cell", "spot"), 0.75)
    path.warm_up((50, 80))
    cell = path.find([a_frame(scene(np.array([[30.0, 24.0]]), (50, 80), peak=100))])
    assert len(cell) == 2  # the spot is less sure
    assert cell.x_px[0] == pytest.approx(30, abs=0.3)
    assert cell.size_px[0] == pytest.approx(10, abs=0.7)
    assert cell.intensity[0] > cell.intensity[1]


# ---------------------------------------------------------------------------------------------------- files


def movie_of(path: Path) -> Path:
    frames = np.stack([scene(PLACES + k, seed=k) for k in range(3)])
    tifffile.imwrite(path, frames, photometric="minisblack")
    return path


def process(source: Path, output: Path, **options: object) -> dict[str, object]:
    inputs = TaskInputs(str(source), str(output), INSTRUMENT, {"camera_given": True, **options})
    return dict(DetectTask().run(inputs, lambda done, total: None))


def test_process_writes_what_the_network_says_and_the_outlines(bright: str, tmp_path: Path) -> None:
    source, output, masks = movie_of(tmp_path / "in.tif"), tmp_path / "out.csv", tmp_path / "masks.tif"
    figures = process(source, output, network=bright, probability=0.4, masks=str(masks))
    assert figures["finder"] == "network"
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == figures["detections"] == 9
    assert [row["mask_id"] for row in rows] == ["0"] * 9
    assert {row["label"] for row in rows} == {"0"}
    assert float(rows[0]["back_x_px"]) == 1.0
    assert tifffile.imread(masks).shape == (3, 50, 70)
    with pytest.raises(PluginError, match="tells no outlines"):
        process(source, output, finder="classical", masks=str(tmp_path / "none.tif"))
    assert not (tmp_path / "none.tif").exists()
    process(source, output, finder="classical", kinds=["spot"])
    with output.open(newline="") as file:
        assert next(csv.reader(file)) == ["frame", "x_px", "y_px", "size_px", "intensity", "label"]


def test_bad_frames_raise_nothing(bright: str) -> None:
    model = ObjectDetector(INSTRUMENT, network=bright)
    model.warm_up((50, 70))
    rng = np.random.default_rng(1)
    for pixels in (
        np.zeros((50, 70), np.uint16),
        np.full((50, 70), 65535, np.uint16),
        rng.integers(0, 65536, (50, 70)).astype(np.uint16),
    ):
        spots: Detections = found(model, a_frame(pixels))
        assert np.isfinite(spots.intensity).all()

"""What is measured of detection: speed of the network, particles by the frozen evaluator, masks of real sequences."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from judging.bench import say
from judging.evaluator import Evaluator
from judging.localization.multiply_adds import multiply_adds, parameters
from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Frame
from smartscope.ports import Instrument, Model
from smartscope.result import Result
from smartscope_models.anscombe import Anscombe
from smartscope_models.calibration import SensorCalibration
from smartscope_models.detection import ObjectDetector
from smartscope_models.detection.light import background_of, cells_of
from smartscope_models.estimate import chosen_frames, estimate_noise
from smartscope_models.movies import as_frame
from smartscope_models.training.detector import Detector
from smartscope_models.training.learn_detector import DETECTOR_RECIPES

from .ctc_judge import independent
from .masks_score import MaskScore
from .particles import judge
from .star_network import StarNetwork
from .stars import labels_of

SEQUENCES = ("Fluo-N2DH-SIM+", "Fluo-N2DH-GOWT1")
RADII_UM = (0.8, 8.0)
"""At the 0.1 µm a pixel that is told where none is known."""
RECIPE = DETECTOR_RECIPES["detect_objects"]


@dataclass(frozen=True, slots=True)
class Bench:
    """The set-up of one call of the benchmark."""

    evaluator: Evaluator
    network: str | None
    """Package; None: the shipped one."""
    seeds: range
    frames: int
    data: Path | None
    star_weights: Path | None
    pythons: Mapping[str, str] = field(default_factory=dict)
    """Interpreters of other tools, by name."""


def speed(bench: Bench) -> dict[str, Any]:
    """CPU time of a frame, everything included, by engine and size; multiply-adds of both networks."""
    instrument = Instrument(CameraCalibration(), OpticsConfig())
    rows = []
    for engine, precision in (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
        for size in (256, 512):
            model = ObjectDetector(
                instrument, network=bench.network, finder="network", engine=engine, precision=precision
            )  # type: ignore[arg-type]
            frames = [as_frame(_noise(size, k), k) for k in range(2 + bench.frames)]
            model.warm_up((size, size))
            took_ms = [_cpu_ms(model, frames[k - 1 : k + 1]) for k in range(1, len(frames))]
            rows.append({"engine": engine, "precision": precision, "size": size, "cpu_ms": float(np.median(took_ms))})
    ours, star = Detector(RECIPE.sizes), StarNetwork()
    counts = {
        "ours": (ours, lambda: ours.maps(torch.zeros(1, 8, 256, 256))),
        "star": (star, lambda: star(torch.zeros(1, 1, 512, 512))),
    }
    sums = {
        name: {"multiply_adds_512": sum(multiply_adds(network, run).values()), "parameters": parameters(network)}
        for name, (network, run) in counts.items()
    }
    return {"frames": rows, "networks": sums}


def _noise(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).poisson(20, (size, size)).astype(np.uint16) + np.uint16(100)


def _cpu_ms(model: Model, frames: list[Frame]) -> float:
    began = time.process_time()
    model.step(frames, Result(frames[-1]))
    return 1e3 * (time.process_time() - began)


def particles(bench: Bench) -> dict[str, Any]:
    """The evaluator's movies of 400 particles: the network, the matched filter, and other tools that are installed."""
    shipped = {"network": bench.network} if bench.network else {}
    ours = {"network": {"finder": "network", "engine": "onnxruntime", **shipped}, "classical": {"finder": "classical"}}
    return {"rows": judge(bench.evaluator, bench.seeds, bench.frames, ours, bench.pythons)}


def masks(bench: Bench) -> dict[str, Any]:
    """SEG and DET on sequences that nobody was trained on; the star network where its weights are given."""
    if bench.data is None:
        return {"skipped": "no --data"}
    rows = []
    for name in SEQUENCES:
        folder = bench.data / "ctc" / name
        calibration, instrument = _camera_of(folder)
        ours = ObjectDetector(
            instrument, network=bench.network, finder="network", kinds=("cell",), engine="onnxruntime"
        )
        found = {"network": _ours(ours, folder), "classical": _discs(instrument, folder)}
        if bench.star_weights:
            found["star"] = _star(bench.star_weights, folder, calibration)
        for who, frames in found.items():
            say(f"masks: {name}, {who}")
            rows.append({"sequence": name, "who": who, **_scored(bench, folder, list(frames))})
    return {"rows": rows}


def _images(folder: Path) -> list[np.ndarray]:
    return [np.asarray(tifffile.imread(path)).astype(np.uint16) for path in sorted((folder / "01").glob("t*.tif"))]


def _camera_of(folder: Path) -> tuple[SensorCalibration, Instrument]:
    """The camera as ``process`` estimates it where none is given."""
    images = _images(folder)
    noise = estimate_noise([images[index] for index in chosen_frames(len(images))])
    bits = 8 if max(int(image.max()) for image in images) < 256 else 16
    camera = noise.calibration(CameraCalibration(), bits)
    return SensorCalibration(camera), Instrument(camera, OpticsConfig())


def _ours(model: ObjectDetector, folder: Path) -> Iterator[np.ndarray]:
    frames = [as_frame(image, index) for index, image in enumerate(_images(folder))]
    model.warm_up((frames[0].pixels.shape[0], frames[0].pixels.shape[1]))
    for k in range(len(frames)):
        model.step(frames[max(k - 1, 0) : k + 1], Result(frames[k]))
        assert model.outlines is not None
        yield model.outlines.astype(np.int64)


def _discs(instrument: Instrument, folder: Path) -> Iterator[np.ndarray]:
    """The classical detector tells no outlines: discs of the radius that it tells."""
    model = ObjectDetector(
        instrument, finder="classical", kinds=("cell",), min_radius_um=RADII_UM[0], max_radius_um=RADII_UM[1]
    )
    for index, image in enumerate(_images(folder)):
        frame = as_frame(image, index)
        found = model.step([frame], Result(frame)).detections
        assert found is not None
        labels = np.zeros(image.shape, np.int64)
        rows, columns = np.indices(image.shape)
        for k in range(len(found)):
            labels[np.hypot(rows - found.y_px[k], columns - found.x_px[k]) < found.size_px[k]] = k + 1
        yield labels


def _star(weights: Path, folder: Path, sensor: SensorCalibration) -> Iterator[np.ndarray]:
    network = StarNetwork()
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    for index, image in enumerate(_images(folder)):
        frame = as_frame(image, index)
        stable = np.zeros(image.shape, np.float32)
        Anscombe(sensor.of(frame)).forward(image, stable)
        height, width = (-(-n // 32) * 16 for n in image.shape)
        cells = np.zeros((4, height, width), np.float32)
        cells_of(stable, background_of(stable), cells)
        with torch.no_grad():
            chance, rays = network(torch.nn.functional.pixel_shuffle(torch.from_numpy(cells)[None], 2))
        yield labels_of(torch.sigmoid(chance)[0, 0].numpy(), rays[0].numpy(), image.shape).astype(np.int64)


def _scored(bench: Bench, folder: Path, found: list[np.ndarray]) -> dict[str, float]:
    truth = folder / "01_GT"
    score = MaskScore()
    for index, labels in enumerate(found):
        for name, take in (("SEG/man_seg", score.outlines), ("TRA/man_track", score.markers)):
            paths = [truth / f"{name}{index:0{digits}d}.tif" for digits in (3, 4)]
            for path in [path for path in paths if path.exists()]:
                take(np.asarray(tifffile.imread(path)).astype(np.int64), labels)
    other = independent(bench.pythons["ctcmetrics"], truth, found) if "ctcmetrics" in bench.pythons else {}
    return {"seg": score.seg, "det": score.det, **other}

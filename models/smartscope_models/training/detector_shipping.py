"""What goes with a detecting network into its package: true probabilities, manifest, test tensors, figures, words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smartscope.doctor import machine
from smartscope_models.detection.answer import COLUMNS, FLOOR, MOST, MULTIPLE_PX, SCALES
from smartscope_models.packages import (
    CardFacts,
    Examples,
    Manifest,
    Metric,
    ModelPackage,
    Reference,
    TensorSpec,
    Training,
    write_package,
)
from smartscope_models.training.detector import Detector
from smartscope_models.training.detector_judging import calibrated, listed
from smartscope_models.training.export import detector_files
from smartscope_models.training.learn_detector import DetectorRecipe, LearnedDetector
from smartscope_models.training.objects import Objects, draw_lessons

HELD_OUT = 0xDE7
"""Sets the lessons of the figures apart from those of the training."""
LESSONS = 64
SNRS = (2.0, 4.0, 7.0)
SURE = 0.5
CLEAR = 0.04
"""In the test tensors no probability lies so close to the floor: engines differ in the last digits."""
TRIES = 200
EDGE_PX = 128

FAILURES = (
    "Spots closer than about two pixels are told as one.",
    "Objects with a radius of less than 3.5 or more than 45 pixels, which are no spots: never seen in training.",
    "Trained on fluorescence alone: bright field, phase contrast and histology are foreign to it.",
    "Fission, fusion and division are told from two frames; slow ones, over many frames, are told late or never.",
    "Where the camera's gain is wrong by more than about a half, faint objects come and go.",
)


def ship_detector(learned: LearnedDetector, recipe: DetectorRecipe, folder: Path) -> ModelPackage:
    """Write the package of a trained network to ``folder``."""
    network = learned.network
    make_probabilities_true(network, recipe)
    images = " --images FILE" if recipe.images else ""
    manifest = Manifest(
        name=recipe.name,
        task="detect",
        description="Finds spots, organelles, cells and nuclei of all sizes, where they were, what becomes of them.",
        licence="BSD-3-Clause",
        parameters=sum(weights.numel() for weights in network.parameters()),
        inputs=(_images("cells", 8, "the newest frame, then the one before: 2 x 2 pixels under each other"),),
        outputs=(
            TensorSpec(
                name="places",
                dtype="float32",
                axes=("batch", "index"),
                shape=(1, MOST),
                description="cells of all grids in order, -1: none",
            ),
            TensorSpec(
                name="objects",
                dtype="float32",
                axes=("batch", "index", "channel"),
                shape=(1, MOST, len(COLUMNS)),
                description=", ".join(COLUMNS),
            ),
            _images("depths", 2, "foreground, and depth in its object, of 2 x 2 pixels"),
        ),
        min_size=MULTIPLE_PX // 2,
        size_multiple=MULTIPLE_PX // 2,
        history=0,
        normalisation="counts to electrons, generalised Anscombe transform, less the background, asinh; on the host",
        training=Training(
            recipe=recipe.text(),
            seed=recipe.seed,
            commit=learned.commit,
            command=f"python -m smartscope_models.training {recipe.name} --seed {recipe.seed}{images} --output FOLDER",
            hardware=f"{machine()['processor']}, {learned.threads} thread(s), torch {torch.__version__.split('+')[0]}",
            duration_s=round(learned.duration_s, 1),
        ),
        metrics=tuple(_figures(network, recipe)),
    )
    return write_package(
        folder, manifest, detector_files(network), _examples(network, recipe), _facts(recipe), replace=True
    )


def make_probabilities_true(network: Detector, recipe: DetectorRecipe) -> None:
    """Set the network's calibration by lessons that it never saw."""
    network.calibration.copy_(torch.tensor([[1.0, 0.0]] * len(SCALES)))
    lessons = draw_lessons(recipe.objects, 2 * LESSONS, EDGE_PX, (HELD_OUT, recipe.seed, 1))
    found = listed(network, lessons)
    network.calibration.copy_(torch.tensor([calibrated(part) for part in found]))


def _images(name: str, channels: int, description: str) -> TensorSpec:
    axes = ("batch", "channel", "y", "x")
    shape = (1, channels, "height", "width")
    return TensorSpec(name=name, dtype="float32", axes=axes, shape=shape, description=description)


def _figures(network: Detector, recipe: DetectorRecipe) -> Iterator[Metric]:
    """Recall and precision of spots at three signals, and of whole objects, on held-out simulation."""
    for snr in SNRS:
        spots = replace(
            recipe.objects,
            spot_share=1.0,
            density_per_px=(2.5e-3, 2.51e-3),
            snr=(snr, snr + 1e-3),
            brightness_spread=(0.35, 0.351),
            background_e=(10.0, 10.01),
            sigma_px=(1.3, 1.301),
            event_share=0.0,
        )
        data = f"held-out simulated crops, spots of median signal to noise {snr:g}, 2.5 per 1000 pixels"
        yield from _two(network, spots, recipe, 0, data)
    whole = replace(recipe.objects, spot_share=0.0)
    for scale in (1, 2):
        low, high = SCALES[scale].radius_px
        data = f"held-out simulated crops, objects of {low:g} to {min(high, 45):g} pixels radius, half touching"
        yield from _two(network, whole, recipe, scale, data)


def _two(network: Detector, objects: Objects, recipe: DetectorRecipe, scale: int, data: str) -> Iterator[Metric]:
    found = listed(network, draw_lessons(objects, LESSONS, EDGE_PX, (HELD_OUT, recipe.seed, 2)))[scale]
    yield Metric(name="recall", value=round(found.recall(SURE), 3), data=data)
    yield Metric(name="precision", value=round(found.precision(SURE), 3), data=data)


def _examples(network: Detector, recipe: DetectorRecipe) -> Examples:
    """Half spots, half nuclei, with no object whose probability hangs by a thread; and the float32 network's answer."""
    for seed in range(TRIES):
        cells = _side_by_side(recipe, seed)
        with torch.no_grad():
            places, objects, depths = network(cells)
            chances = network.likelihoods(cells)
        close = ((chances - FLOOR).abs() < CLEAR).any()
        if not close and int((places >= 0).sum()) >= 4:
            break
    return Examples(
        {"cells": np.ascontiguousarray(cells.numpy())},
        {"places": places.numpy(), "objects": objects.numpy(), "depths": depths.numpy()},
    )


def _side_by_side(recipe: DetectorRecipe, seed: int) -> Tensor:
    lessons = draw_lessons(replace(recipe.objects, spot_share=0.5, single_share=0.0), 2, 64, (HELD_OUT, 3, seed))
    return torch.cat([lessons.seen[:1], lessons.seen[1:]], dim=3)


def _facts(recipe: DetectorRecipe) -> CardFacts:
    objects = recipe.objects
    real = (
        f" {100 * objects.real_share:g} % of the crops are real images of nuclei with their outlines ({recipe.images})."
        if recipe.images
        else " No real image was used."
    )
    return CardFacts(
        summary="For every frame of a live microscope on one core of a processor. Sees the newest frame and the one"
        " before, never ahead. Probabilities are true on held-out simulation: of objects told 0.8, eight in ten are"
        " there.",
        data=f"Simulation, drawn anew for every step: {recipe.steps} x {recipe.crops} crops of {recipe.crop_px} pixels"
        f" and two frames. Spots: sigma {objects.sigma_px[0]:g} to {objects.sigma_px[1]:g} pixels, median signal to"
        f" noise {objects.snr[0]:g} to {objects.snr[1]:g}, up to {1000 * objects.density_per_px[1]:g} per 1000 pixels,"
        " diffusing and directed, some flash. Nuclei and organelles: radii of 3.5 to 45 pixels, round to four times as"
        " long as wide, touching, textured, out of focus, some divide, split or fuse. sCMOS, EMCCD and photomultiplier"
        f" detectors.{real}",
        failure_modes=FAILURES,
        cite=(
            Reference("Zhou et al., Objects as Points (2019)", url="https://arxiv.org/abs/1904.07850"),
            Reference("Hayashida et al., MPM, CVPR (2020)", url="https://arxiv.org/abs/2002.10749"),
        ),
    )

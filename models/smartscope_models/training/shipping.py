"""What goes with trained weights into a package: manifest, test tensors, figures on held-out exposures, words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smartscope.doctor import machine
from smartscope_models.packages import (
    CardFacts,
    Examples,
    Manifest,
    Metric,
    ModelPackage,
    Reference,
    Span,
    TensorSpec,
    Training,
    write_package,
)
from smartscope_models.training.cameras import Detectors
from smartscope_models.training.export import onnx_files
from smartscope_models.training.exposures import Bank, Batch, Levels, expose
from smartscope_models.training.loss import decibels, losses, smoothed
from smartscope_models.training.network import SIZE_MULTIPLE, Denoiser, electrons, level_of
from smartscope_models.training.recipe import Recipe
from smartscope_models.training.scenes import draw_scene
from smartscope_models.training.train import Trained

HELD_OUT = 0x0E5
"""Sets the scenes of the figures apart from those of the training."""
LIGHTS_E = (5.0, 20.0, 100.0)
SCENES = 48
BATCHES = 12


def ship(trained: Trained, recipe: Recipe, folder: Path) -> ModelPackage:
    """Write the package of a trained network to ``folder``."""
    network = trained.network
    manifest = Manifest(
        name=recipe.name,
        task="denoise",
        description=_description(recipe),
        licence="BSD-3-Clause",
        parameters=sum(weights.numel() for weights in network.parameters()),
        inputs=_inputs(recipe.sizes.frames),
        outputs=(_image("image", "counts", "the newest frame without its noise", channels=1),),
        min_size=4 * SIZE_MULTIPLE,
        size_multiple=SIZE_MULTIPLE,
        history=recipe.sizes.frames - 1,
        normalisation="counts to electrons, generalised Anscombe transform, mean of the field taken out",
        pixel_size_nm=Span(low=40, high=320),
        training=Training(
            recipe=recipe.text(),
            seed=recipe.seed,
            commit=trained.commit,
            command=f"python -m smartscope_models.training {recipe.name} --seed {recipe.seed} --output FOLDER",
            hardware=f"{machine()['processor']}, {trained.threads} thread(s), torch {torch.__version__.split('+')[0]}",
            duration_s=round(trained.duration_s, 1),
        ),
        metrics=_figures(network, recipe),
    )
    examples = _examples(network)
    return write_package(folder, manifest, onnx_files(network), examples, _facts(recipe), replace=True)


def _description(recipe: Recipe) -> str:
    frames = recipe.sizes.frames
    look = "one frame" if frames == 1 else f"the newest and {frames - 1} earlier frames"
    return f"Bias-free residual network that takes camera noise out of fluorescence frames; sees {look}, never ahead."


def _image(name: str, unit: str, description: str, channels: int) -> TensorSpec:
    axes = ("batch", "channel", "y", "x")
    shape = (1, channels, "height", "width")
    return TensorSpec(name=name, dtype="float32", axes=axes, shape=shape, unit=unit, description=description)


def _inputs(frames: int) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec(
            name="frames",
            dtype="uint16",
            axes=("batch", "time", "y", "x"),
            shape=(1, frames, "height", "width"),
            unit="counts",
            description="camera counts, oldest first",
        ),
        _image("calibration", "", "offset, electrons per count / F², read variance e² / F⁴ of each pixel", channels=3),
        TensorSpec(
            name="nominal",
            dtype="float32",
            axes=("index",),
            shape=(3,),
            description="the sensor's offset, counts per electron · F², read variance e² / F⁴",
        ),
    )


def _figures(network: Denoiser, recipe: Recipe) -> tuple[Metric, ...]:
    """Noise removed at three light levels, on scenes that no training sees."""
    number = min(SCENES, recipe.scenes)
    scenes = [draw_scene((HELD_OUT, recipe.seed, k), recipe.crop_px).frames for k in range(number)]
    bank = Bank(np.stack(scenes).astype(np.float16))
    return tuple(_figure(network, bank, recipe, peak_e) for peak_e in LIGHTS_E)


def _figure(network: Denoiser, bank: Bank, recipe: Recipe, peak_e: float) -> Metric:
    rng, noise = np.random.default_rng(HELD_OUT), torch.Generator().manual_seed(HELD_OUT)
    told_right = Detectors(emccd_share=0.0, photomultiplier_share=0.0, misjudged_share=0.0)
    levels = replace(Levels(), peak_e=(peak_e, peak_e * 1.0001), detectors=told_right)
    total, blurred = 0.0, 0.0
    with torch.no_grad():
        for _ in range(BATCHES):
            batch = expose(bank.crops(4, recipe.sizes.frames, recipe.crop_px, rng), levels, rng, noise)
            total += float(losses(_electrons(network.quiet(batch.stable, level_of(batch.stable)), batch), batch).error)
            blurred += float(losses(_electrons(smoothed(batch.stable[:, -1:], 1.0), batch), batch).error)
    return Metric(
        name="noise removed",
        value=round(decibels(total / BATCHES), 2),
        baseline=round(decibels(blurred / BATCHES), 2),
        baseline_name="Gaussian of 1 px",
        unit="dB",
        data=f"held-out simulated exposures, {peak_e:g} electrons at the brightest places",
    )


def _electrons(stable: Tensor, batch: Batch) -> Tensor:
    return electrons(stable, batch.nominal) * batch.nominal[:, 1].reshape(-1, 1, 1, 1)


def _examples(network: Denoiser) -> Examples:
    """A small exposure of one held-out scene, and what the float32 network makes of it."""
    rng = np.random.default_rng(HELD_OUT)
    scene = draw_scene((HELD_OUT, 1), 64).frames[-network.sizes.frames :]
    counts = rng.poisson((20 + 80 * scene) / 0.46) + 100
    frames = counts[None].astype(np.uint16)
    calibration = np.empty((1, 3, 64, 64), np.float32)
    calibration[0, 0], calibration[0, 1], calibration[0, 2] = 100, 0.46, 2.0
    nominal = np.array([100, 1 / 0.46, 2.0], np.float32)
    with torch.no_grad():
        image = network(
            torch.from_numpy(frames.astype(np.int32)), torch.from_numpy(calibration), torch.from_numpy(nominal)
        )
    return Examples({"frames": frames, "calibration": calibration, "nominal": nominal}, {"image": image.numpy()})


def _facts(recipe: Recipe) -> CardFacts:
    return CardFacts(
        summary="Made for every frame of a live microscope, on one core of a processor or on a GPU, so that"
        " policies, detectors and people see what is there at a fraction of the light.",
        data=f"Simulation alone: {recipe.scenes} seeded scenes (filaments, puncta, vesicles, tubules, cells, tissue,"
        " membranes, networks; 15 % empty) behind drawn optics (NA 0.7 to 1.49, 450 to 700 nm, pixels of 40 to 160 nm),"
        " at 2 to 500 electrons,"
        " through sCMOS, EMCCD and photomultiplier detectors with drawn noise. No real image was used.",
        failure_modes=(
            "Where the calibration is wrong by more than about 10 %, noise is left in or structure taken out.",
            "Structure fainter than the noise within its own point spread function is dimmed or lost.",
            "Correlated noise (a camera's own filtering, resampled or compressed images) is taken for structure.",
            "Patterns unlike fluorescence (bright field, speckle) were never seen in training.",
        ),
        cite=(Reference("Mäkitalo and Foi, IEEE Trans. Image Process. 22:91 (2013)", "10.1109/TIP.2012.2202675"),),
    )

"""What goes with a network for structured illumination into its package: manifest, test tensors, figures, words."""

from __future__ import annotations

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
    TensorSpec,
    Training,
    write_package,
)
from smartscope_models.structured_illumination.views import CHANNELS
from smartscope_models.training.export import refiner_files
from smartscope_models.training.fringes import draw_stack
from smartscope_models.training.network import SIZE_MULTIPLE
from smartscope_models.training.refine import Refined
from smartscope_models.training.refiner import Refiner
from smartscope_models.training.scenes import SHARES
from smartscope_models.training.shipping import HELD_OUT
from smartscope_models.training.stack_bank import shown
from smartscope_models.training.stack_recipe import StackRecipe

LIGHTS_E = (20.0, 50.0, 150.0, 1000.0)
STACKS = 16
"""For each figure."""


FAILURES = (
    "Wrong fringes leave patterns that it may take for structure; the verdict of the reconstruction counts.",
    "Structure fainter than the noise is dimmed or lost.",
    "Thin lines are what it expects most often: a row of dots may come out as a line.",
    "Spokes and gratings in little light: two images agree on finer detail than is true, 179 against 237 nm in 50"
    " electrons on the star of the evaluator.",
    "Specimens that move during the stack were never seen in training.",
)
PREVIEW_FAILURES = (
    "Bands that overlap in one frame of each direction cannot be told apart: what is left of that repeats under the"
    " same fringes. Two previews of filaments in 500 electrons agree at 109 nm, the truth lies at 154 nm (in 50"
    " electrons 121 and 260 nm). No resolution may be read off a preview.",
)


def ship_refined(refined: Refined, recipe: StackRecipe, folder: Path) -> ModelPackage:
    """Write the package of a trained network to ``folder``."""
    network = refined.network
    manifest = Manifest(
        name=recipe.name,
        task="structured_illumination",
        description=_description(recipe),
        licence="BSD-3-Clause",
        parameters=sum(weights.numel() for weights in network.parameters()),
        inputs=(
            _images(
                "views", CHANNELS, "the image over its expected error, its data under white noise, light over noise"
            ),
        ),
        outputs=(_images("image", 1, "the first view without its noise"),),
        min_size=4 * SIZE_MULTIPLE,
        size_multiple=SIZE_MULTIPLE,
        normalisation="each band by its noise, each place by its shot noise, mean of the field taken out; on the host",
        training=Training(
            recipe=recipe.text(),
            seed=recipe.seed,
            commit=refined.commit,
            command=f"python -m smartscope_models.training {recipe.name} --seed {recipe.seed} --output FOLDER",
            hardware=f"{machine()['processor']}, {refined.threads} thread(s), torch {torch.__version__.split('+')[0]}",
            duration_s=round(refined.duration_s, 1),
        ),
        metrics=tuple(_figure(network, recipe, peak_e) for peak_e in LIGHTS_E),
    )
    return write_package(
        folder, manifest, refiner_files(network), _examples(network, recipe), _facts(recipe), replace=True
    )


def _description(recipe: StackRecipe) -> str:
    seen = "one frame of each direction (a preview)" if recipe.preview else "a whole stack"
    return (
        f"Bias-free residual network that quietens structured illumination reconstructed from {seen} in little light."
    )


def _images(name: str, channels: int, description: str) -> TensorSpec:
    axes = ("batch", "channel", "y", "x")
    return TensorSpec(
        name=name, dtype="float32", axes=axes, shape=(1, channels, "height", "width"), description=description
    )


def _figure(network: Refiner, recipe: StackRecipe, peak_e: float) -> Metric:
    """Squared error on stacks that no training sees, in decibels below that of the linear image."""
    ratios = []
    for k in range(min(STACKS, recipe.stacks)):
        for views, truth in _lessons(recipe, k, peak_e):
            with torch.no_grad():
                after = (network(views) - truth).square().mean()
            ratios.append(float(torch.log10((views[:, :1] - truth).square().mean() / after)))
    return Metric(
        name="error removed",
        value=round(10 * float(np.mean(ratios)), 2),
        baseline=0.0,
        baseline_name="generalised Wiener filter, its input",
        unit="dB",
        data=f"held-out simulated stacks, {peak_e:g} electrons at the brightest places in all frames together",
    )


def _lessons(recipe: StackRecipe, k: int, peak_e: float) -> list[tuple[Tensor, Tensor]]:
    """(1, CHANNELS, H, W) views and (1, 1, H, W) truth of both draws of one held-out stack, each structure in turn."""
    kinds = list(SHARES)
    stack = draw_stack((HELD_OUT, recipe.seed, k), recipe.raw_px, peak_e, kinds[k % len(kinds)])
    drawn = torch.from_numpy(shown(stack, preview=recipe.preview))
    return [(one[None, :CHANNELS], one[None, CHANNELS:]) for one in drawn]


def _examples(network: Refiner, recipe: StackRecipe) -> Examples:
    """The views of a small held-out stack, and what the float32 network makes of them."""
    stack = draw_stack((HELD_OUT, 1), 48, 200.0, "networks")
    views = shown(stack, preview=recipe.preview)[:1, :CHANNELS].astype(np.float32)
    with torch.no_grad():
        image = network(torch.from_numpy(views))
    return Examples({"views": views}, {"image": image.numpy()})


def _facts(recipe: StackRecipe) -> CardFacts:
    return CardFacts(
        summary="Made for structured illumination in living specimens: the linear reconstruction in little light must"
        " choose between noise and blur, frequency by frequency; this network chooses place by place. It sees nothing"
        " but that reconstruction, and in bright light gives it back nearly as it is.",
        data=f"Simulation alone: {recipe.stacks} seeded stacks (filaments, puncta, vesicles, tubules, cells, tissue,"
        " membranes, networks; 15 % empty) under two or three beams from three directions, carriers at 0.7 to 0.95 of"
        " the cut-off, modulation of 0.4 to 1, phase errors of 5 degrees, bleaching of up to 15 %, haze; 10 to 2000"
        " electrons at the brightest places in all frames together, read noise of 0.7 to 3 electrons. Fringes are"
        " known nearly, as they are when measured. No real image was used.",
        failure_modes=(*FAILURES, *(PREVIEW_FAILURES if recipe.preview else ())),
        cite=(Reference("Gustafsson, J. Microsc. 198:82 (2000)", "10.1046/j.1365-2818.2000.00710.x"),),
    )

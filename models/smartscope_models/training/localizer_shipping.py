"""What goes with a localising network into its package: manifest, test tensors, figures on held-out lessons, words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from smartscope.doctor import machine
from smartscope_models.localization.decode import molecules_in
from smartscope_models.localization.sight import CONDITIONS
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
from smartscope_models.training.export import localizer_files
from smartscope_models.training.learn_localizer import LearnedLocalizer, LocalizerRecipe, maps_of
from smartscope_models.training.localizer import Localizer
from smartscope_models.training.localizer_judging import Found, judge
from smartscope_models.training.molecules import Lessons, draw_lessons

HELD_OUT = 0x10CA1
"""Sets the lessons of the figures apart from those of the training."""
DENSITIES_PER_PX = (7e-4, 3.7e-3, 1.2e-2)
"""0.07, 0.37 and 1.2 per square micrometre at pixels of 100 nm."""
LESSONS = 32
"""Of each density."""

FAILURES = (
    "Two molecules closer than about the width of a spot are often found as one, in between.",
    "Spots wider or narrower than told by more than a tenth: width should be measured, which the localiser does.",
    "Out-of-focus molecules, where it was made for a flat specimen, come out as several.",
    "Fixed bright structure is taken for molecules.",
    "Widths outside 0.9 to 1.8 pixels, less than 250 photons: never seen in training.",
)


def ship_localizer(learned: LearnedLocalizer, recipe: LocalizerRecipe, folder: Path) -> ModelPackage:
    """Write the package of a trained network to ``folder``."""
    network = learned.network
    manifest = Manifest(
        name=recipe.name,
        task="localize",
        description=_description(recipe),
        licence="BSD-3-Clause",
        parameters=sum(weights.numel() for weights in network.parameters()),
        inputs=(
            _images("cells", 4, "the newest frame, 2 x 2 pixels under each other"),
            _images("earlier", 2 * recipe.sizes.stem, "stems of the two frames before, oldest first; zero: none"),
            TensorSpec(
                name="conditions",
                dtype="float32",
                axes=("batch", "channel"),
                shape=(1, CONDITIONS),
                description="width of a spot, level of the background, curve of the astigmatism",
            ),
        ),
        outputs=(
            _images("maps", 4 * len(recipe.sizes.heads), f"of each pixel: {', '.join(recipe.sizes.heads)}"),
            _images("stem", recipe.sizes.stem, "of the newest frame, for the next two"),
        ),
        min_size=8,
        history=0,
        normalisation="counts to electrons, generalised Anscombe transform, less the background's level; on the host",
        training=Training(
            recipe=recipe.text(),
            seed=recipe.seed,
            commit=learned.commit,
            command=f"python -m smartscope_models.training {recipe.name} --seed {recipe.seed} --output FOLDER",
            hardware=f"{machine()['processor']}, {learned.threads} thread(s), torch {torch.__version__.split('+')[0]}",
            duration_s=round(learned.duration_s, 1),
        ),
        metrics=tuple(metric for density in DENSITIES_PER_PX for metric in _figures(network, recipe, density)),
    )
    examples = _examples(network, recipe)
    return write_package(folder, manifest, localizer_files(network), examples, _facts(recipe), replace=True)


def _description(recipe: LocalizerRecipe) -> str:
    what = "with their heights from an astigmatic lens" if recipe.sizes.deep else "in one plane"
    return f"Finds single molecules in crowds, {what}; sees the newest frame and what it kept of the two before."


def _images(name: str, channels: int, description: str) -> TensorSpec:
    axes = ("batch", "channel", "y", "x")
    return TensorSpec(
        name=name, dtype="float32", axes=axes, shape=(1, channels, "height", "width"), description=description
    )


def found_in(network: Localizer, lessons: Lessons) -> list[Found]:
    """What a network finds in each lesson, as (N, 11) rows of ``molecules_in``, beside what is there."""
    with torch.no_grad():
        maps = maps_of(network, lessons).numpy()
    rows = [molecules_in(one) for one in maps]
    return [
        Found(row[:, :2], row[:, 4:6], lessons.molecules[k, lessons.present[k], :2].numpy().astype(float))
        for k, row in enumerate(rows)
    ]


def _figures(network: Localizer, recipe: LocalizerRecipe, density_per_px: float) -> tuple[Metric, ...]:
    """How many are found, and how honest their errors are, at one density."""
    fields = replace(
        recipe.fields,
        density_per_px=(density_per_px, density_per_px * 1.0001),
        photons_e=(1000.0, 1000.1),
        background_e=(10.0, 10.001),
        sigma_px=(1.3, 1.3001),
        fleeting_share=1.0,
        detectors=replace(recipe.fields.detectors, emccd_share=0.0),
    )
    lessons = draw_lessons(fields, LESSONS, recipe.crop_px, (HELD_OUT, recipe.seed, round(1e6 * density_per_px)))
    figures = judge(found_in(network, lessons))
    data = f"held-out simulated crops, {density_per_px:g} molecules per pixel of 1000 electrons on 10, width 1.3 pixels"
    return (
        Metric(name="Jaccard index within 2.5 pixels", value=round(figures.jaccard, 3), data=data),
        Metric(name="root mean square error", value=round(figures.rms_px, 4), unit="px", data=data),
        Metric(name="error over stated error", value=round(figures.calibration, 3), data=data),
    )


def _examples(network: Localizer, recipe: LocalizerRecipe) -> Examples:
    """A small held-out crop, and what the float32 network makes of it."""
    lessons = draw_lessons(recipe.fields, 1, 32, (HELD_OUT, 1))
    cells = functional.pixel_unshuffle(lessons.seen.transpose(0, 1), 2)
    with torch.no_grad():
        earlier = network.stem.of_cells(cells[:2]).flatten(0, 1)[None]
        maps, stem = network(cells[2:], earlier, lessons.conditions)
    inputs = {"cells": cells[2:], "earlier": earlier, "conditions": lessons.conditions}
    return Examples(
        {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()},
        {"maps": maps.numpy(), "stem": stem.numpy()},
    )


def _facts(recipe: LocalizerRecipe) -> CardFacts:
    fields = recipe.fields
    low, high = fields.photons_e
    depth = f" Heights within {fields.depth_nm:g} nm of focus." if recipe.sizes.deep else ""
    return CardFacts(
        summary="Made for the density at which spots overlap: where they do not, a maximum-likelihood fit is better and"
        " takes its place. Probability, place and brightness of each molecule, and how sure they are; the sum of the"
        " probabilities counts molecules also where they cannot be told apart.",
        data=f"Simulation alone, drawn anew for every step: {recipe.steps} x {recipe.crops} crops of {recipe.crop_px}"
        f" pixels and three frames; {fields.density_per_px[0]:g} to {fields.density_per_px[1]:g} molecules per pixel,"
        f" medians of {low:g} to {high:g} electrons on {fields.background_e[0]:g} to {fields.background_e[1]:g};"
        " Gaussian spots of 0.9 to 1.8 pixels that are told with errors of 4 %, sCMOS cameras with pixel maps and"
        f" EMCCDs; half of the lessons blink from frame to frame.{depth} No real image was used.",
        failure_modes=FAILURES,
        cite=(Reference("Speiser et al., Nat. Methods 18:1082 (2021)", "10.1038/s41592-021-01236-x"),),
    )

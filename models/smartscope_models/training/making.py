"""From the name of a recipe to a package: what differs between the kinds of network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from smartscope.errors import InputError
from smartscope_models.packages import ModelPackage
from smartscope_models.training import learn_detector
from smartscope_models.training import recipe as frames
from smartscope_models.training.detector_shipping import ship_detector
from smartscope_models.training.learn_detector import DETECTOR_RECIPES
from smartscope_models.training.learn_localizer import LOCALIZER_RECIPES, learn
from smartscope_models.training.localizer_shipping import ship_localizer
from smartscope_models.training.nuclei import RealNuclei
from smartscope_models.training.refine import refine
from smartscope_models.training.shipping import ship
from smartscope_models.training.stack_bank import stack_bank
from smartscope_models.training.stack_recipe import STACK_RECIPES
from smartscope_models.training.stack_shipping import ship_refined
from smartscope_models.training.train import Say, scene_bank, train

RECIPES = (*frames.RECIPES, *STACK_RECIPES, *LOCALIZER_RECIPES, *DETECTOR_RECIPES)


def make(
    name: str,
    seed: int,
    output: Path,
    say: Say,
    steps: int | None = None,
    scenes: int | None = None,
    threads: int = 1,
    keep: Path | None = None,
    images: Path | None = None,
) -> ModelPackage:
    """Draw, train and write a package; steps, scenes: other numbers than the recipe's, for a trial.

    images: file of real nuclei with their outlines, for a network that detects.

    Raises:
        InputError: the package or what is kept cannot be written or read; or images for a recipe that takes none.
    """
    if name in DETECTOR_RECIPES:
        real = RealNuclei(images) if images else None
        objects = replace(DETECTOR_RECIPES[name], seed=seed, images=images.name if images else "")
        objects = replace(objects, steps=steps or objects.steps)
        return ship_detector(learn_detector.learn(objects, say, threads, keep, real), objects, output)
    if images:
        raise InputError(f"{name} learns from no images", where="--images", allowed=", ".join(DETECTOR_RECIPES))
    if name in frames.RECIPES:
        recipe = frames.recipe(name, seed=seed)
        recipe = replace(recipe, steps=steps or recipe.steps, scenes=scenes or recipe.scenes)
        trained = train(recipe, scene_bank(recipe, keep, say), say, threads, keep)
        say(f"{trained.decibels:.2f} dB of noise removed, {trained.duration_s:.0f} s")
        return ship(trained, recipe, output)
    if name in LOCALIZER_RECIPES:
        molecules = replace(LOCALIZER_RECIPES[name], seed=seed)
        molecules = replace(molecules, steps=steps or molecules.steps)
        return ship_localizer(learn(molecules, say, threads, keep), molecules, output)
    stacks = replace(STACK_RECIPES[name], seed=seed)
    stacks = replace(stacks, steps=steps or stacks.steps, stacks=scenes or stacks.stacks)
    with stack_bank(stacks, keep, say) as bank:
        return ship_refined(refine(stacks, bank, say, threads, keep), stacks, output)

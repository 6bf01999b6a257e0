"""The training loop of a detecting network: lessons are drawn while the ones before are learned from."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smartscope_models.training.checkpoint import Checkpoint
from smartscope_models.training.detector import Detector, DetectorSizes, RawMaps
from smartscope_models.training.detector_loss import DetectorLosses, detector_losses
from smartscope_models.training.nuclei import RealNuclei
from smartscope_models.training.objects import ObjectLessons, Objects, draw_lessons
from smartscope_models.training.optimiser import Muon
from smartscope_models.training.train import Say, commit_of_the_code

SAID_EVERY = 200
"""Steps."""
SPIKE = 2.0
"""A gradient longer than so many times the usual one is shortened: momentum would follow it for many steps."""
HEAD_RATE = 0.1
"""Learning rate of Adam, for what is no kernel, in terms of that of the kernels."""


@dataclass(frozen=True, slots=True)
class DetectorRecipe:
    """Every number that, with a seed, decides the weights."""

    name: str
    sizes: DetectorSizes = field(default_factory=DetectorSizes)
    objects: Objects = field(default_factory=Objects)
    seed: int = 1
    crop_px: int = 160
    crops: int = 7
    steps: int = 9_500
    rates: tuple[tuple[int, float], ...] = (
        (0, 1e-4), (199, 2e-2), (4060, 2e-2), (7000, 0.0), (7100, 7e-3), (9500, 0.0)
    )  # fmt: skip
    """Learning rate at some steps, on straight lines between. Spots, of which each lesson holds many, are learned at a
    high rate; nuclei, of which it holds few, when the rate is low."""
    averaging: float = 0.999
    """Of the exponential moving average of the weights, which is what is shipped."""
    images: str = ""
    """Name of the file of real images that were learned from too; empty: none."""

    def text(self) -> str:
        """All numbers, for the manifest."""
        return json.dumps(asdict(self))

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        steps, rates = zip(*self.rates, strict=True)
        return float(np.interp(step, steps, rates))


DETECTOR_RECIPES = {recipe.name: recipe for recipe in (DetectorRecipe("detect_objects"),)}


@dataclass(frozen=True, slots=True)
class LearnedDetector:
    """What came of a recipe."""

    network: Detector
    commit: str
    """Of the code that trained it; ``+`` where files differed from it."""
    duration_s: float
    threads: int


def learn(
    recipe: DetectorRecipe, say: Say, threads: int = 1, keep: Path | None = None, real: RealNuclei | None = None
) -> LearnedDetector:
    """Follow the recipe; arguments as of ``train``, and real images. The same seed gives the same weights here."""
    torch.set_num_threads(threads)
    commit, state = commit_of_the_code(), DetectorState(recipe)
    # a run may be made longer: what is kept of it stays true
    checkpoint = Checkpoint(keep, replace(recipe, steps=0, rates=()))
    first, before_s = checkpoint.load(state)
    started, recent = time.monotonic() - before_s, deque[tuple[float, ...]](maxlen=SAID_EVERY)
    for step, lessons in enumerate(_drawn(recipe, first, real), first):
        state.set_rate(recipe.rate(step))
        recent.append(tuple(float(value) for value in state.learn(lessons, step)))
        took_s = time.monotonic() - started
        checkpoint.save(step + 1, took_s, state)
        if (step + 1) % SAID_EVERY == 0:
            means = zip(DetectorLosses._fields, np.mean(recent, axis=0), strict=True)
            found = ", ".join(f"{name} {value:.3f}" for name, value in means)
            say(f"step {step + 1} of {recipe.steps}: {found}, {took_s:.0f} s")
    state.network.load_state_dict(state.average)
    network = state.network.to(memory_format=torch.contiguous_format).eval()
    return LearnedDetector(network, commit, time.monotonic() - started, threads)


def _drawn(recipe: DetectorRecipe, first: int, real: RealNuclei | None) -> Iterator[ObjectLessons]:
    def draw(step: int) -> ObjectLessons:
        return draw_lessons(recipe.objects, recipe.crops, recipe.crop_px, (recipe.seed, 1, step), real)

    with ThreadPoolExecutor(1, "lessons") as pool:
        following = pool.submit(draw, first)
        for step in range(first, recipe.steps):
            lessons, following = following.result(), pool.submit(draw, step + 1)
            yield lessons


class DetectorState:
    """Everything that changes from step to step."""

    def __init__(self, recipe: DetectorRecipe) -> None:
        torch.manual_seed(recipe.seed)
        self._averaging, self._usual_length = recipe.averaging, math.inf
        self.network = Detector(recipe.sizes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        named = list(self.network.named_parameters())
        kernels = [value for name, value in named if value.ndim == 4 and "head" not in name]
        rest = [value for name, value in named if value.ndim != 4 or "head" in name]
        self._muon = Muon(kernels, 0.0)
        self._adam = torch.optim.Adam(rest, 0.0, betas=(0.9, 0.99))

    def set_rate(self, learning_rate: float) -> None:
        """Of this step."""
        for optimiser, factor in ((self._muon, 1.0), (self._adam, HEAD_RATE)):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * factor

    def learn(self, lessons: ObjectLessons, step: int) -> DetectorLosses:
        """One small change of the weights; the losses before it. Convolutions are in bfloat16."""
        found = detector_losses(raw_maps(self.network, lessons), lessons)
        self._muon.zero_grad(set_to_none=True)
        self._adam.zero_grad(set_to_none=True)
        found.total.backward()  # type: ignore[no-untyped-call]
        self._shorten()
        self._muon.step()
        self._adam.step()
        keep = min(self._averaging, (1 + step) / (10 + step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)
        return DetectorLosses(*(value.detach() for value in found))

    def _shorten(self) -> None:
        length = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), SPIKE * self._usual_length))
        usual = min(length, SPIKE * self._usual_length)
        self._usual_length = usual if math.isinf(self._usual_length) else 0.98 * self._usual_length + 0.02 * usual

    def parts(self) -> dict[str, Any]:
        """As plain values and tensors."""
        optimisers = {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}
        usual = {"usual_length": self._usual_length}
        return {"network": self.network.state_dict(), "average": self.average, **optimisers, **usual}

    def take(self, parts: dict[str, Any]) -> None:
        """Be as ``parts`` were."""
        self.network.load_state_dict(parts["network"])
        self.average = parts["average"]
        self._usual_length = float(parts["usual_length"])
        self._muon.load_state_dict(parts["muon"])
        self._adam.load_state_dict(parts["adam"])


def raw_maps(network: Detector, lessons: ObjectLessons) -> RawMaps:
    """What the network says of lessons, convolutions in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        raw = network.maps(lessons.seen.contiguous(memory_format=torch.channels_last))
    return RawMaps(*(part.float() for part in raw))

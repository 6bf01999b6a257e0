"""The star network trained on what ours is trained on: the same nuclei, cameras and noise, as many crops, one frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from smartscope_models.training.blobs import depths
from smartscope_models.training.checkpoint import Checkpoint
from smartscope_models.training.learn_detector import HEAD_RATE, SAID_EVERY, DetectorRecipe
from smartscope_models.training.nuclei import RealNuclei, draw_nuclei
from smartscope_models.training.objects import whole_lessons
from smartscope_models.training.optimiser import Muon

from .star_network import GRID, RAYS, StarNetwork
from .stars import rays_of

HEADS = ("chance", "rays")
LONGEST = 5.0
"""Gradient."""
RAY_WEIGHT = 0.2
"""StarDist's default weight of the distances beside the probability."""


def lesson(recipe: DetectorRecipe, step: int, real: RealNuclei | None) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (B, 1, S, S), depth (B, 1, S/2, S/2) and rays (B, RAYS, S/2, S/2) of one step."""
    rng = np.random.default_rng((recipe.seed, 3, step))
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    fields = recipe.objects
    # all crops are of whole objects: the share of real ones among them is as in ours
    photographed = round(recipe.crops * fields.real_share / (1 - fields.spot_share)) if real else 0
    scenes = [
        real.draw(recipe.crop_px, rng) if real and k < photographed else draw_nuclei(recipe.crop_px, rng)
        for k in range(recipe.crops)
    ]
    seen = whole_lessons(fields, scenes, rng, noise).seen
    deep = np.empty((len(scenes), 1, recipe.crop_px, recipe.crop_px), np.float32)
    for k, scene in enumerate(scenes):
        depths(scene.labels, deep[k, 0])
    rays = np.stack([rays_of(scene.labels, GRID, RAYS) for scene in scenes])
    frames = functional.pixel_shuffle(seen[:, :4], 2)
    return frames, torch.from_numpy(deep)[:, :, ::GRID, ::GRID], torch.from_numpy(rays)


def star_loss(chance: Tensor, rays: Tensor, deep: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy of the depth, and absolute error of the distances, weighted by it; as StarDist's."""
    surprise = functional.binary_cross_entropy_with_logits(chance, deep)
    off = ((rays - truth).abs().mean(1, keepdim=True) * deep).sum() / deep.sum().clamp(min=1.0)
    return surprise + RAY_WEIGHT * off


class StarState:
    """Everything that changes from step to step; kernels learn by Muon, the rest by Adam, as in ours."""

    def __init__(self, recipe: DetectorRecipe) -> None:
        torch.manual_seed(recipe.seed)
        self._averaging = recipe.averaging
        self.network = StarNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        named = list(self.network.named_parameters())
        kernels = [value for name, value in named if value.ndim == 4 and not name.startswith(HEADS)]
        rest = [value for name, value in named if value.ndim != 4 or name.startswith(HEADS)]
        self._muon, self._adam = Muon(kernels, 0.0), torch.optim.Adam(rest, 0.0, betas=(0.9, 0.99))

    def learn(self, lesson: tuple[Tensor, Tensor, Tensor], step: int, rate: float) -> float:
        """One small change of the weights; the loss before it."""
        frames, deep, truth = lesson
        with torch.autocast("cpu", torch.bfloat16):
            chance, rays = self.network(frames.contiguous(memory_format=torch.channels_last))
        loss = star_loss(chance.float(), rays.float(), deep, truth)
        for optimiser, factor in ((self._muon, 1.0), (self._adam, HEAD_RATE)):
            optimiser.param_groups[0]["lr"] = rate * factor
            optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LONGEST)
        self._muon.step()
        self._adam.step()
        keep = min(self._averaging, (1 + step) / (10 + step))
        for name, value in self.network.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)
        return float(loss.detach())

    def parts(self) -> dict[str, Any]:
        """As plain values and tensors."""
        optimisers = {"muon": self._muon.state_dict(), "adam": self._adam.state_dict()}
        return {"network": self.network.state_dict(), "average": self.average, **optimisers}

    def take(self, parts: dict[str, Any]) -> None:
        """Be as ``parts`` were."""
        self.network.load_state_dict(parts["network"])
        self.average = parts["average"]
        self._muon.load_state_dict(parts["muon"])
        self._adam.load_state_dict(parts["adam"])


def train(recipe: DetectorRecipe, out: Path, say: Callable[[str], None], real: RealNuclei | None = None) -> Path:
    """Averaged weights in ``out``, as ``star_SEED.pt``, written anew every ``SAID_EVERY`` steps.

    A run that was cut off goes on from its checkpoint, also with another number of steps.
    """
    state = StarState(recipe)
    checkpoint = Checkpoint(out / "state", replace(recipe, steps=0, rates=()))
    first, before_s = checkpoint.load(state)
    began, recent = time.monotonic() - before_s, []
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"star_{recipe.seed}.pt"
    for step in range(first, recipe.steps):
        recent.append(state.learn(lesson(recipe, step, real), step, recipe.rate(step)))
        checkpoint.save(step + 1, time.monotonic() - began, state)
        if (step + 1) % SAID_EVERY == 0 or step + 1 == recipe.steps:
            torch.save(state.average, path)
            say(f"step {step + 1} of {recipe.steps}: {np.mean(recent):.4f}, {time.monotonic() - began:.0f} s")
            recent.clear()
    return path

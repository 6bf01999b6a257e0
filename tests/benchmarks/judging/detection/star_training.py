"""The star network trained on what ours is trained on: the same nuclei, cameras and noise, as many crops, one frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from smartscope_models.training.blobs import depths
from smartscope_models.training.learn_detector import DetectorRecipe
from smartscope_models.training.nuclei import RealNuclei, draw_nuclei
from smartscope_models.training.objects import whole_lessons
from smartscope_models.training.train import schedule

from .star_network import GRID, RAYS, StarNetwork
from .stars import rays_of

LEARNING_RATE = 1e-3
"""Of Adam; StarDist's is 3e-4 without a rise and a fall."""
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


def train(recipe: DetectorRecipe, out: Path, say: Callable[[str], None], real: RealNuclei | None = None) -> Path:
    """Weights, averaged as ours are, in ``out``; a run that was cut off begins anew."""
    torch.manual_seed(recipe.seed)
    network = StarNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * schedule(step, recipe.steps)
        frames, deep, truth = lesson(recipe, step, real)
        with torch.autocast("cpu", torch.bfloat16):
            chance, rays = network(frames.contiguous(memory_format=torch.channels_last))
        loss = star_loss(chance.float(), rays.float(), deep, truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        keep = min(recipe.averaging, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            average[name].lerp_(value, 1 - keep)
        if (step + 1) % 200 == 0:
            say(f"step {step + 1} of {recipe.steps}: {float(loss.detach()):.3f}")
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"star_{recipe.seed}.pt"
    torch.save(average, path)
    return path

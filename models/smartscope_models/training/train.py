"""The training loop: a seeded bank of scenes, fresh noise at every step, averaged weights at the end."""

from __future__ import annotations

import math
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartscope_models.training.checkpoint import Checkpoint, Training
from smartscope_models.training.exposures import Bank, Batch, expose
from smartscope_models.training.loss import Losses, decibels, losses
from smartscope_models.training.network import Denoiser, electrons, level_of
from smartscope_models.training.recipe import Recipe
from smartscope_models.training.scenes import FRAMES, draw_scene

Say = Callable[[str], None]
LEVEL_JITTER = 4.0
"""Stabilised units by which the level taken out is moved about, lest the answer hang on the field's mean."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a recipe."""

    network: Denoiser
    commit: str
    """Of the code that trained it; ``+`` where files differed from it."""
    duration_s: float
    threads: int
    decibels: float
    """Noise removed in the last thousand steps, mean over exposures."""


def scene_bank(recipe: Recipe, folder: Path | None, say: Say) -> npt.NDArray[np.float16]:
    """(scenes, FRAMES, S, S), drawn anew or from ``folder``, where they are kept by their numbers."""
    kept = folder / f"scenes_{recipe.seed}_{recipe.scenes}_{recipe.scene_px}.npy" if folder else None
    if kept and kept.exists():
        return np.asarray(np.load(kept))
    bank = np.empty((recipe.scenes, FRAMES, recipe.scene_px, recipe.scene_px), np.float16)
    for k in range(recipe.scenes):
        bank[k] = draw_scene((recipe.seed, k), recipe.scene_px).frames
        if k % 200 == 0:
            say(f"scene {k} of {recipe.scenes}")
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, bank)
    return bank


def train(
    recipe: Recipe, scenes: npt.NDArray[np.float16], say: Say, threads: int = 1, keep: Path | None = None
) -> Trained:
    """Follow the recipe; bfloat16 convolutions make it twice as fast where the processor has them.

    keep: folder for checkpoints; a training that was cut off goes on from there and ends with the same weights.
    """
    torch.set_num_threads(threads)
    commit = commit_of_the_code()
    state, checkpoint = Training(recipe), Checkpoint(keep, recipe)
    first, before_s = checkpoint.load(state)
    started, recent = time.monotonic() - before_s, deque[float](maxlen=1000)
    for step, batch in enumerate(_batches(recipe, Bank(scenes), first), first):
        for group in state.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * schedule(step, recipe.steps)
        found = _learn(state, batch, recipe, step)
        recent.append(float(found.error))
        took_s = time.monotonic() - started
        checkpoint.save(step + 1, took_s, state)
        if step % 500 == 499:
            quality = f"{decibels(float(np.mean(recent))):.3f} dB, bias {float(found.bias):.4f}"
            say(f"step {step + 1} of {recipe.steps}: {quality}, {took_s:.0f} s")
    state.network.load_state_dict(state.average)
    network = state.network.to(memory_format=torch.contiguous_format).eval()
    removed = decibels(float(np.mean(recent))) if recent else math.nan
    return Trained(network, commit, time.monotonic() - started, threads, removed)


def _batches(recipe: Recipe, bank: Bank, first: int) -> Iterator[Batch]:
    """Those of all steps from ``first`` on, each from its own seeds, drawn while the one before is learned from."""

    def draw(step: int) -> Batch:
        rng = np.random.default_rng((recipe.seed, 1, step))
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        crops = bank.crops(recipe.crops, recipe.sizes.frames, recipe.crop_px, rng)
        return expose(crops, recipe.levels, rng, noise)

    with ThreadPoolExecutor(1, "exposures") as pool:
        following = pool.submit(draw, first)
        for step in range(first, recipe.steps):
            batch, following = following.result(), pool.submit(draw, step + 1)
            yield batch


def _learn(state: Training, batch: Batch, recipe: Recipe, step: int) -> Losses:
    """One small change of the weights; the losses before it."""
    found = losses(_estimate(state.network, batch, np.random.default_rng((recipe.seed, 2, step))), batch)
    bias_weight = recipe.bias_weight * step / recipe.steps
    total = found.error + bias_weight * found.bias + recipe.lag_weight * found.lag
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    state.optimiser.step()
    keep = min(recipe.averaging, (1 + step) / (10 + step))
    for name, value in state.network.state_dict().items():
        state.average[name].lerp_(value, 1 - keep)
    return Losses(*(value.detach() for value in found))


def _estimate(network: Denoiser, batch: Batch, rng: np.random.Generator) -> Tensor:
    """Electrons / F² that the network sees, in float32 but for the convolutions."""
    stable = batch.stable
    jitter = torch.tensor(rng.normal(0, LEVEL_JITTER, len(stable)).astype(np.float32)).reshape(-1, 1, 1, 1)
    level = level_of(stable) + jitter
    with torch.autocast("cpu", torch.bfloat16):
        noise = network.body((stable - level).contiguous(memory_format=torch.channels_last))
    quiet = stable[:, -1:] - noise.float()
    return electrons(quiet, batch.nominal) * batch.nominal[:, 1].reshape(-1, 1, 1, 1)


def commit_of_the_code() -> str:
    """Abbreviated hash of this checkout; what else is known of the version where there is none."""

    def git(*words: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return f"smartscope {version('smartscope')}"


def schedule(step: int, steps: int) -> float:
    """A short rise, then half a cosine down to a hundredth."""
    if step < 200:
        return (step + 1) / 200
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps))

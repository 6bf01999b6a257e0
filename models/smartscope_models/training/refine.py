"""The training loop for structured illumination: crops of a bank of reconstructed stacks, both noise draws of each."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smartscope_models.structured_illumination.views import CHANNELS
from smartscope_models.training.checkpoint import Checkpoint
from smartscope_models.training.optimiser import Muon
from smartscope_models.training.refiner import Refiner, RefinerLosses, refiner_losses
from smartscope_models.training.stack_bank import Halves
from smartscope_models.training.stack_recipe import StackRecipe
from smartscope_models.training.train import Say, commit_of_the_code, schedule

SAID_EVERY = 500
"""Steps."""


@dataclass(frozen=True, slots=True)
class Refined:
    """What came of a recipe."""

    network: Refiner
    commit: str
    """Of the code that trained it; ``+`` where files differed from it."""
    duration_s: float
    threads: int


def refine(recipe: StackRecipe, bank: Halves, say: Say, threads: int = 1, keep: Path | None = None) -> Refined:
    """Follow the recipe; arguments as of ``train``. The same seed gives the same weights on one machine and version."""
    torch.set_num_threads(threads)
    commit, state, checkpoint = commit_of_the_code(), _State(recipe), Checkpoint(keep, recipe)
    first, before_s = checkpoint.load(state)
    started, recent = time.monotonic() - before_s, deque[tuple[float, ...]](maxlen=SAID_EVERY)
    for step in range(first, recipe.steps):
        for group in state.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * schedule(step, recipe.steps)
        recent.append(tuple(float(value) for value in _learn(state, bank, recipe, step)))
        took_s = time.monotonic() - started
        checkpoint.save(step + 1, took_s, state)
        if (step + 1) % SAID_EVERY == 0:
            error, edges, bias = np.mean(recent, axis=0)
            say(f"step {step + 1} of {recipe.steps}: {error:.3f}, edges {edges:.3f}, bias {bias:.4f}, {took_s:.0f} s")
    state.network.load_state_dict(state.average)
    network = state.network.to(memory_format=torch.contiguous_format).eval()
    return Refined(network, commit, time.monotonic() - started, threads)


class _State:
    """Everything that changes from step to step."""

    def __init__(self, recipe: StackRecipe) -> None:
        torch.manual_seed(recipe.seed)
        self.network = Refiner(recipe.sizes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.optimiser = Muon(self.network.parameters(), recipe.learning_rate)

    def parts(self) -> dict[str, Any]:
        """As plain values and tensors."""
        optimiser = self.optimiser.state_dict()
        return {"network": self.network.state_dict(), "average": self.average, "optimiser": optimiser}

    def take(self, parts: dict[str, Any]) -> None:
        """Be as ``parts`` were."""
        self.network.load_state_dict(parts["network"])
        self.average = parts["average"]
        self.optimiser.load_state_dict(parts["optimiser"])


def crops(bank: Halves, recipe: StackRecipe, rng: np.random.Generator) -> Tensor:
    """(2 crops, CHANNELS + 1, edge, edge) float32, turned and mirrored at random: first draws, then second draws."""
    edge, cut = recipe.crop_px, []
    for _ in range(recipe.crops):
        stack = bank[rng.integers(len(bank))]
        top, left = rng.integers(0, bank.shape[-1] - edge + 1, 2)
        piece = np.rot90(stack[..., top : top + edge, left : left + edge], int(rng.integers(4)), axes=(2, 3))
        cut.append((piece[..., ::-1] if rng.random() < 0.5 else piece).astype(np.float32))
    return torch.from_numpy(np.concatenate(np.stack(cut, axis=1)))


def _learn(state: _State, bank: Halves, recipe: StackRecipe, step: int) -> RefinerLosses:
    """One small change of the weights; the losses before it. Convolutions are in bfloat16."""
    batch = crops(bank, recipe, np.random.default_rng((recipe.seed, 1, step)))
    views, truth = batch[:, :CHANNELS], batch[:, CHANNELS:]
    with torch.autocast("cpu", torch.bfloat16):
        error = state.network.body(views.contiguous(memory_format=torch.channels_last))
    found = refiner_losses(views[:, :1] - error.float(), truth)
    bias_weight = recipe.bias_weight * step / recipe.steps
    total = found.error + recipe.edge_weight * found.edges + bias_weight * found.bias
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    state.optimiser.step()
    keep = min(recipe.averaging, (1 + step) / (10 + step))
    for name, value in state.network.state_dict().items():
        state.average[name].lerp_(value, 1 - keep)
    return RefinerLosses(*(value.detach() for value in found))

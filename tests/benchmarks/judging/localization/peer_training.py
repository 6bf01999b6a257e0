"""The peers' networks trained as ours is: the same lessons, losses, optimisers, schedule and averaging of weights."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from judging.figures import Row
from smartscope_models.training.checkpoint import Checkpoint
from smartscope_models.training.learn_localizer import HEAD_RATE, LocalizerRecipe, LocalizerState, maps_of
from smartscope_models.training.localizer_loss import LocalizerLosses, localizer_losses
from smartscope_models.training.molecules import Lessons, draw_lessons
from smartscope_models.training.optimiser import Muon
from smartscope_models.training.train import schedule

from .peer_networks import PEER_NETWORKS, PeerNetwork

HELD_OUT = (0x9EE5, 0)
"""Seed of the lessons that are never learned from."""
HELD_OUT_LESSONS = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How a peer is trained."""

    network: str
    recipe: LocalizerRecipe
    device: str = "cpu"
    drawers: int = 1
    """Threads that draw lessons."""
    judge_every: int = 500
    """Steps between looks at lessons that are never learned from: where they no longer get better is the plateau."""
    history: list[Row] = field(default_factory=list)


class PeerState(LocalizerState):
    """As ours, about another network."""

    def __init__(self, plan: Plan) -> None:
        """As of ``LocalizerState``: kernels by Muon, answers and biases by Adam."""
        recipe, self.device = plan.recipe, torch.device(plan.device)
        super().__init__(recipe)
        torch.manual_seed(recipe.seed)
        network = PEER_NETWORKS[plan.network]().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self.average = {name: value.clone() for name, value in network.state_dict().items()}
        named = list(network.named_parameters())
        kernels = [value for name, value in named if value.ndim == 4 and not name.startswith("answers.after")]
        rest = [value for name, value in named if value.ndim != 4 or name.startswith("answers.after")]
        self._muon = Muon(kernels, recipe.learning_rate)
        self._adam = torch.optim.Adam(rest, recipe.learning_rate * HEAD_RATE, betas=(0.9, 0.99))

    def learn(self, lessons: Lessons, step: int) -> LocalizerLosses:
        """On the device."""
        self.network.train()
        with self.device:
            return super().learn(moved(lessons, self.device), step)

    def judged(self, lessons: Lessons) -> float:
        """Loss of the averaged weights on held-out lessons."""
        own = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()
        with self.device, torch.no_grad():
            here = moved(lessons, self.device)
            loss = float(localizer_losses(maps_of(self.network, here), here).total)
        self.network.load_state_dict(own)
        return loss


def moved(lessons: Lessons, device: torch.device) -> Lessons:
    """All tensors on a device."""
    tensors: dict[str, Tensor] = {name: getattr(lessons, name).to(device) for name in Lessons.__slots__}
    return replace(lessons, **tensors)


def train(plan: Plan, folder: Path, say: Callable[[str], None]) -> Path:
    """Follow the plan from the last checkpoint in ``folder`` on; returns the file of weights, its facts beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    state, recipe = PeerState(plan), plan.recipe
    checkpoint = Checkpoint(folder, recipe)
    first, before_s = checkpoint.load(state)
    held_out = draw_lessons(recipe.fields, HELD_OUT_LESSONS, recipe.crop_px, HELD_OUT)
    started = time.monotonic() - before_s
    recent = deque[float](maxlen=100)
    for step, lessons in enumerate(drawn_lessons(plan, first), first):
        state.set_rate(recipe.learning_rate * schedule(step, recipe.steps))
        recent.append(float(state.learn(lessons, step).total))
        took_s = time.monotonic() - started
        checkpoint.save(step + 1, took_s, state)
        if (step + 1) % plan.judge_every == 0 or step + 1 == recipe.steps:
            plan.history.append({"step": step + 1, "held_out": state.judged(held_out), "seconds": round(took_s, 1)})
            say(f"{plan.network}: {plan.history[-1]}, learned from {sum(recent) / len(recent):.3f}")
    return kept(state, plan, folder, time.monotonic() - started)


def drawn_lessons(plan: Plan, first: int) -> Iterator[Lessons]:
    """Lessons in order, drawn ahead; seeds as of ours, so that both learn from the same."""
    recipe = plan.recipe

    def draw(step: int) -> Lessons:
        return draw_lessons(recipe.fields, recipe.crops, recipe.crop_px, (recipe.seed, 1, step))

    with ThreadPoolExecutor(plan.drawers, "lessons") as pool:
        ahead: deque[Future[Lessons]] = deque()
        for step in range(first, recipe.steps):
            while len(ahead) <= plan.drawers and step + len(ahead) < recipe.steps:
                ahead.append(pool.submit(draw, step + len(ahead)))
            yield ahead.popleft().result()


def kept(state: PeerState, plan: Plan, folder: Path, took_s: float) -> Path:
    """Averaged weights as they are judged."""
    path = weights_file(folder, plan.network, plan.recipe.seed)
    torch.save({name: value.to("cpu") for name, value in state.average.items()}, path)
    facts = {"network": plan.network, "device": plan.device, "took_s": took_s, "recipe": asdict(plan.recipe)}
    path.with_suffix(".json").write_text(json.dumps({**facts, "held_out": plan.history}, indent=1))
    return path


def weights_file(folder: Path, network: str, seed: int) -> Path:
    """Where they lie."""
    return folder / f"{network}_{seed}.weights.pt"


def trained(folder: Path) -> dict[str, PeerNetwork]:
    """All networks of a folder as NAME#SEED, ready to answer."""
    found = {}
    for path in sorted(folder.glob("*.weights.pt")):
        name, _, seed = path.name.removesuffix(".weights.pt").rpartition("_")
        network = PEER_NETWORKS[name]()
        network.load_state_dict(torch.load(path, weights_only=True))
        found[f"{name}#{seed}"] = network.eval()
    return found

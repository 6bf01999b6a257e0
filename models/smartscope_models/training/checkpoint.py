"""Where a training stands, on disk: written now and then, so that a long one goes on after it was cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from smartscope.errors import InputError, UnsupportedModel
from smartscope_models.packages import open_package
from smartscope_models.training.network import Denoiser
from smartscope_models.training.optimiser import Muon
from smartscope_models.training.recipe import Recipe
from smartscope_models.training.weights import read_network

EVERY = 1000
"""Steps."""


class Named(Protocol):
    """What is known of every recipe."""

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    def text(self) -> str: ...


class State(Protocol):
    """What changes from step to step, as plain values and tensors and back."""

    def parts(self) -> dict[str, Any]: ...
    def take(self, parts: dict[str, Any]) -> None: ...


class Checkpoint:
    """One file per recipe; ``folder`` None keeps nothing."""

    def __init__(self, folder: Path | None, recipe: Named) -> None:
        self._path = folder / f"{recipe.name}_{recipe.seed}.pt" if folder else None
        self._recipe = recipe.text()

    def save(self, step: int, took_s: float, state: State) -> None:
        """Keep the state after ``step`` steps, in place of an earlier one."""
        if self._path is None or step % EVERY:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".part")
        torch.save({"recipe": self._recipe, "step": step, "took_s": took_s, **state.parts()}, draft)
        draft.replace(self._path)

    def load(self, state: State) -> tuple[int, float]:
        """Steps done and seconds taken by an earlier run of the same recipe, whose state ``state`` takes on; (0, 0).

        Raises:
            InputError: the file is of another recipe, or cannot be read.
        """
        if self._path is None or not self._path.exists():
            return 0, 0.0
        try:
            kept = torch.load(self._path, weights_only=True)
            same = kept["recipe"] == self._recipe
        except Exception as error:
            raise InputError(f"cannot be read: {error}", where=self._path.name, remedy="remove it") from error
        if not same:
            raise InputError("is of another recipe", where=self._path.name, remedy="remove it, or name another folder")
        state.take(kept)
        return int(kept["step"]), float(kept["took_s"])


def _begin(network: Denoiser, package: str) -> None:
    """Take over the weights of a package for one frame; the earlier frames say nothing at first.

    Raises:
        UnsupportedModel: no such package, or a network of other sizes.
    """
    weights = read_network(open_package(package).networks["fp32"]).state_dict()
    newest = weights.pop("body.head.weight")
    own = network.state_dict()
    different = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if different or set(weights) | {"body.head.weight"} != set(own):
        raise UnsupportedModel(
            f"its layers differ from the recipe's: {', '.join(different) or 'their number'}",
            where=f"model package {package}",
            remedy="begin with a package of the same recipe sizes",
        )
    head = torch.zeros_like(own["body.head.weight"])
    head[:, -newest.shape[1] :] = newest
    network.load_state_dict({**weights, "body.head.weight": head})


class Training:
    """Everything that changes from step to step."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.network = Denoiser(recipe.sizes).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.begin:
            _begin(self.network, recipe.begin)
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.optimiser = Muon(self.network.parameters(), recipe.learning_rate)

    def parts(self) -> dict[str, Any]:
        """As plain values and tensors."""
        return {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }

    def take(self, parts: dict[str, Any]) -> None:
        """Be as ``parts`` were."""
        self.network.load_state_dict(parts["network"])
        self.average = parts["average"]
        self.optimiser.load_state_dict(parts["optimiser"])

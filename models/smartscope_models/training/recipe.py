"""The recipes: every number that, with a seed, decides the weights of a shipped network."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from smartscope_models.training.exposures import Levels
from smartscope_models.training.network import Architecture


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one network is trained."""

    name: str
    sizes: Architecture = field(default_factory=Architecture)
    levels: Levels = field(default_factory=Levels)
    begin: str = ""
    """Package whose weights it begins with, of the same sizes but for the number of frames; empty: with chance."""
    seed: int = 1
    scenes: int = 1200
    scene_px: int = 224
    crop_px: int = 96
    crops: int = 4
    """Scenes in a batch; each is exposed twice."""
    steps: int = 40_000
    learning_rate: float = 8e-3
    bias_weight: float = 16.0
    """What a squared mean error at the scale of a spot costs at the end beside the mean squared error; none at first,
    because a network learns faster what is there before it is asked how bright it is."""
    lag_weight: float = 0.0
    """What a squared lag of one frame costs beside it."""
    averaging: float = 0.999
    """Of the exponential moving average of the weights, which is what is shipped."""

    def text(self) -> str:
        """All numbers, for the manifest."""
        return json.dumps(asdict(self))


RECIPES = {
    "denoise_frame": Recipe("denoise_frame"),
    "denoise_causal": Recipe(
        "denoise_causal",
        Architecture(frames=3),
        begin="denoise_frame",
        steps=12_000,
        learning_rate=2e-3,
        lag_weight=30.0,
    ),
}


def recipe(name: str, **changes: Any) -> Recipe:
    """A recipe by name, with some of its numbers changed."""
    return replace(RECIPES[name], **changes)

"""The recipes of networks for structured illumination: every number that, with a seed, decides their weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from smartscope_models.training.network import Architecture
from smartscope_models.training.refiner import SIZES


@dataclass(frozen=True, slots=True)
class StackRecipe:
    """How one network is trained."""

    name: str
    preview: bool = False
    """Whether it sees one frame of each direction alone."""
    sizes: Architecture = field(default_factory=lambda: SIZES)
    seed: int = 1
    stacks: int = 3000
    raw_px: int = 128
    """Side of a raw frame; what is learned from is twice as wide."""
    crop_px: int = 96
    crops: int = 4
    """Stacks in a batch; each is exposed twice."""
    steps: int = 26_000
    learning_rate: float = 8e-3
    edge_weight: float = 1.0
    """What the error of fine detail costs beside that of all."""
    bias_weight: float = 2.0
    """What a squared mean error costs at the end beside the mean squared error; none at first."""
    averaging: float = 0.999
    """Of the exponential moving average of the weights, which is what is shipped."""

    def text(self) -> str:
        """All numbers, for the manifest."""
        return json.dumps(asdict(self))


STACK_RECIPES = {
    recipe.name: recipe
    for recipe in (
        StackRecipe("structured_illumination_low_light"),
        StackRecipe("structured_illumination_preview", preview=True, stacks=1200, steps=10_000),
    )
}

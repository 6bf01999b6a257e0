"""The network for structured illumination in little light: the denoiser's body on the views of a reconstruction."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from smartscope_models.structured_illumination.views import CHANNELS
from smartscope_models.training.loss import smoothed
from smartscope_models.training.network import Architecture, Body

SIZES = Architecture(frames=CHANNELS, fine=32, coarse=64, fine_blocks=1, coarse_blocks=4)
FLOOR = 0.01
"""Squared error, in terms of what is expected of the linear image, below which nothing more is gained."""
EDGE_FLOOR = 0.003
"""The same of the differences between neighbours, which are smaller."""
SPOT_PX = 1.5
"""Fine pixels."""


class Refiner(nn.Module):
    """Views in, the first of them quiet; what is exported."""

    def __init__(self, sizes: Architecture = SIZES) -> None:
        super().__init__()
        self.sizes = sizes
        self.body = Body(sizes)

    def forward(self, views: Tensor) -> Tensor:
        """(B, CHANNELS, H, W) → (B, 1, H, W) in the unit of the first view; H and W are multiples of 4."""
        error = self.body(views.to(self.body.head.weight.dtype))
        out: Tensor = views[:, :1] - error.to(views.dtype)
        return out


class RefinerLosses(NamedTuple):
    """Scalars, each a mean over exposures."""

    error: Tensor
    """Log of the squared error."""
    edges: Tensor
    """Log of the squared error of the differences between neighbours: fine detail has little power."""
    bias: Tensor
    """Squared mean error at the scale of a spot, and of fine detail, over the squared error: what draws agree on."""


def refiner_losses(answer: Tensor, truth: Tensor) -> RefinerLosses:
    """Of (2B, 1, H, W): B exposures, then the same B with other noise, whose errors agree in what is not noise."""
    error = answer - truth
    squared = error.square().mean((1, 2, 3))
    slopes = error.diff(dim=2).square().mean((1, 2, 3)) + error.diff(dim=3).square().mean((1, 2, 3))
    one, two = smoothed(error, SPOT_PX).chunk(2)
    spots = (one * two).mean((1, 2, 3)) / (squared.detach().reshape(2, -1).mean(0) + FLOOR)
    (one, two), scale = error.chunk(2), slopes.detach().reshape(2, -1).mean(0) + EDGE_FLOOR
    edges = (one.diff(dim=2) * two.diff(dim=2)).mean((1, 2, 3)) + (one.diff(dim=3) * two.diff(dim=3)).mean((1, 2, 3))
    bias = (spots + edges / scale).mean()
    return RefinerLosses(torch.log(squared + FLOOR).mean(), torch.log(slopes + EDGE_FLOOR).mean(), bias)

"""A network of StarDist's size and shape: 32 rays on a grid of 2, depth 3, 32 filters, 1.4 million parameters.

Schmidt et al., MICCAI 2018; sizes are the defaults of StarDist2D's configuration, with ``grid=(2, 2)``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

RAYS = 32
GRID = 2
BASE = 32
DEPTH = 3


def _twice(given: int, first: int, second: int) -> nn.Sequential:
    layers = [nn.Conv2d(given, first, 3, padding=1), nn.ReLU(), nn.Conv2d(first, second, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


class StarNetwork(nn.Module):
    """A frame (B, 1, H, W) → logit (B, 1, H/2, W/2) that an object is there, and distances along rays, pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = _twice(1, BASE, BASE)
        widths = [BASE * 2**k for k in range(DEPTH)]
        self.downs = nn.ModuleList(
            [_twice(BASE if k == 0 else widths[k - 1], widths[k], widths[k]) for k in range(DEPTH)]
        )
        self.middle = _twice(widths[-1], 2 * widths[-1], widths[-1])
        self.ups = nn.ModuleList([_twice(2 * width, width, max(width // 2, BASE)) for width in widths])
        self.after = nn.Sequential(nn.Conv2d(BASE, 128, 3, padding=1), nn.ReLU())
        self.chance, self.rays = nn.Conv2d(128, 1, 1), nn.Conv2d(128, RAYS, 1)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """H and W are multiples of 16."""
        h = functional.max_pool2d(self.begin(frame), GRID)
        kept = []
        for down in self.downs:
            h = down(h)
            kept.append(h)
            h = functional.max_pool2d(h, 2)
        h = self.middle(h)
        for up, beside in zip(reversed(self.ups), reversed(kept), strict=True):
            h = up(torch.cat([functional.interpolate(h, scale_factor=2, mode="nearest"), beside], dim=1))
        h = self.after(h)
        return self.chance(h), self.rays(h)

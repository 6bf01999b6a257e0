"""The raw grid with all that depends on size and lens alone: worked out once for every measurement of the fringes."""

from __future__ import annotations

import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Doubles
from smartscope_models.structured_illumination.transfer import frequencies, transfer

FADE_PX = 2
"""At each edge, against the wrap-around of transforms."""
LEFT_OUT_PX = 2
"""Beyond that: as far as a filter carries what the fading did."""
SOFT_PX = 4


class Field:
    """(N, N) grids, float32; frequencies in cycles per field, places in fields from the outer corner."""

    def __init__(self, size: int, cutoff: float, device: str | torch.device = "cpu") -> None:
        self.size, self.cutoff, self.device = size, cutoff, torch.device(device)
        half = size // 2 + 1
        self.f = frequencies(size).to(self.device, torch.float32)
        self.radius = torch.hypot(self.f[None, :], self.f[:, None])
        self.passed = transfer(self.f, self.f, cutoff, size)
        self.half_radius = self.radius[:, :half].contiguous()
        self.half_passed = self.passed[:, :half].contiguous()
        self.twice = torch.full((half,), 2.0, device=self.device)
        """How often each column of a half-spectrum stands in the whole one."""
        self.twice[0] = self.twice[-1] = 1.0
        place = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        edge = torch.minimum(place, 1 - place) * size
        fade = torch.sin(torch.pi / 2 * torch.clamp(edge / FADE_PX, max=1.0)) ** 2
        inner = torch.sin(torch.pi / 2 * torch.clamp((edge - FADE_PX - LEFT_OUT_PX) / SOFT_PX, 0.0, 1.0)) ** 2
        self.place = place.to(self.device)
        self.fade = _square(fade).to(self.device, torch.float32)
        """Frames are multiplied by it before they are transformed."""
        self.inside = _square(inner).to(self.device, torch.float32)
        """Where filtered pictures can be believed."""
        self.energy = float(self.fade.square().sum())
        """By which the power of a faded picture's spectrum is divided to be a density per pixel."""

    def half_distance(self, carrier: Doubles) -> Tensor:
        """(N, N / 2 + 1) of each frequency from ``carrier``."""
        return torch.hypot(self.f[None, : self.size // 2 + 1] - float(carrier[0]), self.f[:, None] - float(carrier[1]))


def _square(line: Tensor) -> Tensor:
    return line[:, None] * line[None, :]

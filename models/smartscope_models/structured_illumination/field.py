"""The raw grid with all that depends on size and lens alone: worked out once for every measurement of the fringes."""

from __future__ import annotations

import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Doubles
from smartscope_models.structured_illumination.transfer import frequencies, transfer

FADE_PX = 4
"""At each edge, against the wrap-around of transforms."""
LEFT_OUT_PX = 8
"""Beyond that: as far as a filter carries what the fading did."""
SOFT_PX = 8


class Field:
    """(N, N) grids, float32; frequencies in cycles per field, places in fields from the outer corner."""

    def __init__(self, size: int, cutoff: float, device: str = "cpu") -> None:
        self.size, self.cutoff, self.device = size, cutoff, torch.device(device)
        self.f = frequencies(size).to(self.device, torch.float32)
        self.radius = torch.hypot(self.f[None, :], self.f[:, None])
        self.passed = self.transfer_at((0.0, 0.0))
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

    def transfer_at(self, carrier: tuple[float, float] | Doubles) -> Tensor:
        """Transfer function (N, N) of a side band once its carrier lies at 0."""
        return transfer(self.f + float(carrier[0]), self.f + float(carrier[1]), self.cutoff, self.size)

    def distance(self, carrier: tuple[float, float] | Doubles) -> Tensor:
        """(N, N) of each frequency from ``carrier``."""
        return torch.hypot(self.f[None, :] - float(carrier[0]), self.f[:, None] - float(carrier[1]))

    def demodulated(self, picture: Tensor, carrier: tuple[float, float] | Doubles) -> Tensor:
        """``picture`` (N, N) times e^{-2πi k·r}: what is at frequency k comes to lie at 0."""
        x, y = (torch.exp(-2j * torch.pi * float(part) * self.place).to(torch.complex64) for part in carrier)
        return picture * x[None, :] * y[:, None]


def _square(line: Tensor) -> Tensor:
    return line[:, None] * line[None, :]

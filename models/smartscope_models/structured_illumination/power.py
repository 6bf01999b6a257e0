"""How much of the specimen and how much noise is in the data at each spatial frequency: what a Wiener filter weighs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smartscope_models.structured_illumination.field import Field

LOWEST, HIGHEST = 4.0, 0.8
"""Ring from which, and share of the cut-off up to which, the fall of the specimen's power is fitted."""
BEYOND = 1.03
"""Times the cut-off: further out there is nothing but noise."""


@dataclass(frozen=True, slots=True)
class Power:
    """Spectral densities per raw pixel, in electrons²; frequencies in cycles per field."""

    noise: float
    """Of one raw frame; white."""
    amplitude: float
    exponent: float
    """The specimen's: amplitude · radius^exponent, a power law as is usual for filaments, membranes and textures."""

    def specimen(self, radius: Tensor) -> Tensor:
        """Of the sum of light in one frame; the same shape as ``radius``."""
        return self.amplitude * torch.clamp(radius, min=1.0) ** self.exponent


def measure_power(field: Field, mean: Tensor, frames: int) -> Power:
    """From the half-spectrum (N, N / 2 + 1) of the faded mean of ``frames`` raw frames without its mean.

    Noise is what is left beyond the cut-off; where pixels are so large that nothing lies beyond, the corner of the
    spectrum stands for it.
    """
    radius, passed, twice = field.half_radius, field.half_passed, field.twice.expand_as(field.half_radius)
    power = (mean.real.square() + mean.imag.square()) * (twice / field.energy)
    far = radius > min(BEYOND * field.cutoff, 0.98 * float(radius.max()))
    noise = float(power[far].sum() / twice[far].sum())
    rings = torch.round(radius).to(torch.int64).flatten()
    count = torch.bincount(rings, twice.flatten()).to(torch.float64)
    mean_power = torch.bincount(rings, power.flatten()).to(torch.float64) / count
    through = torch.bincount(rings, (passed.square() * twice).flatten()).to(torch.float64) / count
    ring = torch.arange(len(count), dtype=torch.float64, device=field.device)
    used = (ring >= LOWEST) & (ring < HIGHEST * field.cutoff) & (through > 0.01)
    above = torch.clamp(mean_power - noise, min=1e-3 * noise)[used]
    trust = torch.sqrt(count[used]) * torch.clamp((mean_power - noise)[used] / mean_power[used], min=0.02)
    x, y = torch.log(ring[used]), torch.log(above / through[used])
    design = torch.stack([x, torch.ones_like(x)], dim=1) * trust[:, None]
    exponent, height = torch.linalg.lstsq(design, (y * trust)[:, None]).solution.flatten().tolist()
    return Power(noise * frames, math.exp(height), min(exponent, 0.0))

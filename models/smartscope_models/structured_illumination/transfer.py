"""What the objective and the camera's pixels pass on of each spatial frequency; frequencies are cycles per field."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smartscope.errors import InputError


@dataclass(frozen=True, slots=True)
class Optics:
    """The lens and the grid of raw pixels it is seen through."""

    numerical_aperture: float
    emission_nm: float
    pixel_size_nm: float

    @property
    def cutoff_per_px(self) -> float:
        """2 NA / λ, in cycles per raw pixel.

        Raises:
            InputError: the pixels are too large to carry it.
        """
        cutoff = 2 * self.numerical_aperture / self.emission_nm * self.pixel_size_nm
        if cutoff >= 0.5:
            largest = self.emission_nm / (4 * self.numerical_aperture)
            raise InputError(
                f"pixels of {self.pixel_size_nm:g} nm cannot carry what the lens resolves",
                where="optics.pixel_size_nm",
                allowed=f"below {largest:.0f} nm",
                remedy="use more magnification; 2x binning must be off",
            )
        return cutoff


def lens(radius: Tensor, cutoff: float) -> Tensor:
    """Incoherent transfer function of a circular pupil, 0 beyond ``cutoff`` (Goodman, Fourier Optics, section 6.3)."""
    s = torch.clamp(radius / cutoff, max=1.0)
    return 2 / math.pi * (torch.arccos(s) - s * torch.sqrt(1 - s * s))


def transfer(fx: Tensor, fy: Tensor, cutoff: float, size: int) -> Tensor:
    """Of lens and pixels, (H, W) from columns fx (W,) and rows fy (H,) in cycles per field of ``size`` raw pixels.

    A pixel averages over its area: sinc along each axis. Without it the modulation comes out 5 to 11 % too small.
    """
    radius = torch.hypot(fx[None, :], fy[:, None])
    return lens(radius, cutoff) * torch.sinc(fx / size)[None, :] * torch.sinc(fy / size)[:, None]


def frequencies(count: int, per_field: float = 1.0) -> Tensor:
    """Signed frequencies (count,) of a transform of that length, float64, times ``per_field``."""
    signed: Tensor = torch.fft.fftfreq(count, 1 / count, dtype=torch.float64)
    return signed * per_field

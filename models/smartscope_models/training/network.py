"""The denoising network: variance stabilisation around a bias-free residual U-shape on pixel-unshuffled frames.

All convolutions are without bias, so that the body is homogeneous: twice the contrast at twice the noise gives twice
the answer (Mohan et al., ICLR 2020); noise itself always has standard deviation 1 (generalised Anscombe transform).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROOT = math.sqrt(1.5)
LEAST = 0.8
"""Below this stabilised value the inverse would turn round."""
SIZE_MULTIPLE = 8


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of the body."""

    frames: int = 1
    """1, or 3: the newest and two earlier ones."""
    fine: int = 16
    """Channels at half resolution. Processors work on sixteen at once: 24 cost as much as 32."""
    coarse: int = 64
    """Channels at a quarter of the resolution."""
    fine_blocks: int = 1
    coarse_blocks: int = 3


class Block(nn.Module):
    """h + conv(relu(conv(h)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.normal_(self.second.weight, std=0.1 * math.sqrt(2 / (9 * channels)))

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, h, w) → the same."""
        out: Tensor = h + self.second(torch.relu(self.first(h)))
        return out


class Body(nn.Module):
    """Stabilised frames (B, T, H, W) → the noise of the newest (B, 1, H, W)."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        fine, coarse = sizes.fine, sizes.coarse
        self.head = nn.Conv2d(4 * sizes.frames, fine, 3, padding=1, bias=False)
        self.fine_in = nn.Sequential(*[Block(fine) for _ in range(sizes.fine_blocks)])
        self.down = nn.Conv2d(fine, coarse, 2, stride=2, bias=False)
        self.coarse = nn.Sequential(*[Block(coarse) for _ in range(sizes.coarse_blocks)])
        self.up = nn.Conv2d(coarse, 4 * fine, 1, bias=False)
        self.fine_out = nn.Sequential(*[Block(fine) for _ in range(sizes.fine_blocks)])
        self.tail = nn.Conv2d(fine, 4, 3, padding=1, bias=False)

    def forward(self, stable: Tensor) -> Tensor:
        """H and W are multiples of 4."""
        fine = self.fine_in(self.head(functional.pixel_unshuffle(stable, 2)))
        coarse = self.coarse(self.down(fine))
        fine = self.fine_out(fine + functional.pixel_shuffle(self.up(coarse), 2))
        return functional.pixel_shuffle(self.tail(fine), 2)


def stabilise(frames: Tensor, calibration: Tensor, nominal: Tensor) -> Tensor:
    """Counts (B, T, H, W) → noise of variance 1: y = 2 √(u + 3/8 + s²), u electrons / F², s² read variance / F⁴.

    calibration (B, 3, H, W): offset_adu, electrons per count / F², read variance; nominal (B, 3): see ``Denoiser``.
    A pixel much noisier than the sensor borrows from its neighbours first.
    """
    light = (frames - calibration[:, :1]) * calibration[:, 1:2]
    variance, usual = calibration[:, 2:3], nominal[:, 2].reshape(-1, 1, 1, 1)
    limit = torch.clamp(usual, min=0.25)
    own = torch.where(variance > 4 * limit, limit / variance, torch.ones_like(variance))
    around = (9 * functional.avg_pool2d(light, 3, 1, 1, count_include_pad=False) - light) / 8
    light = own * light + (1 - own) * around
    return 2 * torch.sqrt(torch.clamp(light + usual + 0.375, min=0.0))


def electrons(stable: Tensor, nominal: Tensor) -> Tensor:
    """Means of stabilised values → u: exact unbiased inverse in closed form, Mäkitalo & Foi, IEEE TIP 22:91 (2013)."""
    y = torch.clamp(stable, min=LEAST)
    inverse = 1 / y
    series = 0.25 * _ROOT + inverse * (-11 / 8 + inverse * (0.625 * _ROOT))
    return 0.25 * y * y + inverse * series - 0.125 - nominal[:, 2].reshape(-1, 1, 1, 1)


def level_of(stable: Tensor) -> Tensor:
    """(B, T, H, W) → (B, 1, 1, 1): mean of the newest frame. As a sum, whose ONNX form did not change with opset 18."""
    newest = stable[:, -1:]
    return newest.sum((1, 2, 3), keepdim=True) / (newest.shape[2] * newest.shape[3])


class Denoiser(nn.Module):
    """Camera counts in, camera counts out; what is exported."""

    def __init__(self, sizes: Architecture) -> None:
        super().__init__()
        self.sizes = sizes
        self.body = Body(sizes)

    def quiet(self, stable: Tensor, level: Tensor) -> Tensor:
        """Stabilised frames (B, T, H, W) → the newest, quiet (B, 1, H, W); level (B, 1, 1, 1) is taken out."""
        weights = self.body.head.weight
        noise = self.body((stable - level).to(weights.dtype))
        out: Tensor = stable[:, -1:] - noise.to(stable.dtype)
        return out

    def forward(self, frames: Tensor, calibration: Tensor, nominal: Tensor) -> Tensor:
        """Counts at nominal gain and offset, (1, 1, H, W) float32.

        frames (1, T, H, W) int32 counts, newest last; calibration (1, 3, H, W): offset_adu, electrons per count / F²,
        read variance e² / F⁴; nominal (3,): the sensor's offset_adu, counts per electron · F², read variance / F⁴.
        """
        nominal = nominal.reshape(1, 3)
        stable = stabilise(frames.to(torch.float32), calibration, nominal)
        quiet = self.quiet(stable, level_of(stable))
        return electrons(quiet, nominal) * nominal[:, 1] + nominal[:, 0]

"""What a good denoised frame is: little squared error at every light level, and no bias at the scale of a spot."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from smartscope_models.training.exposures import Batch

FLOOR = 0.01
"""Squared error, in units of the noise variance, below which nothing more is gained."""
SPOT_PX = 1.2
SEEN_FROM = 2.0
"""Contrast, in standard deviations of a spot's noise, from which bias counts; in full at twice that."""


def losses(estimate_e: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean log of the relative squared error, and mean relative squared bias of what can be seen; both scalars.

    The logarithm weighs decibels alike, whether an exposure is dark or bright. Squared bias: the product of the
    smoothed errors of two exposures with independent noise has the square of their common mean as its expectation.
    """
    variance = batch.variance_e2
    weight = 2 / (variance + variance.mean((1, 2, 3), keepdim=True))
    error = (estimate_e - batch.truth_e) * torch.sqrt(weight)
    squared = (error**2).mean((1, 2, 3))
    one, two = smoothed(error, SPOT_PX).chunk(2)
    bias = (one * two * visible(batch).chunk(2)[0]).mean((1, 2, 3))
    scale = squared.detach().reshape(2, -1).mean(0) + FLOOR
    return torch.log(squared + FLOOR).mean(), (bias / scale).mean()


def visible(batch: Batch) -> Tensor:
    """(2B, 1, H, W), 0 to 1: whether the contrast with the surroundings is above the noise at the scale of a spot.

    What is fainter cannot be told from noise; to ask for its full brightness would be to ask for the noise.
    """
    contrast = smoothed(batch.truth_e, SPOT_PX) - smoothed(batch.truth_e, 3 * SPOT_PX)
    noise = torch.sqrt(batch.variance_e2) / (2 * math.sqrt(math.pi) * SPOT_PX)
    return torch.clamp((contrast.abs() / noise - SEEN_FROM) / SEEN_FROM, 0.0, 1.0)


def smoothed(images: Tensor, sigma_px: float) -> Tensor:
    """(B, 1, H, W) with a Gaussian, borders mirrored."""
    reach = math.ceil(3 * sigma_px)
    taps = torch.exp(-(torch.arange(-reach, reach + 1, dtype=images.dtype) ** 2) / (2 * sigma_px**2))
    taps = taps / taps.sum()
    padded = functional.pad(images, (reach, reach, reach, reach), mode="reflect")
    across = functional.conv2d(padded, taps.reshape(1, 1, 1, -1))
    return functional.conv2d(across, taps.reshape(1, 1, -1, 1))


def decibels(loss: float) -> float:
    """Noise removed, dB, that a mean log error stands for."""
    return -10 * loss / math.log(10)

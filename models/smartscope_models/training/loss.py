"""What a good denoised frame is: little squared error at every light level, and no bias at the scale of a spot."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from smartscope_models.training.exposures import Batch

FLOOR = 0.01
"""Squared error, in units of the noise variance, below which nothing more is gained."""
CHANGE = 1e-3
"""Mean squared change from frame to frame, in units of the noise variance, below which lag counts by little. Where
hardly anything changes, any error looks like an age of many frames, and would drown all else."""
SPOT_PX = 1.2
SEEN_FROM = 1.7
"""Contrast, in standard deviations of a spot's noise, from which bias counts; in full at twice that."""


class Losses(NamedTuple):
    """Scalars, each a mean over exposures."""

    error: Tensor
    """Log of the relative squared error: decibels weigh alike, whether an exposure is dark or bright."""
    bias: Tensor
    """Relative squared bias of what can be seen."""
    lag: Tensor
    """Squared age, in frames, of what is shown where something moves."""


def losses(estimate_e: Tensor, batch: Batch) -> Losses:
    """What is wrong with (2B, 1, H, W) electrons / F².

    Bias and lag are squares of means over the noise: products of what two exposures of the same scene say, whose noise
    is independent, have these as their expectation.
    """
    variance = batch.variance_e2
    weight = torch.sqrt(2 / (variance + variance.mean((1, 2, 3), keepdim=True)))
    error = (estimate_e - batch.truth_e) * weight
    squared = (error**2).mean((1, 2, 3))
    one, two = smoothed(error, SPOT_PX).chunk(2)
    bias = (one * two * visible(batch).chunk(2)[0]).mean((1, 2, 3))
    scale = squared.detach().reshape(2, -1).mean(0) + FLOOR
    return Losses(torch.log(squared + FLOOR).mean(), (bias / scale).mean(), _lag(error, batch.backward_e * weight))


def _lag(error: Tensor, backward: Tensor) -> Tensor:
    """Projection of the error on what a frame of delay would add; exposures that hardly change hardly count."""
    change = (backward**2).mean((1, 2, 3))
    age = (error * backward).mean((1, 2, 3)) / (change + 1e-9)
    one, two = (age * (change / (change + CHANGE)) ** 2).chunk(2)
    return (one * two).mean()


def visible(batch: Batch) -> Tensor:
    """(2B, 1, H, W), 0 to 1: whether the contrast with the surroundings is above the noise at the scale of a spot.

    What is fainter cannot be told from noise; to ask for its full brightness would be to ask for the noise.
    """
    contrast = smoothed(batch.truth_e, SPOT_PX) - smoothed(batch.truth_e, 3 * SPOT_PX)
    noise = torch.sqrt(batch.variance_e2) / (2 * math.sqrt(math.pi) * SPOT_PX)
    return torch.clamp((contrast.abs() / noise - SEEN_FROM) / SEEN_FROM, 0.0, 1.0)


def smoothed(images: Tensor, sigma_px: float) -> Tensor:
    """(B, 1, H, W) with a Gaussian, borders mirrored. Two matrix products: a convolution takes far longer."""
    height, width = images.shape[-2:]
    return _gaussian(height, sigma_px) @ images @ _gaussian(width, sigma_px).T


@lru_cache(maxsize=32)
def _gaussian(size: int, sigma_px: float) -> Tensor:
    """(size, size): row i holds the weights of what is averaged at i."""
    reach = math.ceil(3 * sigma_px)
    offsets = torch.arange(-reach, reach + 1)
    taps = torch.exp(-(offsets.float() ** 2) / (2 * sigma_px**2))
    places = (torch.arange(size)[:, None] + offsets).abs()
    places = torch.where(places >= size, 2 * (size - 1) - places, places)
    weights = torch.zeros(size, size)
    return weights.scatter_add_(1, places, (taps / taps.sum()).expand(size, -1))


def decibels(loss: float) -> float:
    """Noise removed, dB, that a mean log error stands for."""
    return -10 * loss / math.log(10)

"""What must hold before anything is learnt: something in view, at rest, and noise as calibrated and uncorrelated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from smartscope_models.tuning.views import Exposure, View, block_means, spread, target_variance

MAX_CORRELATION = 0.1
"""Lag-1 autocorrelation of noise above which neighbours tell of each other."""
STRUCTURE = 0.06
"""Variance of the smoothed newest frame in a block, beside that of the noise, from which there is structure there."""
LEAST_STRUCTURED = 0.02
"""Of the blocks, with structure."""
MOVED = 0.08
"""Squared change in a block, beside the noise, from which it has moved: five standard errors."""
LEAST_STILL = 0.8
"""Of the structure, in blocks that have not moved."""
MOST_UNREST = 0.005
"""Mean squared change in those blocks; it stands in the target like an error of the network."""
NOISE_RATIO = (0.6, 1.5)
"""Of the noise found to that of the calibration; in the dark the transform alone makes it 0.75 to 1.15."""


@dataclass(frozen=True, slots=True)
class Noise:
    """Figures of the recorded frames; squares in units of the noise variance."""

    correlation: float
    """Larger lag-1 autocorrelation, along x or y, in the emptiest quarter of the blocks."""
    structured_share: float
    """Of the blocks, that hold more than noise."""
    still_share: float
    """Of the structure, in blocks that have not moved."""
    unrest: float
    """Mean squared change between an exposure and its target in those blocks."""
    ratio: float
    """Noise found between frames at rest over that of the calibration; NaN where all is moving."""

    def refusal(self) -> str:
        """Why nothing can be learnt from these frames; empty where it can."""
        if not self.correlation <= MAX_CORRELATION:
            return (
                f"the noise of neighbouring pixels is correlated ({self.correlation:.2f}, at most {MAX_CORRELATION}),"
                " or everything in view moves between frames"
            )
        if self.structured_share < LEAST_STRUCTURED:
            return f"nothing is in view: {self.structured_share:.1%} of the blocks hold more than noise"
        if self.still_share < LEAST_STILL or self.unrest > MOST_UNREST:
            return (
                f"the specimen moves between frames: {self.still_share:.0%} of the structure is at rest (at least"
                f" {LEAST_STILL:.0%}), and of this {self.unrest:.3f} noise variances change (at most {MOST_UNREST})"
            )
        if not (math.isnan(self.ratio) or NOISE_RATIO[0] <= self.ratio <= NOISE_RATIO[1]):
            return f"the noise between frames is {self.ratio:.2f} of what the camera's calibration says: calibrate it"
        return ""


def examine(views: Sequence[View]) -> tuple[Noise, list[Tensor]]:
    """The figures of at least one view, and for each where it stands still, (1, 1, h, w) of 1 or 0."""
    frames = views[0].exposures()[0].seen.shape[1]
    pairs = [(view, exposure) for view in views for exposure in view.exposures()]
    changes = [exposure.newest - exposure.target for _, exposure in pairs]
    power = torch.stack([block_means(x**2, view.usable) for x, (view, _) in zip(changes, pairs, strict=True)])
    moved = torch.stack([_movement(x, view) for x, (view, _) in zip(changes, pairs, strict=True)])
    contrast = torch.stack([_contrast(exposure, view) for view, exposure in pairs])
    still, structured = moved <= MOVED, contrast > STRUCTURE
    structure = torch.where(structured, contrast, 0.0)
    empty = (contrast <= contrast.nanquantile(0.25)).float()
    weights = [spread(blocks) * view.usable for blocks, (view, _) in zip(empty, pairs, strict=True)]
    change = float(moved[still & structured].nanmean())
    noise = Noise(
        correlation=max(lag1(changes, weights)),
        structured_share=float(structured.float().mean()),
        still_share=float((structure * still).sum() / structure.sum().clamp(min=1e-9)),
        unrest=0.0 if math.isnan(change) else change,
        ratio=float(power[still].nanmean()) / (1 + target_variance(frames)),
    )
    return noise, [spread((still[k] & still[k + 1]).float()) for k in range(0, len(pairs), 2)]


def lag1(images: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[float, float]:
    """Autocorrelation along x and along y of (1, 1, h, w) images, where both neighbours have weight."""
    number = max(sum(float(weight.sum()) for weight in weights), 1.0)
    mean = sum(float((image * weight).sum()) for image, weight in zip(images, weights, strict=True)) / number
    power, products, pairs = 0.0, [0.0, 0.0], [0.0, 0.0]
    for image, weight in zip(images, weights, strict=True):
        centred = (image - mean).double()
        power += float((centred**2 * weight).sum())
        for k, axis in enumerate((3, 2)):
            both = _first(weight, axis) * _last(weight, axis)
            products[k] += float((_first(centred, axis) * _last(centred, axis) * both).sum())
            pairs[k] += float(both.sum())
    variance = max(power / number, 1e-12)
    return products[0] / max(pairs[0], 1.0) / variance, products[1] / max(pairs[1], 1.0) / variance


def _first(image: Tensor, axis: int) -> Tensor:
    return image.narrow(axis, 0, image.shape[axis] - 1)


def _last(image: Tensor, axis: int) -> Tensor:
    return image.narrow(axis, 1, image.shape[axis] - 1)


def _movement(change: Tensor, view: View) -> Tensor:
    """(rows, columns) squared change of structure: smoothing leaves it, and a ninth of the noise."""
    return block_means(_smoothed(change) ** 2, view.usable) - block_means(change**2, view.usable) / 9


def _contrast(exposure: Exposure, view: View) -> Tensor:
    """(rows, columns) variance of the smoothed newest frame over each block, without the ninth that noise leaves."""
    image = _smoothed(exposure.newest)
    return block_means(image**2, view.usable) - block_means(image, view.usable) ** 2 - 1 / 9


def _smoothed(image: Tensor) -> Tensor:
    """Mean of 3 x 3."""
    return functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)

"""What there is to learn without a clean image: other frames, whose noise has nothing to do with that of the input.

Noise2Noise (Lehtinen et al., ICML 2018) between frames. Two ways that need no second frame were measured and left out:
blind spots with the median of N2V2 teach the last layers to do without the pixel that they will have (1.3 to 9 dB
worse), and Stein's estimate takes a noise variance that is a few percent off for something to learn (up to 1.7 dB).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smartscope_models.training.loss import SEEN_FROM, SPOT_PX, smoothed
from smartscope_models.training.network import Denoiser, level_of
from smartscope_models.tuning.last_layers import LastLayers, features
from smartscope_models.tuning.views import View, block_means

BIAS_WEIGHT = 6.0
"""What a squared mean error at the scale of a spot costs beside the mean squared error; else spots would be dimmed."""

LARGEST_SPOT_PX = 4.0
"""The windows that are learnt from are 96 px wide."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Two exposures of one scene, gone through all layers but the last, and what the answers are held against."""

    features: Tensor
    """(2B, C, h/2, w/2), the first exposures, then the second."""
    noise: Tensor
    """(2B, 1, h, w) newest frame minus target: what the layers should say, give or take noise independent of theirs."""
    weight: Tensor
    """(B, 1, h, w) 0 where input and target are not of the same thing."""
    visible: Tensor
    """(B, 1, h, w) 0 to 1: whether there is something whose brightness must be right."""
    part: Tensor
    """(B, 1, h, w) of LEARNT, CHOOSING, JUDGED."""
    spot_px: float
    """Width of a Gaussian like a spot."""

    def weight_of(self, part: float) -> Tensor:
        """(B, 1, h, w) the weight within one part, 0 elsewhere."""
        return self.weight * (self.part == part)

    def loss(self, layers: LastLayers) -> tuple[Tensor, Tensor]:
        """Two maps (B, 1, h, w): squared error plus the target's noise, and squared bias of what can be seen.

        As means, for any layers: the first is the mean squared error plus a constant; the second is the square of
        what two independent exposures have wrong in common.
        """
        error = self.noise - layers(self.features)
        squares = (error**2).chunk(2)
        one, two = smoothed(error, self.spot_px).chunk(2)
        return (squares[0] + squares[1]) / 2, one * two * self.visible

    def blocks(self, layers: LastLayers, part: float) -> tuple[Tensor, Tensor]:
        """(N,) what is minimised and the bias alone, by blocks of a lesson of one view; NaN outside the part."""
        squares, bias = self.loss(layers)
        weight = self.weight_of(part)
        total = squares + BIAS_WEIGHT * bias
        return block_means(total, weight).flatten(), block_means(bias, weight).flatten()


def lesson_of(network: Denoiser, view: View, still: Tensor, psf_sigma_px: float) -> Lesson:
    """Everything that a view has to teach; still (1, 1, h, w) is 1 where it has not moved."""
    spot_px = min(max(psf_sigma_px, SPOT_PX), LARGEST_SPOT_PX)
    exposures = view.exposures()
    seen = torch.cat([exposure.seen for exposure in exposures])
    noise = torch.cat([exposure.newest - exposure.target for exposure in exposures])
    known = features(network.body, seen - level_of(seen))
    with torch.no_grad():
        quiet = (seen[:, -1:] - LastLayers(network.body)(known)).mean(0, keepdim=True)
    return Lesson(known, noise, view.usable * still, _visible(quiet, spot_px), view.part, spot_px)


def _visible(image: Tensor, spot_px: float) -> Tensor:
    """As ``training.loss.visible``, from the untuned network's answer in place of the truth."""
    contrast = smoothed(image, spot_px) - smoothed(image, 3 * spot_px)
    spot_noise = 1 / (2 * math.sqrt(math.pi) * spot_px)
    return torch.clamp((contrast.abs() / spot_noise - SEEN_FROM) / SEEN_FROM, 0.0, 1.0)

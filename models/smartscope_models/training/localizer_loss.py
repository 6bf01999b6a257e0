"""How far a localising network's maps are from the truth: the count of molecules, and where they lie."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from smartscope_models.training.molecules import Lessons

COMPONENTS = 320
"""Pixels of the greatest probability that make the mixture."""
LEAST_WEIGHT = 1e-9
OVERLOOKED = 1e-3
"""Part of the mixture that lies anywhere: what one molecule that nobody found can cost has an end."""
LOG_RANGES = 2.0
"""Spread of log photons, and of heights, over which that part is laid out."""


class LocalizerLosses(NamedTuple):
    """Scalars, each a mean over lessons."""

    number: Tensor
    """Minus the log likelihood of the true number, as a sum of independent pixels (Gaussian for that sum)."""
    places: Tensor
    """Minus the log likelihood of each molecule's place and brightness under the mixture, summed over molecules."""
    background: Tensor
    """Squared error, in squared standard deviations of the noise."""

    @property
    def total(self) -> Tensor:
        """What is made small."""
        return (self.number + self.places) / 10 + self.background


def localizer_losses(maps: Tensor, lessons: Lessons) -> LocalizerLosses:
    """Of maps (B, heads, S, S); Speiser et al., Nat Methods 18:1082 (2021), equations 6 to 9, photons as logarithms."""
    probability = maps[:, 0].flatten(1)
    number = lessons.present.sum(1).to(maps.dtype)
    mean, variance = probability.sum(1), (probability * (1 - probability)).sum(1) + 1e-3
    count = 0.5 * (number - mean).square() / variance + 0.5 * torch.log(2 * math.pi * variance)
    places = _places(maps, probability, mean, lessons)
    background = (maps[:, 7:8] - lessons.background).square().mean()
    return LocalizerLosses(count.mean(), places.mean(), 16 * background)


def _places(maps: Tensor, probability: Tensor, mean: Tensor, lessons: Lessons) -> Tensor:
    """(B,) minus the log likelihoods of the molecules that are there."""
    edge = maps.shape[-1]
    weight, where = probability.topk(min(COMPONENTS, probability.shape[1]), dim=1)
    others = maps.flatten(2)

    def at(head: int) -> Tensor:
        return others[:, head].gather(1, where)

    centres = [at(1) + (where % edge), at(2) + where // edge, at(3)]
    errors = [at(4), at(5), at(6)]
    if maps.shape[1] > 8:
        centres.append(at(8))
        errors.append(at(9))
    centre, error = torch.stack(centres, -1), torch.stack(errors, -1)  # (B, C, 3 or 4)
    truth = lessons.molecules[..., : centre.shape[-1]]
    away = (truth[:, :, None] - centre[:, None]) / error[:, None]
    log_normal = -0.5 * away.square().sum(-1) - torch.log(error).sum(-1)[:, None]
    log_weight = torch.log(weight.clamp(min=LEAST_WEIGHT) / mean[:, None].clamp(min=LEAST_WEIGHT))
    found = torch.logsumexp(log_normal + log_weight[:, None], dim=-1)
    anywhere = math.log(OVERLOOKED) - 2 * math.log(edge) - (centre.shape[-1] - 2) * math.log(LOG_RANGES)
    mixture = torch.logaddexp(found, torch.full_like(found, anywhere))
    return -(mixture * lessons.present).sum(1)

"""How good layers are, on places that nothing was learnt from and in empty fields."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from smartscope_models.training.network import Denoiser, level_of
from smartscope_models.tuning.last_layers import LastLayers, features
from smartscope_models.tuning.lessons import Lesson
from smartscope_models.tuning.movement import Velocity, displaced
from smartscope_models.tuning.noise import lag1
from smartscope_models.tuning.rule import Change, Measures
from smartscope_models.tuning.views import JUDGED, Exposure, View

SIGMAS = 3.0
"""Above this many standard deviations of the noise something stands out of an empty field."""
DIRECTIONS: tuple[Velocity, ...] = ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0))
"""In which the specimen is made to move, view after view; pixels a frame."""
PROBE = 0.05
"""Amplitude, in noise standard deviations, of the random pattern that measures the divergence."""


class Judge:
    """Everything before the last layers done once, so that layers are measured in little time."""

    def __init__(
        self,
        network: Denoiser,
        views: Sequence[View],
        lessons: Sequence[Lesson],
        empty: Sequence[View],
        variance: float,
        psf_sigma_px: float,
    ) -> None:
        """``lessons`` are those of ``views``; ``empty``: views of empty fields; ``variance``: that of the noise."""
        generator = torch.Generator().manual_seed(0)
        self._lessons, self._variance, self._psf_sigma_px = lessons, variance, psf_sigma_px
        self._live = [_Live(network, view, known, generator) for view, known in zip(views, lessons, strict=True)]
        moving = views if network.sizes.frames > 1 else ()
        self._moving = [_Moving(network, view, DIRECTIONS[k % len(DIRECTIONS)]) for k, view in enumerate(moving)]
        fields = [exposure for view in empty for exposure in view.exposures()]
        self._empty = [(features(network.body, f.seen - level_of(f.seen)), f.newest) for f in fields]

    @torch.no_grad()
    def measure(self, layers: LastLayers) -> Measures:
        """All figures of one set of layers."""
        losses, biases = self._held_out(layers)
        residuals = [layers(live.known) for live in self._live]
        weights = [live.weight for live in self._live]
        both = zip(self._live, residuals, strict=True)
        chi2 = sum(live.chi2(layers, residual, self._variance) for live, residual in both)
        images = [(newest - layers(known))[0, 0].numpy() for known, newest in self._empty]
        return Measures(
            loss=float(losses.nanmean()),
            bias=float(biases.nanmean()),
            chi2=chi2 / max(sum(float(weight.sum()) for weight in weights), 1.0),
            lag=self._lag(layers),
            whiteness=max(map(abs, lag1(residuals, weights))),
            false_structures=_per_field(images, 0.0),
            false_structures_psf=_per_field(images, self._psf_sigma_px),
        )

    @torch.no_grad()
    def changes(self, before: LastLayers, after: LastLayers) -> tuple[Change, Change]:
        """Of the held-out loss, and of the bias."""
        loss, bias = (b - a for a, b in zip(self._held_out(before), self._held_out(after), strict=True))
        return _change(loss), _change(bias)

    def _lag(self, layers: LastLayers) -> float:
        sums = [moving.behind(layers) for moving in self._moving]
        return sum(late for late, _ in sums) / sum(whole for _, whole in sums) if sums else 0.0

    def _held_out(self, layers: LastLayers) -> tuple[Tensor, Tensor]:
        """(N,) loss and bias of each judged block; NaN for all other blocks."""
        losses, biases = zip(*(lesson.blocks(layers, JUDGED) for lesson in self._lessons), strict=True)
        return torch.cat(losses), torch.cat(biases)


class _Live:
    """A view's first exposure as the network sees it at work, and again with a faint random pattern on it."""

    def __init__(self, network: Denoiser, view: View, lesson: Lesson, generator: torch.Generator) -> None:
        seen, self.known = view.exposures()[0].seen, lesson.features[:1]
        self.weight = view.usable * (view.part == JUDGED)
        self._pattern = torch.randint(2, seen[:, -1:].shape, generator=generator) * 2.0 - 1.0
        probed = torch.cat([seen[:, :-1], seen[:, -1:] + PROBE * self._pattern], dim=1)
        self._probed = features(network.body, probed - level_of(seen))

    def chi2(self, layers: LastLayers, residual: Tensor, variance: float) -> float:
        """Sum over the judged pixels (Stein, Ann. Stat. 9:1135, 1981; Ramani, Blu, Unser, IEEE TIP 17:1540, 2008)."""
        divergence = 1 - self._pattern * (layers(self._probed) - residual) / PROBE
        return float(((residual**2 / variance + 2 * divergence) * self.weight).sum())


class _Moving:
    """A view's first exposure made to move by a pixel a frame, and what it would be one frame late."""

    def __init__(self, network: Denoiser, view: View, velocity: Velocity) -> None:
        one, two = (Exposure(x[:, :1], x[:, 1:-1], x[:, -1:]) for x in view.stable.chunk(2, dim=1))
        seen = displaced(one.seen, velocity)
        self._known = features(network.body, seen - level_of(seen))
        self._noise, weight = one.newest - one.target, view.usable * (view.part == JUDGED)
        ways = [_way(exposure.target, velocity) for exposure in (one, two)]
        self._late, self._whole = ways[1] * weight, float((ways[0] * ways[1] * weight).sum())

    def behind(self, layers: LastLayers) -> tuple[float, float]:
        """Error along the way back, and the way of one frame; from two exposures, so that noise has no part in it."""
        return float(((self._noise - layers(self._known)) * self._late).sum()), self._whole


def _way(image: Tensor, velocity: Velocity) -> Tensor:
    """How an image that moves was different a frame ago; odd, so that blur, which is even, is no part of it."""
    back, forth = (torch.roll(image, [round(sign * v) for v in velocity], dims=(2, 3)) for sign in (-1, 1))
    return (back - forth) / 2


def _change(blocks: Tensor) -> Change:
    known = blocks[~blocks.isnan()]
    if len(known) < 2:
        return Change(math.nan, math.nan)
    return Change(float(known.mean()), float(known.std()) / math.sqrt(len(known)))


def _per_field(images: Sequence[npt.NDArray[np.float32]], sigma_px: float) -> float:
    """Groups of pixels above SIGMAS of the noise, smoothed by ``sigma_px``, in 512 x 512 pixels; NaN if not finite."""
    if not all(np.isfinite(image).all() for image in images):
        return math.nan
    point = np.zeros((65, 65))
    point[32, 32] = 1
    left = math.sqrt(float(np.sum(ndimage.gaussian_filter(point, sigma_px) ** 2)))
    blurred = [ndimage.gaussian_filter(image - np.median(image), sigma_px) for image in images]
    groups = sum(int(ndimage.label(image > SIGMAS * left)[1]) for image in blurred)
    return groups * 512 * 512 / sum(image.size for image in images)

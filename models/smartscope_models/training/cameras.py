"""The cameras of the training: sCMOS, EMCCD and photomultiplier detectors drawn at random, and the noise they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smartscope_models.training.structures import Doubles

HOT_SHARE = 1e-3
"""Of pixels, where a camera's pixels differ; four to fifteen times noisier than the others."""
NEVER = 1e6
"""Shape of an amplification that adds no noise."""


@dataclass(frozen=True, slots=True)
class Cameras:
    """One detector for each of B scenes; every field is (B, 1, 1, 1)."""

    read_e: Tensor
    """Read noise of the usual pixel, electrons."""
    step_e: Tensor
    """Electrons per count."""
    shape: Tensor
    """Of the gamma distribution of what becomes of one electron: 1 in an EM register, NEVER without amplification."""
    smear: Tensor
    """Share of a pixel's charge that a slow detector hands on to the next pixel along the line."""
    least: Tensor
    """Smallest count; below it the detector is blind."""
    mapped: Tensor
    """1 where pixels differ in their read noise, 0 where they are alike."""
    told: Tensor
    """Factor by which the noise is told wrongly, as an estimate from a movie would."""

    @property
    def noise_factor(self) -> Tensor:
        """Variance of the shot noise over that of a Poisson distribution: F² = 1 + 1 / shape, less what smears out."""
        return (1 + 1 / self.shape) * ((1 - self.smear) ** 2 + self.smear**2)

    def twice(self) -> Cameras:
        """The same for two exposures of each scene."""
        return Cameras(*(torch.cat([value, value]) for value in self._values()))

    def _values(self) -> list[Tensor]:
        return [getattr(self, name) for name in self.__slots__]

    def read_map(self, size: int, noise: torch.Generator) -> Tensor:
        """(B, 1, size, size) read noise, electrons: log-normal, a few pixels far noisier."""
        field = torch.exp(0.25 * torch.randn(len(self.read_e), 1, size, size, generator=noise))
        hot = torch.rand(field.shape, generator=noise) < HOT_SHARE
        factor = torch.where(hot, 4 + 11 * torch.rand(field.shape, generator=noise), 1.0)
        return self.read_e * torch.where(self.mapped > 0, field * factor, 1.0)

    def smeared(self, light: Tensor) -> Tensor:
        """(B, T, H, W) light as the electronics hand it on; exact at the left border too."""
        before = torch.cat([light[..., :1], light[..., :-1]], dim=-1)
        return torch.lerp(light, before, self.smear)

    def counts(self, light_e: Tensor, read_map: Tensor, noise: torch.Generator) -> Tensor:
        """Counts (B, T, H, W) from expected electrons."""
        electrons = torch.poisson(light_e, generator=noise)
        amplified = self.shape.flatten() < NEVER
        arrived, shape = electrons[amplified], self.shape[amplified]
        spread = torch._standard_gamma((arrived * shape).clamp(min=1e-6), generator=noise) / shape
        electrons[amplified] = torch.where(arrived > 0, spread, 0.0)
        electrons = self.smeared(electrons) + read_map * torch.randn(electrons.shape, generator=noise)
        return torch.maximum(torch.round(electrons / self.step_e), self.least)


@dataclass(frozen=True, slots=True)
class Detectors:
    """How often each kind is drawn, and its ranges; the rest are sCMOS cameras."""

    emccd_share: float = 0.15
    photomultiplier_share: float = 0.15
    read_noise_e: tuple[float, float] = (0.3, 3.0)
    """Of sCMOS cameras, log-uniform."""
    mapped_share: float = 0.5
    misjudged_share: float = 0.3


def draw_cameras(detectors: Detectors, brightest_e: Doubles, darkest_e: Doubles, rng: np.random.Generator) -> Cameras:
    """A detector for each scene whose brightest and darkest places (B,) give so many electrons.

    Photomultipliers and hybrid detectors of scanning microscopes: eight bits over the range of the scene, amplitudes of
    single photons spread by 0.3 to 0.8 of their mean, up to a tenth of the charge in the next pixel, black clipped.
    """
    number, (low, high) = len(brightest_e), np.log(detectors.read_noise_e)
    kind = rng.random(number)
    emccd = kind < detectors.emccd_share
    tube = ~emccd & (kind < detectors.emccd_share + detectors.photomultiplier_share)
    read = np.exp(rng.uniform(low, high, number))
    read = np.where(emccd, rng.uniform(0.05, 0.6, number), np.where(tube, rng.uniform(0.0, 0.4, number), read))
    step = np.where(tube, brightest_e / rng.uniform(40, 250, number), rng.uniform(0.1, 0.7, number))
    step = np.minimum(step, 3 * np.sqrt(darkest_e + read**2 + 0.3))
    spread = rng.uniform(0.3, 0.8, number)
    shape = np.where(emccd, 1.0, np.where(tube, spread**-2.0, NEVER))
    smear = np.where(tube, rng.uniform(0.0, 0.1, number), 0.0)
    mapped = ~tube & (rng.random(number) < detectors.mapped_share)
    wrong = rng.random(number) < detectors.misjudged_share
    told = np.exp(np.where(wrong, rng.normal(0, 0.1, number), 0.0))
    least = np.where(tube, 0.0, -100.0)
    drawn = (read, step, shape, smear, least, mapped, told)
    return Cameras(*(torch.tensor(np.asarray(value, np.float32)).reshape(-1, 1, 1, 1) for value in drawn))

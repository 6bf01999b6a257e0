"""Where the fringes' frequency lies, to a hundredth of a frequency step.

Band 0 and a side band, each passed through the other's transfer function, are the same picture. Their product is then
positive everywhere, so that any slope of its phase across the field is an error of the carrier and of nothing else.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Doubles
from smartscope_models.structured_illumination.field import Field

NEWTON_STEPS = 6
LOWEST = 3.0
"""Frequencies below are left out: there the mean light, which the fading modulates, outshines the specimen."""


class CarrierSearch:
    """From nothing to about half a step."""

    def __init__(self, field: Field) -> None:
        self._field = field
        overlap = torch.fft.ifft2(torch.fft.fft2(field.passed.square()).abs().square()).real
        self._fair = torch.sqrt(torch.clamp(overlap, min=1e-3 * float(overlap.max())))
        """What two unlike pictures would correlate at every distance."""

    def find(self, mean: Tensor, band: Tensor, nearest: float, furthest: float) -> tuple[Doubles, float]:
        """Carrier (x, y) and how far its peak stands out of the median of where it was looked for.

        mean (N, N) spectrum of band 0 without its mean, band (N, N) complex picture; nearest, furthest: radii.
        """
        field = self._field
        one = torch.fft.ifft2(mean * field.passed)
        two = torch.fft.ifft2(torch.fft.fft2(band) * field.passed)
        strength = torch.fft.fft2(one.conj() * two).abs() / self._fair
        looked = (field.radius > nearest) & (field.radius < furthest)
        heights = torch.where(looked, strength, torch.zeros_like(strength)).flatten()
        at = int(torch.argmax(heights))
        row, column = divmod(at, field.size)
        return np.array([float(field.f[column]), float(field.f[row])]), float(heights[at] / strength[looked].median())


def refined(
    field: Field,
    mean: Tensor,
    band: Tensor,
    carrier: Doubles,
    densities: tuple[Tensor, float, float],
) -> Doubles:
    """The carrier (x, y), by Newton's method on the log of the summed product; moves by a step at most.

    mean (N, N) spectrum of band 0, band (N, N) picture; densities: the specimen's (N, N), the noise's in both bands.
    """
    specimen, noise_mean, noise_band = densities
    there, here = field.transfer_at(carrier), field.passed
    weight = 1 / (noise_mean * there**2 + noise_band * here**2 + noise_mean * noise_band / specimen + 1e-30)
    both = (field.radius > LOWEST) & (field.distance(-carrier) > LOWEST) & (here * there > 1e-3)
    root = torch.sqrt(torch.where(both, weight, torch.zeros_like(weight)))
    one = torch.fft.ifft2(mean * there * root)
    two = torch.fft.ifft2(torch.fft.fft2(field.demodulated(band, carrier)) * here * root)
    product = one.conj() * two * field.inside
    step = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        step = step + _newton(product, field.place - 0.5, step)
    return carrier + np.clip(step, -1.0, 1.0)


def _newton(product: Tensor, place: Tensor, at: Doubles) -> Doubles:
    """Step towards the frequency (x, y) at which |Σ product e^{-2πi f·r}| is largest; place (N,) in fields."""
    powers = torch.stack([torch.ones_like(place), place, place**2])
    x, y = ((powers * torch.exp(-2j * torch.pi * float(part) * place)).to(product.dtype) for part in at)
    moments = (y @ product @ x.T).cpu().numpy().astype(np.complex128)
    whole = moments[0, 0]
    first = -2j * np.pi * np.array([moments[0, 1], moments[1, 0]]) / whole
    second = (-2j * np.pi) ** 2 * np.array([[moments[0, 2], moments[1, 1]], [moments[1, 1], moments[2, 0]]]) / whole
    gradient, curvature = first.real, (second - np.outer(first, first)).real
    if np.linalg.eigvalsh(curvature).max() >= 0:  # not near a peak: uphill, a little
        return np.asarray(0.1 * gradient / max(float(np.hypot(*gradient)), 1e-12))
    return np.asarray(np.clip(-np.linalg.solve(curvature, gradient), -0.5, 0.5))

"""How deep the fringes are, without the share of the noise, which makes every naive answer too small."""

from __future__ import annotations

import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Doubles
from smartscope_models.structured_illumination.carriers import LOWEST
from smartscope_models.structured_illumination.field import Field

LEAST_PASSED = 0.03
"""Of a transfer function where it is still divided by."""
USUAL_DEPTH = 0.8


def depth(
    field: Field, mean: Tensor, band: Tensor, carrier: Doubles, densities: tuple[Tensor, float, float]
) -> complex:
    """Depth, and the phase common to all frames of the angle: regression of the side band on band 0.

    Unbiased whatever the specimen: in the sum of |band 0|² its noise is subtracted; the specimen's assumed density
    only decides what weighs how much. Arguments as in ``carriers.refined``.
    """
    specimen, noise_mean, noise_band = (densities[0] * field.energy, *(d * field.energy for d in densities[1:]))
    there, here = field.transfer_at(carrier), field.passed
    both = (here > LEAST_PASSED) & (there > LEAST_PASSED) & (field.radius > LOWEST)
    both &= field.distance(-carrier) > LOWEST
    there, here, specimen = there[both], here[both], specimen[both]
    known = here**2 * specimen + noise_mean
    spread = noise_band + USUAL_DEPTH * noise_mean * specimen * there**2 / known
    weight = there * here * specimen / (known * spread)
    side = torch.fft.fft2(field.demodulated(band, carrier))[both]
    light = mean[both]
    product = (weight * side * light.conj()).sum()
    expected = (weight * there / here * (light.abs().square() - noise_mean)).sum()
    return complex(product / expected)

"""Where the image does not explain the raw frames: blurred and patterned again, compared with them in units of noise.

What the image shows of the specimen is passed through the transfer function and the depth of each side band; what the
frames hold of that band beside it is left over. Where nothing was invented or removed, that is noise of a known size:
of a band with share a in the image (0: not used, 1: the image rests on it alone) the part 1 - a.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smartscope.result import RESIDUAL_BLOCK_PX
from smartscope_models.structured_illumination.power import Power
from smartscope_models.structured_illumination.reconstruction import Reconstruction
from smartscope_models.structured_illumination.transfer import frequencies, transfer
from smartscope_models.structured_illumination.weights import at_destination

LEAST_SHOWN = 0.05
"""Share of the pleasant filter, at its height 4, below which the image says nothing of a frequency."""


class ErrorMap:
    """For images of one ``Reconstruction``, right after it made one."""

    def __init__(self, made: Reconstruction, power: Power) -> None:
        self._made, self._noise = made, power.noise
        padding = made.padding
        whole, per_field = padding.whole, padding.size / padding.whole
        own = frequencies(whole)
        believed = made.weights.shown.abs() > 4 * LEAST_SHOWN
        back = torch.where(believed, 1 / made.weights.shown, 0)
        self._passed, self._forward, self._left = [], list[Tensor](), list[float]()
        for band in made.bands:
            fx, fy = (own - band.rest[0]) * per_field, (own - band.rest[1]) * per_field
            passed = transfer(fx, fy, made.cutoff, padding.size).to(torch.float32)
            depth = passed * band.modulation
            share = at_destination(made.weights.doubt, band, whole) * depth.square() / (band.variance * power.noise)
            self._passed.append(passed.to(made.device))
            self._forward.append((depth * passed * at_destination(back, band, whole)).to(made.device))
            self._left.append(float((passed.square() * (1 - share)).mean()) * band.variance)

    def of(self, frames: Tensor) -> Tensor:
        """(frames, N, N) electrons, of which the image was made → (h, w) float32 in blocks; see ``SuperResolved``."""
        size, before = self._made.size, self._made.padding.before
        inside = slice(before, before + size)
        light = frames.mean(0)
        surplus = self._noise - float(light.mean())  # of variance over light: the camera's own noise
        total = torch.zeros((size, size), device=light.device)
        for number, band in enumerate(self._made.bands):
            expected = at_destination(self._made.total, band, self._made.padding.whole) * self._forward[number]
            left = self._made.spectrum_of(number, frames) * self._passed[number] - expected
            total += torch.fft.ifft2(left)[inside, inside].abs().square() / self._left[number]
        return torch.sqrt(_blocks(total / len(self._made.bands)) / (_blocks(light) + surplus).clamp(min=1e-3))


def _blocks(picture: Tensor) -> Tensor:
    """(N, N) → (h, w) means over blocks; those at the lower and right edge may be smaller."""
    pooled: Tensor = torch.nn.functional.avg_pool2d(picture[None], RESIDUAL_BLOCK_PX, ceil_mode=True)
    return pooled[0]

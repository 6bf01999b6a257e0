"""Where the image does not explain the raw frames: blurred and patterned again, compared with them in units of noise.

What the frames hold of a side band beside what the image says of it is left over. Where nothing was invented or
removed, that is noise of a known size: of a band with share a in the image (0: not used, 1: the image rests on it
alone) the part 1 - a. Both are smoothed by the transfer function, since specimens are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smartscope.result import RESIDUAL_BLOCK_PX
from smartscope_models.structured_illumination.reconstruction import Reconstruction
from smartscope_models.structured_illumination.weights import at_destination


class ErrorMap:
    """For images of one ``Reconstruction``, right after it made one."""

    def __init__(self, made: Reconstruction) -> None:
        self._made = made
        self._left = []
        for band, passed in zip(made.bands, made.forward.passed, strict=True):
            noise = band.variance * made.power.noise
            depth = passed * band.modulation
            share = at_destination(made.weights.doubt, band, made.padding.whole).to(made.device)
            kept = 1 - share * depth.square() / noise
            self._left.append(float((passed.square() * kept).mean()) * band.variance)

    def of(self, frames: Tensor) -> Tensor:
        """(frames, N, N) electrons, of which the image was made → (h, w) float32 in blocks; see ``SuperResolved``."""
        made, size, before = self._made, self._made.size, self._made.padding.before
        inside = slice(before, before + size)
        light = frames.mean(0)
        surplus = made.power.noise - float(light.mean())  # of variance over light: the camera's own noise
        total = torch.zeros((size, size), device=light.device)
        for number in range(len(made.bands)):
            passed = made.forward.passed[number]
            left = made.spectrum_of(number, frames) * passed - made.forward.band(number, made.total) * passed
            total += torch.fft.ifft2(left)[inside, inside].abs().square() / self._left[number]
        return torch.sqrt(_blocks(total / len(made.bands)) / (_blocks(light) + surplus).clamp(min=1e-3))


def _blocks(picture: Tensor) -> Tensor:
    """(N, N) → (h, w) means over blocks; those at the lower and right edge may be smaller."""
    pooled: Tensor = torch.nn.functional.avg_pool2d(picture[None], RESIDUAL_BLOCK_PX, ceil_mode=True)
    return pooled[0]

"""The frames of one stack as half-spectra, and what is simply summed from them: the light, the gains, the brightness.

A transform is linear: whatever is a sum of frames is summed here after the transform, so that each frame is
transformed once.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from smartscope.errors import InputError
from smartscope.optics.pattern_layout import Doubles, Layout
from smartscope_models.structured_illumination.field import Field
from smartscope_models.structured_illumination.power import BEYOND, Power

COARSE = 0.4
"""Share of the cut-off below which frames differ in brightness alone."""


class Spectra:
    """Of faded frames without their means; ``frames`` (frames, N, N) float32."""

    def __init__(self, layout: Layout, field: Field, frames: Tensor) -> None:
        self._layout, self._field = layout, field
        means = frames.mean((1, 2), keepdim=True)
        if not bool(torch.isfinite(means).all()):
            number = int(torch.nonzero(~torch.isfinite(means).flatten())[0])
            where = f"frame {number} of the raw stack"
            raise InputError("holds values that are no numbers", where=where, remedy="check the camera's calibration")
        pictures = (frames - means).mul_(field.fade)
        self.pictures = pictures.reshape(layout.angles, layout.phases, field.size, field.size)
        self.halves = torch.fft.rfft2(self.pictures)
        """(angles, phases, N, N / 2 + 1)"""
        self.angles = self.halves.mean(1)
        """(angles, N, N / 2 + 1) light of each direction."""
        self.mean = self.angles.mean(0)
        """(N, N / 2 + 1) band 0."""
        self.shared = 1 / (layout.phases * max(layout.angles - 1, 1))
        """Noise of the light of the other angles, over that of a frame."""

    @cached_property
    def grain(self) -> Tensor:
        """(N / 2, N / 2) power of what lies beyond the lens: noise alone, in every other place of the field."""
        size = self._field.size
        beyond = self.mean * (self._field.half_radius > BEYOND * self._field.cutoff)
        grain: Tensor = torch.fft.irfft2(beyond, s=(size, size))[::2, ::2].square()
        return grain

    def others(self, angle: int) -> Tensor:
        """(N, N / 2 + 1) light of the other angles; of the own where there is no other."""
        count = self._layout.angles
        light: Tensor = (count * self.mean - self.angles[angle]) / (count - 1) if count > 1 else self.mean
        return light

    def differences(self, angle: int, gains: Doubles) -> Tensor:
        """(phases, N, N / 2 + 1) frames minus that light: the fringes alone."""
        ratios = torch.from_numpy(self.ratios(gains)).to(self._field.device, torch.float32)[:, None, None]
        found: Tensor = self.halves[angle] - ratios * self.others(angle)
        return found

    def gains(self, angle: int, power: Power) -> Doubles:
        """(phases,) brightness of each frame over the mean of all: regression on that light where it is coarse."""
        field = self._field
        reach = int(COARSE * field.cutoff) + 1
        rows = torch.cat([torch.arange(reach), torch.arange(-reach, 0)]) % field.size
        radius = field.half_radius[rows, :reach]
        coarse = ((radius > 0) & (radius < COARSE * field.cutoff)).to(torch.float32)
        light = self.others(angle)[rows, :reach] * coarse
        energy = float(light.abs().square().sum()) - power.noise * self.shared * field.energy * float(coarse.sum())
        products = (self.halves[angle][:, rows, :reach] * light.conj()).sum((1, 2)).real
        ratios = products.cpu().numpy().astype(float) / energy
        count = self._layout.angles
        share = count / (count - 1 + float(ratios.mean())) if count > 1 else 1.0
        return np.asarray(ratios * share)

    def ratios(self, gains: Doubles) -> Doubles:
        """(phases,) brightness of the frames of one angle over the light of the others."""
        count = self._layout.angles
        return np.asarray(gains * (count - 1) / (count - gains.mean()) if count > 1 else gains)

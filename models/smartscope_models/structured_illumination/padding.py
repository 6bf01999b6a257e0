"""How the field goes on beyond its border, so that the transform's wrap-around leaves no ghosts inside it.

The specimen is mirrored, the fringes are not: a band holds the specimen times a wave, so what is mirrored is the band
with the wave taken out, and the wave is put back where the copy comes to lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

LEAST_PX = 12
"""Reach of the transfer function and of its inverse, raw pixels."""


@dataclass(frozen=True, slots=True)
class Padding:
    """From N to P raw pixels along each axis."""

    size: int
    """N"""
    before: int
    after: int

    @classmethod
    def around(cls, size: int) -> Padding:
        """At least LEAST_PX on both sides, to an even length whose transform is quick."""
        whole = next_fast_len(size + 2 * LEAST_PX, real=True)
        while whole % 2:
            whole = next_fast_len(whole + 1, real=True)
        before = (whole - size) // 2
        return cls(size, before, whole - size - before)

    @property
    def whole(self) -> int:
        """P"""
        return self.size + self.before + self.after

    def sources(self) -> Tensor:
        """(P,) index of the raw pixel that each padded one shows."""
        place = torch.arange(-self.before, self.size + self.after)
        folded = torch.where(place < 0, -1 - place, place)
        return torch.where(folded >= self.size, 2 * self.size - 1 - folded, folded)

    def places(self) -> Tensor:
        """(P,) raw pixels from the field's corner to each padded pixel's centre."""
        return torch.arange(-self.before, self.size + self.after, dtype=torch.float64) + 0.5

"""What an image says that the raw frames hold: seen through the transfer function and the depth of each band again."""

from __future__ import annotations

import torch
from torch import Tensor

from smartscope_models.structured_illumination.padding import Padding
from smartscope_models.structured_illumination.transfer import frequencies, transfer
from smartscope_models.structured_illumination.weights import Band, Weights, at_destination

LEAST_SHOWN = 0.02
"""Share of the pleasant filter, at its height 4, below which the image says nothing of a frequency."""


class Forward:
    """For images made with one set of weights; spectra are half-spectra (2P, P + 1) of the image."""

    def __init__(self, weights: Weights, bands: list[Band], padding: Padding, cutoff: float) -> None:
        whole, per_field = padding.whole, padding.size / padding.whole
        self._bands, self._whole = bands, whole
        back = torch.where(weights.shown.abs() > 4 * LEAST_SHOWN, 1 / weights.shown, 0)
        own = frequencies(whole)
        self.passed = [
            transfer((own - band.rest[0]) * per_field, (own - band.rest[1]) * per_field, cutoff, padding.size).to(
                torch.float32
            )
            for band in bands
        ]
        """(P, P) each: transfer function of a band, moved by the rest of its way."""
        self._multiply = [
            passed * band.modulation * at_destination(back, band, whole)
            for passed, band in zip(self.passed, bands, strict=True)
        ]
        self._rows = own.to(torch.int64) % (2 * whole)
        coarse = frequencies(whole, per_field)
        through = transfer(coarse[: whole // 2 + 1].abs(), coarse, cutoff, padding.size).to(torch.float32)
        self._multiply_zero = through * back[self._rows, : whole // 2 + 1]

    def zero(self, image: Tensor) -> Tensor:
        """(P, P) picture of band 0."""
        seen: Tensor = torch.fft.irfft2(
            image[self._rows, : self._whole // 2 + 1] * self._multiply_zero, s=(self._whole, self._whole)
        )
        return seen

    def band(self, number: int, image: Tensor) -> Tensor:
        """(P, P) complex spectrum of a side band, moved by the rest of its way."""
        return at_destination(image, self._bands[number], self._whole) * self._multiply[number]

    def to(self, device: torch.device) -> Forward:
        """The same, on the device of the images."""
        self.passed = [part.to(device) for part in self.passed]
        self._multiply = [part.to(device) for part in self._multiply]
        self._rows, self._multiply_zero = self._rows.to(device), self._multiply_zero.to(device)
        return self

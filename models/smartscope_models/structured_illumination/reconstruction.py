"""The live part: raw frames in, image on the twice finer grid out, in one code for processor and GPU.

Everything after calibration is linear in the frames, so that a new frame adds what it has more than the one before it.
Bands are separated and moved by the fraction of a frequency step on the raw grid, where transforms are four times
smaller; whole steps are additions at another place of the spectrum.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Layout
from smartscope_models.structured_illumination import placement
from smartscope_models.structured_illumination.forward import Forward
from smartscope_models.structured_illumination.padding import Padding
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.power import Power
from smartscope_models.structured_illumination.separation import separation
from smartscope_models.structured_illumination.weights import Band, bands_of, weights, widefield_variance


class Reconstruction:
    """For stacks of one layout and size, with fixed parameters; a new one for new parameters."""

    def __init__(
        self, layout: Layout, size: int, cutoff: float, parameters: Parameters, power: Power, device: str = "cpu"
    ) -> None:
        """cutoff: of the lens, cycles per field of ``size`` raw pixels."""
        self.layout, self.size, self.device = layout, size, torch.device(device)
        self.padding = Padding.around(size)
        self.bands = bands_of(parameters, self.padding)
        self.power = power
        self.weights = weights(self.bands, self.padding, cutoff, power, widefield_variance(parameters))
        self._zero_weight = self.weights.zero.to(self.device)
        self._band_weights = [weight.to(self.device) for weight in self.weights.bands]
        self._alone = self.weights.alone.to(self.device)
        self._waves = [_wave(band, self.padding).to(self.device) for band in self.bands]
        self._direct = [placement.direct(band.shift, self.padding.whole) for band in self.bands]
        self._mirrored = [placement.mirrored(band.shift, self.padding.whole) for band in self.bands]
        unmix = _unmixing(parameters, self.bands)
        self._unmix, self._shares = unmix.to(self.device), unmix.tolist()  # numbers at hand: no wait for a GPU
        self._cutoff = cutoff
        self._bands_of_angle = [
            [number for number, band in enumerate(self.bands) if band.angle == angle] for angle in range(layout.angles)
        ]
        self._buffers()

    def _buffers(self) -> None:
        size, whole, count = self.size, self.padding.whole, len(self.bands)

        def real(*shape: int) -> Tensor:
            return torch.empty(shape, device=self.device)

        def spectrum(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.complex64, device=self.device)

        self._separated = real(1 + 2 * count, size * size)
        self._plain = real(whole, whole)
        self._complex = spectrum(whole, whole)
        self._spectrum = spectrum(whole, whole)
        self._turned = spectrum(whole, whole)
        self._half = spectrum(whole, whole // 2 + 1)
        self._total = spectrum(2 * whole, whole + 1)
        self._total_zero = spectrum(2 * whole, whole + 1)
        self._image = real(2 * whole, 2 * whole)
        self._turn = ((-torch.arange(whole)) % whole).to(self.device)
        self._columns = (self.padding.sources() + self.padding.before).to(self.device)
        self._inside = slice(self.padding.before, self.padding.before + size)

    current = False
    """Whether ``rolling`` has an image to start from."""

    @cached_property
    def forward(self) -> Forward:
        """What images say of the raw frames."""
        return Forward(self.weights, self.bands, self.padding, self._cutoff).to(self.device)

    def full(self, frames: Tensor) -> Tensor:
        """(frames, N, N) float32 electrons, bleaching not yet evened out → (2N, 2N) view of the image's buffer."""
        self._gather(frames)
        return self._back(self._total)

    def continued(self, frames: Tensor, steps: int = 1) -> Tensor:
        """As ``full``, then again with what that image says of the border's far side in place of mirror images.

        Each step is one of expectation and maximisation, with the frames' surroundings as what is missing. The first
        takes the error of the outermost pixels nearly down to that of the others, for about twice the time.
        """
        self._gather(frames)
        for _ in range(steps):
            self._gather_again(self._total_zero.copy_(self._total))
        return self._back(self._total)

    def _gather_again(self, image: Tensor) -> None:
        """As ``_gather`` of the same frames, beyond whose border ``image``, a half-spectrum, says what there is."""
        inside = self._inside
        self._total.zero_()
        beyond = self.forward.zero(image)
        beyond[inside, inside] = self._separated[0].view(self.size, self.size)
        self._add_picture(self._total, beyond, self._zero_weight, 1.0)
        for number in range(len(self.bands)):
            beyond = torch.fft.ifft2(self.forward.band(number, image))
            self._moved(number)
            beyond[inside, inside] = self._complex[inside, inside]
            self._complex.copy_(beyond)
            self._add_band(number, 1.0)

    def _gather(self, frames: Tensor) -> None:
        """Separate, move and add all bands."""
        torch.matmul(self._unmix, frames.reshape(self.layout.frames, -1), out=self._separated)
        self._total.zero_()
        self._add_zero(self._total, self._separated[0], self._zero_weight, 1.0)
        for number in range(len(self.bands)):
            self._moved(number)
            self._add_band(number, 1.0)
        self.current = True

    def rolling(self, number: int, change: Tensor) -> Tensor:
        """The image once frame ``number`` of the stack has changed by ``change`` (N, N), after ``full`` of the rest.

        One direction's bands are transformed instead of all, and one picture instead of three.
        """
        share = [row[number] for row in self._shares]
        self._add_zero(self._total, change.reshape(-1), self._zero_weight, share[0])
        self._extended(self._plain, change.reshape(-1))
        for band in self._bands_of_angle[number // self.layout.phases]:
            torch.mul(self._plain, self._waves[band], out=self._complex)
            self._add_band(band, complex(share[1 + 2 * band], share[2 + 2 * band]))
        return self._back(self._total)

    def widefield(self, frames: Tensor) -> Tensor:
        """Band 0 alone on the same grid, filtered by its own signal and noise: what is shown where fringes fail."""
        torch.matmul(self._unmix[:1], frames.reshape(self.layout.frames, -1), out=self._separated[:1])
        self._total_zero.zero_()
        self._add_zero(self._total_zero, self._separated[0], self._alone, 1.0)
        return self._back(self._total_zero)

    def spectrum_of(self, number: int, frames: Tensor) -> Tensor:
        """(P, P) complex64, view of a buffer: what ``frames`` hold of a band, moved by the rest of its way."""
        torch.matmul(self._unmix, frames.reshape(self.layout.frames, -1), out=self._separated)
        self._moved(number)
        torch.fft.fft2(self._complex, out=self._spectrum)
        return self._spectrum

    @property
    def total(self) -> Tensor:
        """(2P, P + 1) complex64, half-spectrum of the image that ``full`` or ``rolling`` made last."""
        return self._total

    def _moved(self, number: int) -> None:
        """The padded picture of a band that was separated, moved by the rest of its way, into ``_complex``."""
        self._extended(self._complex.real, self._separated[1 + 2 * number])
        self._extended(self._complex.imag, self._separated[2 + 2 * number])
        self._complex.mul_(self._waves[number])

    def _add_zero(self, total: Tensor, flat: Tensor, weight: Tensor, share: float) -> None:
        self._extended(self._plain, flat)
        self._add_picture(total, self._plain, weight, share)

    def _add_picture(self, total: Tensor, picture: Tensor, weight: Tensor, share: float) -> None:
        whole = self.padding.whole
        torch.fft.rfft2(picture, out=self._half)
        self._half.mul_(weight)
        upper, columns = whole // 2, whole // 2 + 1
        total[:upper, :columns].add_(self._half[:upper], alpha=share)
        total[-(whole - upper) :, :columns].add_(self._half[upper:], alpha=share)

    def _add_band(self, number: int, share: complex) -> None:
        """Transform, weigh and add ``share`` of the band whose padded picture, moved, lies in ``_complex``."""
        torch.fft.fft2(self._complex, out=self._spectrum)
        self._spectrum.mul_(self._band_weights[number])
        for part in self._direct[number]:
            source = self._spectrum[slice(*part.from_rows), slice(*part.from_columns)]
            self._total[slice(*part.rows), slice(*part.columns)].add_(source, alpha=share)
        torch.index_select(self._spectrum, 0, self._turn, out=self._complex)
        torch.index_select(self._complex, 1, self._turn, out=self._turned)
        turned = self._turned.conj()
        for part in self._mirrored[number]:
            source = turned[slice(*part.from_rows), slice(*part.from_columns)]
            self._total[slice(*part.rows), slice(*part.columns)].add_(source, alpha=share.conjugate())

    def _extended(self, target: Tensor, flat: Tensor) -> None:
        """Fill ``target`` (P, P) with (N·N,) and its mirror images."""
        inside, columns, before, size = self._inside, self._columns, self.padding.before, self.size
        target[inside, inside] = flat.view(size, size)
        after = before + size
        target[inside, :before] = target[inside].index_select(1, columns[:before])
        target[inside, after:] = target[inside].index_select(1, columns[after:])
        target[:before] = target.index_select(0, columns[:before])
        target[after:] = target.index_select(0, columns[after:])

    def _back(self, total: Tensor) -> Tensor:
        torch.fft.irfft2(total, s=self._image.shape, out=self._image)
        first = 2 * self.padding.before
        image: Tensor = self._image[first : first + 2 * self.size, first : first + 2 * self.size]
        return image


def _unmixing(parameters: Parameters, found: list[Band]) -> Tensor:
    """(1 + 2 bands, frames) float32: band 0, then real and imaginary part of each band; evens out the frames' gains."""
    angles, phases = parameters.gains.shape
    rows = np.zeros((1 + 2 * len(found), angles * phases))
    for number, band in enumerate(found):
        unmix = separation(parameters.phases_rad[band.angle]) / parameters.gains[band.angle]
        own = slice(band.angle * phases, (band.angle + 1) * phases)
        rows[0, own] = unmix[0].real / angles
        rows[1 + 2 * number, own] = unmix[1 + band.order].real
        rows[2 + 2 * number, own] = band.sign * unmix[1 + band.order].imag
    return torch.from_numpy(rows.astype(np.float32))


def _wave(band: Band, padding: Padding) -> Tensor:
    """(P, P) complex64: moves a band by the rest of its shift, and sets mirrored places right (see ``padding``)."""

    def along(axis: int) -> Tensor:
        place, number = padding.places(), torch.arange(padding.whole, dtype=torch.float64)
        seen = padding.sources().to(torch.float64) + 0.5
        cycles = band.rest[axis] * number / padding.whole + band.whole[axis] * place[0] / padding.size
        cycles = cycles - band.whole[axis] * (place - seen) / padding.size
        return torch.exp(2j * torch.pi * cycles)

    return (along(1)[:, None] * along(0)[None, :]).to(torch.complex64)

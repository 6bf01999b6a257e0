"""An image from one frame of each direction, a third of the light of a stack, for looking while fringes are known.

Without the other phases the bands cannot be separated. They are not guessed either: of all specimens that explain the
frames under the fringes of an earlier stack, this is the most likely one for a specimen of that stack's power spectrum
(regularised least squares, solved by conjugate gradients). It is marked as a preview wherever it goes: what bands leave
in each other's place repeats under the same fringes, so that no resolution may be read off it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Layout
from smartscope_models.structured_illumination.padding import Padding
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.power import Power
from smartscope_models.structured_illumination.transfer import frequencies, transfer
from smartscope_models.structured_illumination.views import Information
from smartscope_models.structured_illumination.weights import bands_of

if TYPE_CHECKING:
    from smartscope_models.structured_illumination.low_light import LowLight

STEPS = 12
"""Of conjugate gradients; more change nothing that can be seen."""
PACKAGE = "structured_illumination_preview"
NOTHING = 1e-9
"""Of the first residual, below which there is no more to find."""
SIDE_BAND = 4.0
"""Variance of a side band of modulation m whose amplitude is m / 2, over that of the frame that holds it."""


@dataclass(frozen=True, slots=True)
class PreviewImage:
    """What is less than a reconstruction, and says so."""

    image: npt.NDArray[np.float32]
    """(2N, 2N) electrons per raw pixel and frame."""
    network: str
    """Name of the package that quietened it; empty without."""
    preview: Literal[True] = True


class Preview:
    """For frames of one size under fixed fringes."""

    def __init__(
        self,
        layout: Layout,
        size: int,
        cutoff: float,
        parameters: Parameters,
        power: Power,
        phase: int = 0,
        device: str = "cpu",
    ) -> None:
        """Arguments as of ``Reconstruction``, from an earlier stack; ``phase``: which frame of each direction."""
        self._padding = padding = Padding.around(size)
        bands = [replace(band, variance=SIDE_BAND) for band in bands_of(parameters, padding)]
        self.known = Information.of(bands, padding, cutoff, power, 1 / layout.angles)
        self.device = torch.device(device)
        self._gains = torch.from_numpy(parameters.gains[:, phase]).to(self.device, torch.float32)[:, None, None]
        self._light = torch.stack([_light(parameters, padding, angle, phase) for angle in range(layout.angles)])
        self._light = self._light.to(self.device)
        self._passed = _to_pixels(padding, cutoff).to(self.device)
        self._rows = (frequencies(padding.whole).to(torch.int64) % (2 * padding.whole)).to(self.device)
        self._noise = power.noise
        self._prior = (1 / self.known.specimen).to(self.device, torch.float32)
        self._start = (1 / (self.known.total + 1 / self.known.specimen)).to(self.device, torch.float32)
        self._shown = self.known.passed.to(self.device, torch.float32)
        twice = torch.full((padding.whole + 1,), 2.0, device=self.device)
        twice[0] = twice[-1] = 1.0
        self._twice = twice

    def run(self, frames: Tensor, network: LowLight | None = None) -> PreviewImage:
        """``image`` of the frames, by a network if one is given; it must ``expect_information`` of ``known``."""
        linear = self.image(frames)
        if network is None:
            return PreviewImage(linear.cpu().numpy().copy(), "")
        return PreviewImage(network.apply(linear), network.package.manifest.name)

    def image(self, frames: Tensor) -> Tensor:
        """(angles, N, N) float32 electrons, a frame of each direction → (2N, 2N) electrons per raw pixel and frame."""
        even = frames.to(self.device) / self._gains
        level = even.mean()
        flat = torch.fft.rfft2(level * torch.ones_like(self._light[0]))
        residual = self._back(even - self._seen(flat))
        found = torch.zeros_like(residual)
        ahead, last, first_strength = torch.zeros_like(residual), 1.0, 0.0
        for _ in range(STEPS):
            eased = residual * self._start
            strength = self._inner(residual, eased)
            first_strength = max(first_strength, strength)
            if strength <= NOTHING * first_strength:
                break
            ahead = eased + ahead * (strength / last)
            moved = self._back(self._seen(ahead)) + self._prior * ahead
            step = strength / self._inner(ahead, moved)
            found, residual, last = found + step * ahead, residual - step * moved, strength
        first = 2 * self._padding.before
        inside = slice(first, first + 2 * self._padding.size)
        image: Tensor = torch.fft.irfft2(found * self._shown, s=self._light.shape[1:])[inside, inside] + level
        return image

    def _seen(self, spectrum: Tensor) -> Tensor:
        """(2P, P + 1) half-spectrum of a specimen → (angles, N, N) what the camera sees of it."""
        half, whole, before = self._padding.whole // 2 + 1, self._padding.whole, self._padding.before
        lit = torch.fft.rfft2(torch.fft.irfft2(spectrum, s=self._light.shape[1:]) * self._light)
        raw = torch.fft.irfft2(lit[:, self._rows, :half] * self._passed / 4, s=(whole, whole))
        inside = slice(before, before + self._padding.size)
        found: Tensor = raw[:, inside, inside]
        return found

    def _back(self, frames: Tensor) -> Tensor:
        """The adjoint, times 4 over the noise."""
        padding, half = self._padding, self._padding.whole // 2 + 1
        wide = torch.nn.functional.pad(frames, (padding.before, padding.after, padding.before, padding.after))
        spread = torch.zeros((len(frames), *self._prior.shape), dtype=torch.complex64, device=self.device)
        spread[:, self._rows, :half] = torch.fft.rfft2(wide) * self._passed.conj()
        lit = (torch.fft.irfft2(spread, s=self._light.shape[1:]) * self._light).sum(0)
        found: Tensor = torch.fft.rfft2(lit) * (4 / self._noise)
        return found

    def _inner(self, one: Tensor, two: Tensor) -> float:
        return float(((one.conj() * two).real * self._twice).sum(dtype=torch.float64))


def _light(parameters: Parameters, padding: Padding, angle: int, phase: int) -> Tensor:
    """(2P, 2P) float32 fringes on the fine grid, mean 1."""
    fine = 2 * padding.whole
    place = ((torch.arange(fine, dtype=torch.float64) + 0.5) / 2 - padding.before) / padding.size
    light = torch.ones(fine, fine, dtype=torch.float64)
    for (kx, ky), shift, depth in zip(
        parameters.carriers[angle], parameters.phases_rad[angle, phase], parameters.modulation[angle], strict=True
    ):
        wave = 2 * torch.pi * (float(kx) * place[None, :] + float(ky) * place[:, None]) + float(shift)
        light += float(depth) * torch.cos(wave)
    return light.to(torch.float32)


def _to_pixels(padding: Padding, cutoff: float) -> Tensor:
    """(P, P / 2 + 1) complex64: lens and pixel, and the quarter pixel between the grids' centres."""
    per_field = padding.size / padding.whole
    fx, fy = frequencies(padding.whole)[: padding.whole // 2 + 1].abs(), frequencies(padding.whole)
    passed = transfer(fx * per_field, fy * per_field, cutoff, padding.size)
    quarter = torch.exp(0.5j * torch.pi / padding.whole * (fx[None, :] + fy[:, None]))
    return (passed * quarter).to(torch.complex64)

"""What band 0 and a side band have in common: the exact carrier, the phase of each frame and the depth come from it.

Each passed through the other's transfer function, they are the same picture. Their product is then positive everywhere
but for the wave between them: its slope is the carrier's error, its phase the frame's, its size the depth. Both lie
around half a carrier from the centre of band 0, in a quarter of the spectrum, so that all is done on a grid of half
the size. Filters come before the window: a window that is applied first turns its own slope into an error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Doubles
from smartscope_models.structured_illumination.field import Field
from smartscope_models.structured_illumination.power import Power
from smartscope_models.structured_illumination.transfer import lens

NEWTON_STEPS = 6
LOWEST = 3.0
"""Frequencies below are left out: there the mean light, which the fading modulates, outshines the specimen."""
LEAST_PASSED = 0.06
"""Of a transfer function below which a band is left out: what it passes there would drown in its noise."""


class Overlap:
    """Of band 0 and all frames of one angle at one carrier."""

    def __init__(
        self,
        field: Field,
        mean: Tensor,
        fringes: Tensor,
        carrier: Doubles,
        power: Power,
        variances: tuple[float, float],
        grain: Tensor,
    ) -> None:
        """mean (N, N/2+1) half-spectrum of band 0; fringes (phases, N, N/2+1) of frames without it.

        carrier (x, y): to about half a step. variances: noise of band 0 and of the side band, over a frame's.
        grain (N/2, N/2): power of what is noise alone, in every other place.
        """
        self._field, self._power = field, power
        self._whole = np.rint(carrier).astype(int)
        self._count = field.size // 2
        rest = carrier - self._whole
        start = np.rint(-carrier / 2).astype(int) - self._count // 2
        noise_mean, noise_band = (power.noise * variance for variance in variances)
        one_by, two_by = _filters(field, self._count, start, carrier, rest, power, (noise_mean, noise_band))
        one = torch.fft.ifft2(cut(mean, start, self._count) * one_by)
        two = torch.fft.ifft2(cut(fringes, start + self._whole, self._count) * two_by)
        seen = field.inside[::2, ::2]
        self._product = one.conj() * two * seen
        light = seen * one.abs().square()
        energy = float(light.sum())
        # noise of a picture from a crop of the spectrum: each of the N² modes holds density times N²
        scale = field.size**2 / self._count**4
        self._clean = energy - noise_mean * scale * float(one_by.square().sum()) * float(seen.sum())
        self._place = field.place[::2] - 0.5
        # bright places are noisier, and there the light is
        here = float((light * grain).sum() / energy / ((seen * grain).sum() / seen.sum()))
        modes = float((cut(mean, start, self._count).abs() * one_by * two_by).square().sum())
        noise = here * scale * power.noise * modes * float(seen.mean())
        self.variance = noise / max(self._clean, 1e-30) ** 2
        """Of an amplitude, for frames of one raw frame's noise."""

    def refined(self, row: npt.NDArray[np.complex128]) -> Doubles:
        """The carrier (x, y) of the side band that the frames give by ``row`` (phases,); Newton's method."""
        weights = torch.from_numpy(row).to(self._product.device, torch.complex64)
        product = torch.tensordot(weights, self._product, 1)
        step = np.zeros(2)
        for _ in range(NEWTON_STEPS):
            step = step + _newton(product, self._place, step)
        return self._whole + np.clip(step, -1.5, 1.5)

    def amplitudes(self, carrier: Doubles) -> npt.NDArray[np.complex128]:
        """(phases,) of e^{2πi k·r} in each frame, r from the field's outer corner."""
        rest = carrier - self._whole
        x, y = (torch.exp(-2j * torch.pi * float(part) * self._place).to(torch.complex64) for part in rest)
        sums = ((self._product @ x) @ y).cpu().numpy().astype(complex) / self._clean
        turn = np.sum(rest) / 2 + np.sum(self._whole) / 2 / self._field.size
        return np.asarray(sums * np.exp(-2j * np.pi * turn))


def cut(half: Tensor, start: npt.NDArray[np.int_], count: int) -> Tensor:
    """(..., count, count) of a spectrum from frequencies ``start`` (x, y) on, out of its half (..., N, N / 2 + 1)."""
    size = half.shape[-2]
    rows, columns = (np.arange(first, first + count) for first in start[::-1])
    below = int(np.count_nonzero(columns < 0))
    found = half.new_empty((*half.shape[:-2], count, count))
    if below < count:
        right = half[..., columns[below] : columns[-1] + 1]
        found[..., below:] = right.index_select(-2, torch.from_numpy(rows % size).to(half.device))
    if below:
        left = half[..., -columns[below - 1] : -columns[0] + 1].flip(-1)
        found[..., :below] = left.index_select(-2, torch.from_numpy(-rows % size).to(half.device)).conj()
    return found


def _filters(
    field: Field,
    count: int,
    start: npt.NDArray[np.int_],
    carrier: Doubles,
    rest: Doubles,
    power: Power,
    noises: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """(count, count) for band 0 and for the frames, whose places are ``rest`` off those in band 0."""

    def passed(x: Tensor, y: Tensor) -> Tensor:
        radius = torch.hypot(x[None, :], y[:, None])
        return lens(radius, field.cutoff) * torch.sinc(x / field.size)[None, :] * torch.sinc(y / field.size)[:, None]

    number = torch.arange(count, dtype=torch.float32, device=field.device)
    answers: list[Tensor] = []
    for moved in (np.zeros(2), rest):
        x, y = (number + float(first - by) for first, by in zip(start, moved, strict=True))
        here, there = passed(x, y), passed(x + float(carrier[0]), y + float(carrier[1]))
        radius = torch.hypot(x[None, :], y[:, None])
        far = torch.hypot(x[None, :] + float(carrier[0]), y[:, None] + float(carrier[1]))
        specimen = power.specimen(radius)
        mean, band = noises
        weight = 1 / (mean * there**2 + band * here**2 + mean * band / specimen + 1e-30)
        both = (radius > LOWEST) & (far > LOWEST) & (here > LEAST_PASSED) & (there > LEAST_PASSED)
        root = torch.sqrt(torch.where(both, weight, 0.0))
        answers.append(root * (here if len(answers) else there))
    return answers[0], answers[1]


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

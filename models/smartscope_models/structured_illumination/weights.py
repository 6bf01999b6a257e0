"""How the bands are joined: each by its own signal and noise, so that no frequency is taken from where it is buried.

Generalised Wiener filter (Gustafsson, J. Microsc. 198:82 (2000)) with the true noise of each band after separation,
and the specimen's own fall of power in place of a constant: with both, little light costs resolution, not fidelity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smartscope_models.resolution import LEVEL
from smartscope_models.structured_illumination.padding import Padding
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.power import Power
from smartscope_models.structured_illumination.separation import separation
from smartscope_models.structured_illumination.transfer import frequencies, lens, transfer


@dataclass(frozen=True, slots=True)
class Band:
    """One complex band of a pair, that whose destination lies at kx >= 0; in cycles per padded field."""

    angle: int
    order: int
    sign: int
    """1: the band itself; -1: its conjugate."""
    shift: tuple[int, int]
    """Whole part (x, y) of its way to where it belongs."""
    rest: tuple[float, float]
    """What is left of it."""
    whole: tuple[float, float]
    """Both together in cycles per raw field."""
    modulation: float
    variance: float
    """Of the separated band, over that of a raw frame."""


def bands_of(parameters: Parameters, padding: Padding) -> list[Band]:
    """All carriers; the pair's other half follows from the image being real."""
    stretch, found = padding.whole / padding.size, []
    for angle, carriers in enumerate(parameters.carriers):
        unmix = separation(parameters.phases_rad[angle])
        for order, carrier in enumerate(carriers):
            sign = 1 if (-carrier[0], -carrier[1]) >= (0.0, 0.0) else -1
            way = -sign * carrier
            shift = np.rint(way * stretch).astype(int)
            rest = way * stretch - shift
            variance = float((np.abs(unmix[1 + order]) ** 2).sum())
            found.append(
                Band(
                    angle,
                    order,
                    sign,
                    (int(shift[0]), int(shift[1])),
                    (float(rest[0]), float(rest[1])),
                    (float(way[0]), float(way[1])),
                    float(parameters.modulation[angle, order]),
                    variance,
                )
            )
    return found


def widefield_variance(parameters: Parameters) -> float:
    """Of band 0, mean over angles, over that of a raw frame."""
    rows = [separation(phases)[0] for phases in parameters.phases_rad]
    return float(np.mean([(np.abs(row) ** 2).sum() for row in rows])) / len(rows)


@dataclass(frozen=True, slots=True)
class Weights:
    """What each band's spectrum is multiplied by before it is put in its place."""

    zero: Tensor
    """(P, P / 2 + 1) complex64, half-spectrum of band 0."""
    bands: list[Tensor]
    """Each (P, P) complex64, in the order of a transform."""
    alone: Tensor
    """Like ``zero``, for an image of band 0 alone."""
    doubt: Tensor
    """(2P, P + 1) float32, variance of the specimen's spectrum once all bands are known."""
    shown: Tensor
    """(2P, P + 1) complex64, what the filter that makes the image pleasant multiplied the specimen's spectrum by."""
    resolution_px: float
    """Period, in raw pixels, at which the ring correlation of two such images is expected to fall to 1/7."""
    widefield_resolution_px: float
    """The same of the mean of the raw frames."""
    fine_detail: float
    """Mean of the expected ring correlation beyond what widefield reaches, 0 to 1: grows steadily with the light."""


def weights(found: list[Band], padding: Padding, cutoff: float, power: Power, variance_zero: float) -> Weights:
    """For a 2P x 2P image; ``variance_zero``: of band 0, over that of a raw frame."""
    size, whole = padding.size, padding.whole
    per_field = size / whole
    fx, fy = frequencies(2 * whole, per_field)[: whole + 1].abs(), frequencies(2 * whole, per_field)
    radius = torch.hypot(fx[None, :], fy[:, None])
    noise_zero = variance_zero * power.noise
    total = transfer(fx, fy, cutoff, size).square() / noise_zero
    for band in found:
        for way in (1, -1):
            moved = transfer(fx - way * band.whole[0], fy - way * band.whole[1], cutoff, size)
            total += (band.modulation * moved).square() / (band.variance * power.noise)
    reach = cutoff + max(float(np.hypot(*band.whole)) for band in found)
    specimen = power.specimen(radius)
    doubt, pleasant = 1 / (total + 1 / specimen), lens(radius, reach)
    wiener = pleasant * doubt
    quarter = torch.exp(-0.5j * torch.pi / whole * (fx[None, :] + fy[:, None]) / per_field)
    after = (4 * wiener * quarter).to(torch.complex128)
    curve = _correlation(radius, (wiener * total).square() * specimen, wiener.square() * total)
    plain = transfer(fx, fy, cutoff, size).square()
    of_zero = padding, cutoff, noise_zero
    return Weights(
        _zero(after, *of_zero),
        [_placed(after, band, padding, cutoff, power.noise) for band in found],
        _zero(
            (4 * quarter * lens(radius, cutoff) / (plain / noise_zero + 1 / specimen)).to(torch.complex128), *of_zero
        ),
        doubt.to(torch.float32),
        (4 * pleasant * quarter).to(torch.complex64),
        size / _falls_at(curve),
        size / _falls_at(_correlation(radius, plain * specimen, torch.full_like(plain, noise_zero))),
        float(curve[math.ceil(cutoff) : math.floor(reach)].mean()),
    )


def _correlation(radius: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
    """Expected Fourier ring correlation of two images, from ring 0 on: signal / (signal + noise), summed over rings."""
    rings = torch.round(radius).to(torch.int64).flatten()
    shown, hidden = (torch.bincount(rings, values.flatten()) for values in (signal, noise))
    return shown / torch.clamp(shown + hidden, min=1e-300)


def _falls_at(curve: Tensor) -> float:
    """Radius at which a ring correlation falls to 1/7."""
    low = torch.nonzero(curve[1:] < LEVEL).flatten()
    return float(low[0]) + 1 if len(low) else float(len(curve))


def _zero(after: Tensor, padding: Padding, cutoff: float, noise: float) -> Tensor:
    """Rows of the fine spectrum that the coarse one reaches."""
    whole, per_field = padding.whole, padding.size / padding.whole
    rows = frequencies(whole).to(torch.int64) % (2 * whole)
    passed = transfer(
        frequencies(whole, per_field)[: whole // 2 + 1].abs(), frequencies(whole, per_field), cutoff, padding.size
    )
    return (after[rows, : whole // 2 + 1] * passed / noise).to(torch.complex64)


def at_destination(half: Tensor, band: Band, whole: int) -> Tensor:
    """(P, P) values of a half-spectrum (2P, P + 1) of a real image where the band's own frequencies come to lie."""
    own = frequencies(whole).to(torch.int64).to(half.device)
    kx, ky = own + band.shift[0], own + band.shift[1]
    mirrored = kx < 0
    rows = torch.where(mirrored[None, :], -ky[:, None], ky[:, None]) % (2 * whole)
    there = half[rows, kx.abs()[None, :].expand_as(rows)]
    return torch.where(mirrored[None, :], there.conj(), there)


def _placed(after: Tensor, band: Band, padding: Padding, cutoff: float, noise: float) -> Tensor:
    """The post-filter at the band's destination times its own transfer function."""
    whole, per_field = padding.whole, padding.size / padding.whole
    own = frequencies(whole)
    passed = transfer((own - band.rest[0]) * per_field, (own - band.rest[1]) * per_field, cutoff, padding.size)
    there = at_destination(after, band, whole)
    return (there * passed * band.modulation / (band.variance * noise)).to(torch.complex64)

"""From scenes to batches for training: light level, background, camera and its noise, all drawn at random.

Every scene is exposed twice with independent noise: the product of the two errors measures the bias of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartscope_models.training.network import stabilise


@dataclass(frozen=True, slots=True)
class Levels:
    """Ranges from which a training exposure is drawn."""

    peak_e: tuple[float, float] = (2.0, 500.0)
    """Photo-electrons at the brightest places, log-uniform."""
    background_e: tuple[float, float] = (0.3, 60.0)
    background_share: tuple[float, float] = (0.01, 0.5)
    """Background in terms of the peak; the larger of the two draws holds, up to the largest background_e."""
    read_noise_e: tuple[float, float] = (0.3, 3.0)
    emccd_share: float = 0.2
    quantised_share: float = 0.25
    """Of eight-bit detectors with steps as coarse as their noise."""
    misjudged_share: float = 0.3
    """Of exposures whose noise is told wrongly, as an estimate from a movie would."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Two exposures of B scenes: the first B, then the second B of the same."""

    stable: Tensor
    """(2B, T, H, W) as the network will see it."""
    nominal: Tensor
    """(2B, 3)"""
    truth_e: Tensor
    """(2B, 1, H, W) expected electrons / F² of the newest frame."""
    variance_e2: Tensor
    """(2B, 1, H, W) of the noise about it."""
    backward_e: Tensor
    """(2B, 1, H, W) what a frame of delay would add to the newest, to second order in time; zero for single frames."""


class Bank:
    """Scenes in memory, from which crops are cut."""

    def __init__(self, scenes: npt.NDArray[np.float16]) -> None:
        """scenes (N, FRAMES, S, S), brightest about 1; empty ones are zero."""
        self._scenes = scenes

    def crops(self, count: int, frames: int, edge: int, rng: np.random.Generator) -> Tensor:
        """(count, frames, edge, edge) float32, turned and mirrored at random; a third are two scenes in one."""
        cut = np.stack([self._crop(frames, edge, rng) for _ in range(count)])
        return torch.from_numpy(cut)

    def _crop(self, frames: int, edge: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        one = self._piece(frames, edge, rng)
        if one.max() > 0 and rng.random() < 0.33:
            one = one + np.float32(rng.uniform(0.05, 1.0)) * self._piece(frames, edge, rng)
        if rng.random() < 0.3:
            one = one ** np.float32(np.exp(rng.uniform(-0.3, 0.5)))
        return one

    def _piece(self, frames: int, edge: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        scene = self._scenes[rng.integers(len(self._scenes))]
        top, left = rng.integers(0, scene.shape[-1] - edge + 1, 2)
        piece = scene[-frames:, top : top + edge, left : left + edge].astype(np.float32)
        piece = np.rot90(piece, int(rng.integers(4)), axes=(1, 2))
        return np.ascontiguousarray(piece[:, :, ::-1] if rng.random() < 0.5 else piece)


def expose(scenes: Tensor, levels: Levels, rng: np.random.Generator, noise: torch.Generator) -> Batch:
    """Two noisy exposures of each of scenes (B, T, H, W)."""
    number, size = len(scenes), scenes.shape[-1]

    def column(values: npt.ArrayLike) -> Tensor:
        return torch.tensor(np.asarray(values, np.float32)).reshape(-1, 1, 1, 1)

    def spread(low_high: tuple[float, float]) -> npt.NDArray[np.float64]:
        low, high = low_high
        return np.asarray(np.exp(rng.uniform(np.log(low), np.log(high), number)))

    peak = spread(levels.peak_e)
    floor = np.maximum(spread(levels.background_e) * 0.2, peak * spread(levels.background_share))
    floor = np.clip(floor, levels.background_e[0], levels.background_e[1])
    light = (scenes * column(peak) + column(floor)) * _illumination(number, size, rng)
    kind = rng.random(number)
    excess = np.where(kind < levels.emccd_share, 2.0, 1.0)
    eight_bit = (kind >= levels.emccd_share) & (kind < levels.emccd_share + levels.quantised_share)
    read = np.where(excess > 1, rng.uniform(0.05, 0.6, number), spread(levels.read_noise_e))
    read = np.where(eight_bit, rng.uniform(0.0, 1.0, number), read)
    step_e = np.where(eight_bit, (peak + floor) / rng.uniform(40, 250, number), rng.uniform(0.1, 0.7, number))
    step_e = np.minimum(step_e, 3 * np.sqrt(floor + read**2 + 0.3))
    light, excess_, step = (torch.cat([x, x]) for x in (light, column(excess), column(step_e)))
    read_map = torch.cat([_read_map(column(read), size, rng, noise)] * 2)
    counts = torch.poisson(light, generator=noise)
    multiplied = torch.cat([torch.tensor(excess > 1)] * 2)
    gamma = torch._standard_gamma(counts[multiplied].clamp(min=1e-6), generator=noise)
    counts[multiplied] = torch.where(counts[multiplied] > 0, gamma, 0.0)
    counts = counts + read_map * torch.randn(counts.shape, generator=noise)
    counts = torch.round(counts / step)
    clipped = column(np.where(eight_bit, 0.0, -100.0))
    counts = torch.maximum(counts, torch.cat([clipped, clipped]))
    error = np.exp(np.where(rng.random(number) < levels.misjudged_share, rng.normal(0, 0.1, number), 0.0))
    told = torch.cat([column(error)] * 2)
    variance = (read_map**2 + step**2 / 12) / excess_**2
    usual = (torch.cat([column(read)] * 2) ** 2 + step**2 / 12) / excess_**2
    calibration = torch.cat(
        [torch.zeros_like(variance), (told * step / excess_).expand_as(variance), told**2 * variance], dim=1
    )
    nominal = torch.cat([torch.zeros(2 * number, 2), (told**2 * usual).reshape(-1, 1)], dim=1)
    nominal[:, 1] = 1 / told.reshape(-1)
    truth = light[:, -1:] / excess_
    stable = stabilise(counts, calibration, nominal)
    return Batch(stable, nominal, truth, truth + usual, _backward(light) / excess_)


def _backward(light: Tensor) -> Tensor:
    """(2B, T, H, W) → (2B, 1, H, W) minus the rate of change per frame, by three-point backward differences."""
    if light.shape[1] < 3:
        return torch.zeros_like(light[:, -1:])
    oldest, before, newest = light[:, -3:-2], light[:, -2:-1], light[:, -1:]
    return 2 * before - 1.5 * newest - 0.5 * oldest


def _illumination(number: int, size: int, rng: np.random.Generator) -> Tensor:
    """(B, 1, H, W): brightness that changes slowly over the field, by up to a third."""
    axis = np.linspace(-1, 1, size)
    slope, bow = rng.uniform(-0.2, 0.2, (2, number, 1, 1)), rng.uniform(-0.15, 0.0, (number, 1, 1))
    field = 1 + slope[0] * axis[:, None] + slope[1] * axis + bow * (axis[:, None] ** 2 + axis**2)
    return torch.from_numpy(field.astype(np.float32))[:, None]


def _read_map(read_e: Tensor, size: int, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """(B, 1, H, W) read noise, electrons: log-normal, one pixel in a thousand 4 to 15 times noisier."""
    field = torch.exp(0.25 * torch.randn(len(read_e), 1, size, size, generator=noise))
    hot = torch.rand(field.shape, generator=noise) < 1e-3
    factor = torch.where(hot, 4 + 11 * torch.rand(field.shape, generator=noise), 1.0)
    mapped = torch.tensor(rng.random(len(read_e)) < 0.5).reshape(-1, 1, 1, 1)
    return read_e * torch.where(mapped, field * factor, 1.0)

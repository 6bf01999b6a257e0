"""From scenes to batches for training: light level, background, camera and its noise, all drawn at random.

Every scene is exposed twice with independent noise: the product of the two errors measures the bias of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartscope_models.training.cameras import Cameras, Detectors, draw_cameras
from smartscope_models.training.network import stabilise
from smartscope_models.training.structures import Doubles


@dataclass(frozen=True, slots=True)
class Levels:
    """Ranges from which a training exposure is drawn."""

    peak_e: tuple[float, float] = (2.0, 500.0)
    """Photo-electrons at the brightest places, log-uniform."""
    background_e: tuple[float, float] = (0.3, 60.0)
    background_share: tuple[float, float] = (0.01, 0.5)
    """Background in terms of the peak; the larger of the two draws holds, up to the largest background_e."""
    detectors: Detectors = field(default_factory=Detectors)


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
    peak_e, floor_e = _lights(number, levels, rng)
    cameras = draw_cameras(levels.detectors, peak_e + floor_e, floor_e, rng)
    light = (scenes * _column(peak_e) + _column(floor_e)) * _illumination(number, size, rng)
    read_map = torch.cat([cameras.read_map(size, noise)] * 2)
    light, cameras = torch.cat([light, light]), cameras.twice()
    counts = cameras.counts(light, read_map, noise)
    calibration, nominal = _calibration(cameras, read_map)
    seen = cameras.smeared(light) / cameras.noise_factor
    variance = seen[:, -1:] + (nominal[:, 2].reshape(-1, 1, 1, 1) / cameras.told**2)
    return Batch(stabilise(counts, calibration, nominal), nominal, seen[:, -1:], variance, _backward(seen))


def _lights(number: int, levels: Levels, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Electrons at the brightest places above the background, and in the background; both (B,)."""

    def spread(low_high: tuple[float, float]) -> Doubles:
        low, high = np.log(low_high)
        return np.asarray(np.exp(rng.uniform(low, high, number)))

    peak = spread(levels.peak_e)
    floor = np.maximum(spread(levels.background_e) * 0.2, peak * spread(levels.background_share))
    return peak, np.clip(floor, *levels.background_e)


def _calibration(cameras: Cameras, read_map: Tensor) -> tuple[Tensor, Tensor]:
    """What the network is told of the cameras: (2B, 3, H, W) of each pixel and (2B, 3) of the usual one."""

    def variance(read_e: Tensor) -> Tensor:
        return cameras.told**2 * (read_e**2 + cameras.step_e**2 / 12) / cameras.noise_factor**2

    own = variance(read_map)
    per_count = cameras.told * cameras.step_e / cameras.noise_factor
    calibration = torch.cat([torch.zeros_like(own), per_count.expand_as(own), own], dim=1)
    usual = torch.stack([torch.zeros_like(cameras.told), 1 / cameras.told, variance(cameras.read_e)])
    return calibration, usual.flatten(1).T


def _column(values: Doubles) -> Tensor:
    return torch.tensor(values.astype(np.float32)).reshape(-1, 1, 1, 1)


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

"""Clips as the network sees them: noise of variance 1, and which pixels may be learnt from or judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from smartscope_models.calibration import SensorCalibration
from smartscope_models.denoise.network import network_calibration, nominal_values
from smartscope_models.training.network import stabilise
from smartscope_models.tuning.clips import Clip
from smartscope_models.tuning.movement import REST, Velocity, displaced, draw_velocity, reach_px

LARGEST_PX = 512
"""Of a larger field a part is taken, another one in each clip."""
BLOCK_PX = 32
"""Side of the blocks in which frames are examined and held out."""
JUDGED_SHARE, CHOOSING_SHARE = 0.25, 0.15
"""Of the blocks: on these the result is judged, and the number of steps is chosen; from the rest it is learnt."""
LEARNT, CHOOSING, JUDGED = 0.0, 1.0, 2.0
NOISY = 4.0
"""Read variance over the sensor's, from which a pixel's neighbours stand in for it; see ``stabilise``."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One input of the network, and the frame before and the frame after it, which it does not see."""

    before: Tensor
    seen: Tensor
    """(1, T, h, w), the newest last."""
    after: Tensor

    @property
    def newest(self) -> Tensor:
        """(1, 1, h, w) of which the noise is wanted."""
        return self.seen[:, -1:]

    @property
    def target(self) -> Tensor:
        """(1, 1, h, w) as good a picture of the newest, from other frames: steady movement cancels to first order."""
        frames = self.seen.shape[1]
        return (frames * self.after + self.before) / (frames + 1)


def target_variance(frames: int) -> float:
    """Noise variance of a target, for a network of so many frames."""
    return (frames**2 + 1) / (frames + 1) ** 2


def clip_length(frames: int) -> int:
    """Two exposures that share no frame."""
    return 2 * (frames + 2)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A part of a clip; h and w are multiples of the block."""

    stable: Tensor
    """(1, L, h, w), oldest first."""
    usable: Tensor
    """(1, 1, h, w) 1 or 0: inside, not saturated, and not beside a pixel much noisier than the sensor."""
    part: Tensor
    """(1, 1, h, w) of LEARNT, CHOOSING, JUDGED; the same at one place of the sensor in all views."""
    motions: tuple[tuple[Velocity, Velocity], ...] = ((REST, REST), (REST, REST))
    """Velocity and phase with which the earlier frames of each exposure are displaced."""

    def exposures(self) -> tuple[Exposure, Exposure]:
        """Two of one scene, their earlier frames displaced."""
        first, second = (
            Exposure(x[:, :1], displaced(x[:, 1:-1], *motion), x[:, -1:])
            for x, motion in zip(self.stable.chunk(2, dim=1), self.motions, strict=True)
        )
        return first, second


def views_of(clips: Sequence[Clip], calibration: SensorCalibration, seed: int) -> list[View]:
    """A view of each clip; none of frames smaller than two blocks."""
    rng = np.random.default_rng((seed, 1))
    return [_view(clip, calibration, rng, seed) for clip in clips if min(clip.pixels.shape[1:]) >= 2 * BLOCK_PX]


def _view(clip: Clip, calibration: SensorCalibration, rng: np.random.Generator, seed: int) -> View:
    _, height, width = clip.pixels.shape
    h, w = (min(n, LARGEST_PX) // BLOCK_PX * BLOCK_PX for n in (height, width))
    top, left = (int(rng.integers(0, (n - m) // BLOCK_PX + 1)) * BLOCK_PX for n, m in ((height, h), (width, w)))
    place = (..., slice(top, top + h), slice(left, left + w))
    pixels = calibration.region(clip.roi, (height, width))
    frames = torch.from_numpy(clip.pixels[None].astype(np.float32))
    maps = torch.from_numpy(np.stack(network_calibration(pixels))[None])
    nominal = torch.from_numpy(nominal_values(pixels))[None]
    saturated = (frames >= pixels.saturation_adu).any(1, keepdim=True)
    noisy = maps[:, 2:3] > NOISY * nominal[0, 2].clamp(min=0.25)
    bad = functional.max_pool2d((saturated | noisy)[place].float(), 3, 1, 1)
    edge = 1 + reach_px(len(clip.pixels) // 2 - 2)
    usable = functional.pad((1 - bad)[..., edge:-edge, edge:-edge], (edge,) * 4)
    motions = tuple((draw_velocity(rng), (rng.random(), rng.random())) for _ in range(2))
    part = torch.from_numpy(_parts((height, width), seed))[None, None]
    return View(stabilise(frames, maps, nominal)[place], usable, part[place], motions)


def _parts(shape: tuple[int, int], seed: int) -> npt.NDArray[np.float32]:
    """(H, W) of LEARNT, CHOOSING, JUDGED by blocks, drawn at random."""
    rows, columns = (-(-n // BLOCK_PX) for n in shape)
    rank = np.random.default_rng((seed, 2)).permutation(rows * columns) / (rows * columns)
    drawn = np.select([rank < JUDGED_SHARE, rank < JUDGED_SHARE + CHOOSING_SHARE], [JUDGED, CHOOSING], LEARNT)
    blocks = drawn.reshape(rows, columns).astype(np.float32)
    return np.kron(blocks, np.ones((BLOCK_PX, BLOCK_PX), np.float32))[: shape[0], : shape[1]]


def block_means(values: Tensor, weight: Tensor) -> Tensor:
    """(rows, columns): weighted means of (1, 1, h, w) over blocks; NaN where there is no weight."""
    pooled = functional.avg_pool2d(torch.cat([values * weight, weight], 1), BLOCK_PX)
    return pooled[0, 0] / pooled[0, 1]


def spread(blocks: Tensor) -> Tensor:
    """(rows, columns) of blocks → (1, 1, h, w) of pixels."""
    return blocks.repeat_interleave(BLOCK_PX, 0).repeat_interleave(BLOCK_PX, 1)[None, None]

"""The network that detects: a U-shape on 2 x 2 pixels of two frames, and a list of the likeliest objects of all sizes.

Centres are one-hot among pixels (spots) or cells of a coarser grid, so that the sum of probabilities around a peak is
the probability that there is an object. Peaks by 3 x 3 max-pooling after Zhou et al., Objects as Points (2019);
backward motion after Hayashida et al., MPM (CVPR 2020). Shapes are fixed, so that every engine runs it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from smartscope_models.detection.answer import FLOOR, MOST, NOWHERE, SCALES

REACH = 1.5
"""Cells by which a centre may lie off its own, along each axis."""
LIKES = 6
"""What is said of every cell beside probability and place: log radius, motion (2), events (3)."""
SPOT_HEADS = 4 + 8 + LIKES + 2
"""Of a cell of 2 x 2 pixels: probability and place of each pixel; the others; foreground and depth."""
COARSE_HEADS = 1 + 2 + LIKES
BACK_PX = 8.0
"""Motion that is told as 1."""
SUREST = 0.005
"""Sums of probabilities as close to 0 or 1 as this are not told apart when they are made true."""
RARE = -5.0
"""First logit of a centre."""


@dataclass(frozen=True, slots=True)
class DetectorSizes:
    """Channels at a half, a quarter, … of the resolution."""

    channels: tuple[int, ...] = (32, 32, 64, 64, 96)


class Residual(nn.Module):
    """h + conv(relu(conv(relu(h))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.normal_(self.second.weight, std=0.1 * math.sqrt(2 / (9 * channels)))

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, h, w) → the same."""
        out: Tensor = h + self.second(torch.relu(self.first(torch.relu(h))))
        return out


class RawMaps(NamedTuple):
    """What the network says before it is put into units."""

    spots: Tensor
    """(B, SPOT_HEADS, H/2, W/2)"""
    organelles: Tensor
    """(B, COARSE_HEADS, H/4, W/4)"""
    cells: Tensor
    """(B, COARSE_HEADS, H/8, W/8)"""


class Detector(nn.Module):
    """What is exported: frames in, objects and depths out."""

    calibration: Tensor

    def __init__(self, sizes: DetectorSizes) -> None:
        super().__init__()
        self.sizes = sizes
        widths = sizes.channels
        self.begin = nn.Conv2d(8, widths[0], 3, padding=1, bias=False)
        pairs = list(pairwise(widths))
        self.downs = nn.ModuleList([nn.Conv2d(above, below, 2, stride=2, bias=False) for above, below in pairs])
        self.coming = nn.ModuleList([Residual(width) for width in widths[1:]])
        self.ups = nn.ModuleList([nn.Conv2d(below, above, 1, bias=False) for above, below in pairs])
        self.going = nn.ModuleList([Residual(width) for width in widths[:-1]])
        self.spot_head = _head(widths[0], SPOT_HEADS, 4)
        self.organelle_head = _head(widths[1], COARSE_HEADS, 1)
        self.cell_head = _head(widths[2], COARSE_HEADS, 1)
        self.register_buffer("calibration", torch.tensor([[1.0, 0.0]] * len(SCALES)))

    def maps(self, cells: Tensor) -> RawMaps:
        """(B, 8, H/2, W/2) → raw maps; H and W are multiples of ``answer.MULTIPLE_PX``."""
        h = self.begin(cells)
        kept = [h]
        for down, block in zip(self.downs, self.coming, strict=True):
            h = block(down(torch.relu(h)))
            kept.append(h)
        levels = [h]
        for k in reversed(range(len(self.ups))):
            h = kept[k] + functional.interpolate(self.ups[k](torch.relu(h)), scale_factor=2, mode="nearest")
            h = self.going[k](h)
            levels.append(h)
        fine, quarter, eighth = (torch.relu(level) for level in levels[:-4:-1])
        return RawMaps(self.spot_head(fine), self.organelle_head(quarter), self.cell_head(eighth))

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cells of 2 x 2 pixels (1, 8, h, w), the newest frame's four and those of the one before → the answer.

        places (1, MOST): cells in the order of ``SCALES``, ascending; ``NOWHERE`` where there is none.
        objects (1, MOST, columns): see ``answer.COLUMNS``. depths (1, 2, h, w): foreground; depth in its object.
        """
        raw = RawMaps(*(part.to(torch.float32) for part in self.maps(cells.to(self.begin.weight.dtype))))
        likelihood, columns = self._candidates(raw)
        places, objects = listed(likelihood, columns)
        return places, objects, torch.sigmoid(raw.spots[:, -2:])

    def likelihoods(self, cells: Tensor) -> Tensor:
        """Probabilities of all cells (1, N), those that are not listed too."""
        return self._candidates(self.maps(cells))[0]

    def _candidates(self, raw: RawMaps) -> tuple[Tensor, Tensor]:
        """Calibrated probability of each cell's object (1, N), 0 where there is none, and its columns (1, N, C - 1)."""
        found = [spot_candidates(raw.spots), coarse_candidates(raw.organelles, 1), coarse_candidates(raw.cells, 2)]
        told = []
        for k, (likelihood, _) in enumerate(found):
            between = likelihood.clamp(SUREST, 1 - SUREST)
            logit = torch.log(between / (1 - between))
            sure = torch.sigmoid(self.calibration[k, 0] * logit + self.calibration[k, 1])
            told.append(sure * (likelihood > 0).to(sure.dtype))
        flat = torch.cat([value.flatten(1) for value in told], dim=1)
        columns = torch.cat([value.flatten(2) for _, value in found], dim=2)
        return flat, columns.transpose(1, 2)


def _head(channels: int, outputs: int, chances: int) -> nn.Conv2d:
    head = nn.Conv2d(channels, outputs, 1)
    nn.init.normal_(head.weight, std=0.02)
    assert head.bias is not None
    nn.init.zeros_(head.bias)
    with torch.no_grad():
        head.bias[:chances] = RARE
    return head


def around(probability: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, H, W) → the sum over 3 x 3 where a peak is, else 0, and 1 where a peak is."""
    peak = (probability >= functional.max_pool2d(probability, 3, 1, 1)).to(probability.dtype)
    total = 9 * functional.avg_pool2d(probability, 3, 1, 1)
    return torch.clamp(total, max=1.0) * peak, peak


def spot_candidates(raw: Tensor) -> tuple[Tensor, Tensor]:
    """(B, SPOT_HEADS, h, w) → likelihood (B, 1, h, w) and columns (B, 8, h, w) of the one peak in a cell."""
    probability = functional.pixel_shuffle(torch.sigmoid(raw[:, :4]), 2)
    total, peak = around(probability)
    own, of = functional.pixel_unshuffle(total, 2), functional.pixel_unshuffle(peak, 2)
    # exactly equal neighbours are both peaks: their mean is taken
    share = of / of.sum(1, keepdim=True).clamp(min=1.0)
    likelihood = (share * own).sum(1, keepdim=True)
    x, y = spot_places(raw)
    like = likes(raw[:, 12 : 12 + LIKES], 0)
    return likelihood, torch.cat([(share * x).sum(1, keepdim=True), (share * y).sum(1, keepdim=True), like], dim=1)


def spot_places(raw: Tensor) -> tuple[Tensor, Tensor]:
    """x and y (B, 4, h, w) to which each of a cell's pixels points, in pixels from the cell's centre."""
    left = torch.tensor([-0.5, 0.5, -0.5, 0.5], dtype=raw.dtype, device=raw.device).reshape(1, 4, 1, 1)
    top = torch.tensor([-0.5, -0.5, 0.5, 0.5], dtype=raw.dtype, device=raw.device).reshape(1, 4, 1, 1)
    return left + REACH * torch.tanh(raw[:, 4:8]), top + REACH * torch.tanh(raw[:, 8:12])


def coarse_candidates(raw: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """(B, COARSE_HEADS, h, w) → likelihood (B, 1, h, w) and columns (B, 8, h, w)."""
    likelihood, _ = around(torch.sigmoid(raw[:, :1]))
    place = SCALES[scale].step_px * REACH * torch.tanh(raw[:, 1:3])
    return likelihood, torch.cat([place, likes(raw[:, 3:], scale)], dim=1)


def likes(raw: Tensor, scale: int) -> Tensor:
    """(B, LIKES, h, w) → log radius, motion in pixels, and probabilities of events."""
    low, high = SCALES[scale].radius_px
    middle = 0.5 * math.log(low * high)
    return torch.cat([middle + raw[:, :1], BACK_PX * raw[:, 1:3], torch.sigmoid(raw[:, 3:])], dim=1)


def listed(likelihood: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest MOST of (B, N) and (B, N, C - 1), in the order of their places: (B, MOST), (B, MOST, C).

    Sorted by place, so that engines that differ in the last digit of a probability give the same list.
    """
    # so that a small frame has as many; padding would need an operator that changed with opset 18
    enough = torch.cat([likelihood, torch.zeros(1, MOST, dtype=likelihood.dtype, device=likelihood.device)], dim=1)
    probability, where = enough.topk(MOST, dim=1)
    there = probability >= FLOOR
    far = 2.0**24
    order = torch.where(there, -where.to(torch.float32), torch.full_like(probability, -far))
    ordered, by_place = order.topk(MOST, dim=1)
    places = torch.where(ordered > -far, -ordered, torch.full_like(ordered, NOWHERE))
    index = places.clamp(min=0.0).to(torch.int64)
    rest = torch.gather(columns, 1, index[:, :, None].expand(-1, -1, columns.shape[2]))
    objects = torch.cat([probability.gather(1, by_place)[:, :, None], rest], dim=2)
    return places, torch.where((places >= 0)[:, :, None], objects, torch.zeros_like(objects))

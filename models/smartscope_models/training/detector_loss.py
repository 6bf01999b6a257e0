"""How far a detecting network's maps are from the truth: where objects are, what they are like, where they end."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from smartscope_models.detection.answer import SCALES
from smartscope_models.training.detector import BACK_PX, LIKES, REACH, RawMaps
from smartscope_models.training.objects import BOTH, ObjectLessons

USUAL = (40.0, 30.0, 5.0)
"""Objects of each scale in a lesson: what the surprise at their number and places counts as one."""
THERE, LIKE, OUTLINES = 3.0, 0.5, 15.0
"""What it counts that an object is found, what is said of it, and where it ends."""
BESIDE = 0.25
"""What a neighbour of the cell with the centre counts when places are compared: a peak may lie there."""


class DetectorLosses(NamedTuple):
    """Scalars, means over lessons or over objects."""

    spots: Tensor
    """Cross entropy of the pixels that may hold a centre, summed over a lesson, in terms of ``USUAL``."""
    organelles: Tensor
    cells: Tensor
    places: Tensor
    """Distance of centres, in cells."""
    likes: Tensor
    """Log radius, motion, and cross entropy of events."""
    outlines: Tensor
    """Cross entropy of foreground, and error of depth."""

    @property
    def total(self) -> Tensor:
        """What is made small."""
        return (
            THERE * (self.spots + self.organelles + self.cells) + LIKE * (self.places + self.likes) + 4 * self.outlines
        )


class _Grid(NamedTuple):
    """One scale's maps, in cells: chance (B, h, w), place (B, 2, h, w) in cells, likes (B, LIKES, h, w)."""

    chance: Tensor
    place: Tensor
    likes: Tensor
    step_px: float
    coarser: int
    """How many cells of ``chance`` lie along one of ``likes``."""


def detector_losses(raw: RawMaps, lessons: ObjectLessons) -> DetectorLosses:
    """Of raw float32 maps."""
    grids = _grids(raw)
    chances, places, likes, number = [], [], [], lessons.present.sum().clamp(min=1)
    for scale, grid in enumerate(grids):
        own = lessons.present & (lessons.scale == scale)
        chances.append(_chance(grid, lessons, own, scale) / USUAL[scale])
        place, like = _described(grid, lessons, own)
        places.append(place)
        likes.append(like)
    spots, organelles, cells = chances
    place, like = torch.stack(places).sum() / number, torch.stack(likes).sum() / number
    return DetectorLosses(spots, organelles, cells, place, like, _outlines(raw.spots[:, -2:], lessons))


def _grids(raw: RawMaps) -> tuple[_Grid, _Grid, _Grid]:
    fine = functional.pixel_shuffle(raw.spots[:, :12], 2)
    coarse = [
        _Grid(part[:, 0], REACH * torch.tanh(part[:, 1:3]), part[:, 3:], SCALES[k].step_px, 1)
        for k, part in ((1, raw.organelles), (2, raw.cells))
    ]
    spots = _Grid(fine[:, 0], REACH * torch.tanh(fine[:, 1:]), raw.spots[:, 12 : 12 + LIKES], 1.0, 2)
    return spots, coarse[0], coarse[1]


def _cell_of(grid: _Grid, lessons: ObjectLessons) -> tuple[Tensor, Tensor]:
    """Column and row (B, E) of each centre; cell j covers pixels from j · step - 1/2 on."""
    height, width = grid.chance.shape[1:]
    at = torch.floor((lessons.objects[..., :2] + 0.5) / grid.step_px).long()
    return at[..., 0].clamp(0, width - 1), at[..., 1].clamp(0, height - 1)


def _chance(grid: _Grid, lessons: ObjectLessons, own: Tensor, scale: int) -> Tensor:
    """Mean over lessons of the summed cross entropy; objects that two scales may hold are no error in the other."""
    batch = len(grid.chance)
    column, row = _cell_of(grid, lessons)
    lesson = torch.arange(batch)[:, None].expand_as(row)
    truth = torch.zeros_like(grid.chance)
    truth[lesson[own], row[own], column[own]] = 1.0
    surprise = functional.binary_cross_entropy_with_logits(grid.chance, truth, reduction="none")
    if scale:
        low, high = BOTH
        size = lessons.objects[..., 2]
        other = lessons.present & ~own & (size > low) & (size < high)
        either = torch.zeros_like(grid.chance)
        either[lesson[other], row[other], column[other]] = 1.0
        surprise = surprise * (1 - functional.max_pool2d(either[:, None], 5, 1, 2)[:, 0])
    return surprise.sum() / batch


def _described(grid: _Grid, lessons: ObjectLessons, own: Tensor) -> tuple[Tensor, Tensor]:
    """Summed over objects: error of the place, in cells, and of all else, at the centre's cell and its neighbours."""
    column, row = _cell_of(grid, lessons)
    height, width = grid.chance.shape[1:]
    lesson = torch.arange(len(row))[:, None].expand_as(row)[own]
    truth, followed = lessons.objects[own], lessons.followed[own].float()
    beside = torch.tensor([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    i, j = (row[own] + beside[:, :1]).flatten(), (column[own] + beside[:, 1:]).flatten()
    inside = ((i >= 0) & (i < height) & (j >= 0) & (j < width)).float()
    weight = inside * torch.where(beside.any(1), BESIDE, 1.0).repeat_interleave(len(truth))
    i, j = i.clamp(0, height - 1), j.clamp(0, width - 1)
    lesson, truth, followed = lesson.repeat(9), truth.repeat(9, 1), followed.repeat(9)
    middle = (torch.stack([j, i], dim=1).float() + 0.5) * grid.step_px - 0.5
    away = (truth[:, :2] - middle) / grid.step_px - grid.place[lesson, :, i, j]
    told = grid.likes[lesson, :, i // grid.coarser, j // grid.coarser]
    like = weight * _unlike(told, truth, followed, grid)
    return (weight * _robust(away, 0.1).sum(1)).sum(), like.sum()


def _unlike(told: Tensor, truth: Tensor, followed: Tensor, grid: _Grid) -> Tensor:
    """(N,) of raw (N, LIKES) at the cells of objects (N, TOLD)."""
    scale = {1.0: 0, 4: 1, 8: 2}[grid.step_px]
    low, high = SCALES[scale].radius_px
    size = truth[:, 2] - 0.5 * float(torch.log(torch.tensor(low * high)))
    radius = _robust(told[:, 0] - size, 0.1)
    motion = _robust(told[:, 1:3] - truth[:, 3:5] / BACK_PX, 0.2).sum(1)
    events = functional.binary_cross_entropy_with_logits(told[:, 3:], truth[:, 5:], reduction="none").sum(1)
    return radius + followed * (motion + 0.5 * events)


def _outlines(raw: Tensor, lessons: ObjectLessons) -> Tensor:
    inside = functional.binary_cross_entropy_with_logits(raw[:, :1], lessons.foreground)
    off = (torch.sigmoid(raw[:, 1:]) - lessons.depth).abs() * (lessons.foreground > 0)
    return inside + off.mean()


def _robust(error: Tensor, knee: float) -> Tensor:
    return functional.smooth_l1_loss(error, torch.zeros_like(error), beta=knee, reduction="none")

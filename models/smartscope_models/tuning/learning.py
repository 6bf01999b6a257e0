"""The few hundred steps that move the last layers: small ones, averaged, the same for the same seed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from smartscope_models.tuning.last_layers import LastLayers
from smartscope_models.tuning.lessons import BIAS_WEIGHT, Lesson
from smartscope_models.tuning.views import CHOOSING, LEARNT

STOPS = (25, 50, 100, 200, 400, 600)
"""Steps after which the layers are tried: few frames are soon learnt by heart, and only the first steps help."""
LEARNING_RATE = 3e-4
RISE = 20
AVERAGING = 0.98
WINDOWS = 6
WINDOW_PX = 96
BORDER_PX = 8
"""Of a window not judged: so far the last layers see."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """The average of the layers after some steps."""

    layers: LastLayers
    steps: int
    choosing_loss: float
    """On the blocks kept for this choice."""


def learn(layers: LastLayers, lessons: Sequence[Lesson], seed: int, in_time: Callable[[], bool]) -> Learnt:
    """Follow the gradient of squared error and bias while ``in_time()``; the best of the stops, 0 steps among them."""
    generator = torch.Generator().manual_seed(seed)
    student, average = copy.deepcopy(layers), copy.deepcopy(layers)
    optimiser = torch.optim.Adam(student.parameters(), LEARNING_RATE, betas=(0.9, 0.99))
    best = Learnt(layers, 0, choosing_loss(layers, lessons))
    for step in range(1, STOPS[-1] + 1):
        if not in_time():
            break
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, step / RISE)
        loss = _loss(student, _batch(lessons, generator))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        _average(average, student, min(AVERAGING, step / (step + 9)))
        if step in STOPS and (found := choosing_loss(average, lessons)) < best.choosing_loss:
            best = Learnt(copy.deepcopy(average), step, found)
    return best


@torch.no_grad()
def choosing_loss(layers: LastLayers, lessons: Sequence[Lesson]) -> float:
    """Mean over the blocks kept for choosing."""
    return float(torch.cat([lesson.blocks(layers, CHOOSING)[0] for lesson in lessons]).nanmean())


def _loss(layers: LastLayers, lesson: Lesson) -> Tensor:
    squares, bias = lesson.loss(layers)
    total: Tensor = ((squares + BIAS_WEIGHT * bias) * lesson.weight).sum() / lesson.weight.sum().clamp(min=1)
    return total


def _average(average: LastLayers, student: LastLayers, keep: float) -> None:
    with torch.no_grad():
        for kept, new in zip(average.parameters(), student.parameters(), strict=True):
            kept.lerp_(new, 1 - keep)


def _batch(lessons: Sequence[Lesson], generator: torch.Generator) -> Lesson:
    """Windows at random places of lessons drawn at random."""
    drawn = torch.randint(len(lessons), (WINDOWS,), generator=generator).tolist()
    windows = [_window(lessons[k], generator) for k in drawn]

    def joined(name: str) -> Tensor:
        parts = [getattr(window, name).chunk(2 if name in ("features", "noise") else 1) for window in windows]
        return torch.cat([part for turn in zip(*parts, strict=True) for part in turn])

    return Lesson(
        joined("features"), joined("noise"), joined("weight"), joined("visible"), joined("part"), lessons[0].spot_px
    )


def _window(lesson: Lesson, generator: torch.Generator) -> Lesson:
    """A part of a lesson, without weight on its border and on what is not learnt."""
    sides = [min(WINDOW_PX, n) // 2 for n in lesson.noise.shape[-2:]]
    room = [n - side + 1 for n, side in zip(lesson.features.shape[-2:], sides, strict=True)]
    top, left = (int(torch.randint(n, (), generator=generator)) for n in room)
    coarse = (..., slice(top, top + sides[0]), slice(left, left + sides[1]))
    fine = (..., slice(2 * top, 2 * (top + sides[0])), slice(2 * left, 2 * (left + sides[1])))
    inner = (..., slice(BORDER_PX, -BORDER_PX), slice(BORDER_PX, -BORDER_PX))
    weight = torch.zeros_like(lesson.weight[fine])
    weight[inner] = lesson.weight_of(LEARNT)[fine][inner]
    return replace(
        lesson,
        features=lesson.features[coarse],
        noise=lesson.noise[fine],
        weight=weight,
        visible=lesson.visible[fine],
        part=lesson.part[fine],
    )

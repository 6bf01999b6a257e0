"""Motion of the specimen between the directions of a stack: measured on their widefield pictures, and taken back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Doubles
from smartscope_models.structured_illumination.carriers import vertex
from smartscope_models.structured_illumination.field import Field

LOWEST = 2
"""Rings below are left out: bleaching and lamps change them, not motion."""
REACH_PX = 8
"""Largest motion that is looked for."""
MARGIN_PX = 16
"""Mirrored beyond the field while a picture is moved, so that its far side does not come in."""


def motion(field: Field, light: Tensor) -> Doubles:
    """(angles, 2) x, y in raw pixels of each direction off their mean; light (angles, N, N / 2 + 1) half-spectra."""
    passed = field.half_passed.square() * (field.half_radius > LOWEST)
    steps = [np.zeros(2)]
    for one, two in pairwise(light):
        steps.append(_peak(torch.fft.irfft2(one.conj() * two * passed, s=(field.size, field.size))))
    places = np.cumsum(steps, axis=0)
    return np.asarray(places - places.mean(0))


def largest_px(moved: Doubles) -> float:
    """Between any two of the directions."""
    return float(np.hypot(*(moved[:, None] - moved[None, :]).reshape(-1, 2).T).max())


def stilled(frames: Tensor, moved: Doubles) -> Tensor:
    """(frames, N, N) with every direction moved back by ``moved`` (angles, 2); its fringes go with it."""
    size, whole = frames.shape[-1], frames.shape[-1] + 2 * MARGIN_PX
    wide = torch.nn.functional.pad(frames[None], (MARGIN_PX,) * 4, mode="reflect")[0]
    cycles = [torch.fft.fftfreq(whole, device=frames.device), torch.fft.rfftfreq(whole, device=frames.device)]
    phases = len(frames) // len(moved)
    inner = slice(MARGIN_PX, MARGIN_PX + size)
    found = torch.empty_like(frames)
    for angle, (x, y) in enumerate(moved):
        own = slice(angle * phases, (angle + 1) * phases)
        turn = torch.exp(2j * torch.pi * (cycles[0][:, None] * float(y) + cycles[1][None, :] * float(x)))
        back = torch.fft.irfft2(torch.fft.rfft2(wide[own]) * turn, s=(whole, whole))
        found[own] = back[:, inner, inner]
    return found


def _peak(cross: Tensor) -> Doubles:
    """(x, y) of the highest point near the origin, by parabolas through its neighbours."""
    near = torch.roll(cross, (REACH_PX, REACH_PX), (0, 1))[: 2 * REACH_PX + 1, : 2 * REACH_PX + 1]
    row, column = divmod(int(torch.argmax(near)), 2 * REACH_PX + 1)
    row, column = (min(max(place, 1), 2 * REACH_PX - 1) for place in (row, column))
    down, right = near[row - 1 : row + 2, column].tolist(), near[row, column - 1 : column + 2].tolist()
    return np.array([column - REACH_PX + vertex(right), row - REACH_PX + vertex(down)])

"""How many molecules a list holds of those that are there, how far off they lie, and whether it says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Doubles = npt.NDArray[np.float64]
GATE_PX = 2.5


@dataclass(frozen=True, slots=True)
class Found:
    """One frame: places (N, 2) with their stated errors (N, 2), and the truth (M, 2); pixels."""

    places: Doubles
    errors: Doubles
    truth: Doubles


@dataclass(frozen=True, slots=True)
class Judged:
    """Of all frames together."""

    jaccard: float
    """Pairs over all that is there or was found."""
    rms_px: float
    """Distance of the pairs."""
    calibration: float
    """Spread of error over stated error, by the median deviation: 1 is honest."""


def judge(frames: Sequence[Found]) -> Judged:
    """Pairs in each frame are the most that lie within the gate, then those of the least distance."""
    pairs, errors, relative = 0, list[Doubles](), list[Doubles]()
    for frame in frames:
        distance = np.hypot(*(frame.places[:, None] - frame.truth[None]).transpose(2, 0, 1))
        rows, columns = linear_sum_assignment(np.where(distance <= GATE_PX, distance, 1e3))
        near = distance[rows, columns] <= GATE_PX
        away = frame.places[rows[near]] - frame.truth[columns[near]]
        pairs += int(near.sum())
        errors.append(away)
        relative.append(away / frame.errors[rows[near]])
    together = sum(len(frame.places) + len(frame.truth) for frame in frames) - pairs
    all_errors, all_relative = np.concatenate(errors), np.concatenate(relative)
    if not pairs:
        return Judged(0.0, 0.0, 0.0)
    spread = 1.4826 * float(np.median(np.abs(all_relative - np.median(all_relative))))
    return Judged(pairs / together, float(np.sqrt((all_errors**2).sum(1).mean())), spread)

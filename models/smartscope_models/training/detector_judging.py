"""Which of the objects that a network lists are there: hits of each scale, and how sure it was of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize

from smartscope_models.detection.answer import SCALES
from smartscope_models.detection.network import in_pixels
from smartscope_models.training.detector import SUREST, Detector
from smartscope_models.training.objects import ObjectLessons

GATE_PX = 2.5
"""For spots; for others the centre lies within ``GATE_RADII``."""
GATE_RADII = 0.5
FEWEST = 20
"""Objects from which it can be told how true probabilities are."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Objects of one scale in many lessons."""

    probability: npt.NDArray[np.float64]
    """(N,) as told."""
    hit: npt.NDArray[np.bool_]
    """(N,) whether there is such an object."""
    truth: int
    """How many are there."""

    def precision(self, least: float) -> float:
        """Hits among those of at least this probability; 1 where there are none."""
        sure = self.probability >= least
        return float(self.hit[sure].mean()) if sure.any() else 1.0

    def recall(self, least: float) -> float:
        """Found among those that are there."""
        return float((self.hit & (self.probability >= least)).sum()) / max(self.truth, 1)


def listed(network: Detector, lessons: ObjectLessons) -> list[Listed]:
    """Of each scale. An organelle found among the cells is a hit, and the other way about."""
    told: list[list[tuple[float, bool]]] = [[] for _ in SCALES]
    truth = np.zeros(len(SCALES), int)
    for k in range(len(lessons.seen)):
        with torch.no_grad():
            places, objects, _ = network(lessons.seen[k : k + 1])
        scale, rows = in_pixels(places[0].numpy(), objects[0].numpy(), lessons.seen.shape[2:])
        there = lessons.objects[k, lessons.present[k]].numpy().astype(float)
        own = lessons.scale[k, lessons.present[k]].numpy()
        truth += np.bincount(own, minlength=len(SCALES))
        for which, row in zip(scale, rows, strict=True):
            told[which].append((float(row[0]), False))
        _mark(told, scale, rows, there, own)
    return [
        Listed(np.array([p for p, _ in part]), np.array([hit for _, hit in part], bool), int(number))
        for part, number in zip(told, truth, strict=True)
    ]


def _mark(
    told: list[list[tuple[float, bool]]],
    scale: npt.NDArray[np.int64],
    rows: npt.NDArray[np.float64],
    there: npt.NDArray[np.float64],
    own: npt.NDArray[np.int64],
) -> None:
    """Pair the surest first, each with the nearest that is left."""
    place = [len(part) - int((scale == k).sum()) for k, part in enumerate(told)]
    index = np.empty(len(scale), int)
    for k in range(len(told)):
        index[scale == k] = place[k] + np.arange(int((scale == k).sum()))
    taken = [np.zeros(len(there), bool), np.zeros(len(there), bool)]
    for n in np.argsort(-rows[:, 0], kind="stable"):
        whole = int(scale[n] > 0)
        gate = np.where(own > 0, GATE_RADII * np.exp(there[:, 2]), GATE_PX)
        apart = np.hypot(there[:, 0] - rows[n, 1], there[:, 1] - rows[n, 2])
        fits = (apart < gate) & ((own > 0) == bool(whole)) & ~taken[whole]
        if fits.any():
            nearest = int(np.argmin(np.where(fits, apart, np.inf)))
            taken[whole][nearest] = True
            told[scale[n]][index[n]] = (float(rows[n, 0]), True)


def calibrated(found: Listed) -> tuple[float, float]:
    """Slope and shift of the logit with which the probabilities are true (Platt, 1999); 1 and 0 where few tell."""
    if len(found.hit) < FEWEST or found.hit.all() or not found.hit.any():
        return 1.0, 0.0
    p = found.probability.clip(SUREST, 1 - SUREST)
    logit, sign = np.log(p / (1 - p)), np.where(found.hit, 1.0, -1.0)

    def surprise(weights: npt.NDArray[np.float64]) -> float:
        # a little is added so that the slope stays near 1 where all objects are told alike
        far = ((weights - [1.0, 0.0]) ** 2).sum()
        return float(np.logaddexp(0, -sign * (weights[0] * logit + weights[1])).sum() + far)

    slope, shift = minimize(surprise, np.array([1.0, 0.0])).x
    return float(slope), float(shift)

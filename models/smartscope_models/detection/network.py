"""A detecting network at work: what it is shown of two frames, and its list of objects in pixels of the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope.errors import UnsupportedModel
from smartscope_models.calibration import Floats
from smartscope_models.detection.answer import SCALES
from smartscope_models.detection.light import background_of, cells_of
from smartscope_models.engines import EngineName, open_engine
from smartscope_models.engines.engine import Engine, Precision
from smartscope_models.packages import ModelPackage, open_package

TASK = "detect"
PACKAGE = "detect_objects"
"""Shipped."""
SAME = 0.7
"""Two objects that are no spots are one where their centres are closer than this part of the larger radius …"""
ALIKE = 0.5
"""… and the smaller radius is more than this part of the larger."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the network says of one frame."""

    scale: npt.NDArray[np.int64]
    """(N,) index into ``answer.SCALES``."""
    objects: npt.NDArray[np.float64]
    """(N, 9) as of ``answer.COLUMNS``, but x and y in pixels of the frame, and the radius itself, in pixels."""
    foreground: Floats
    """(h, w) of pixels of 2 x 2: probability that an organelle or a cell is there."""
    depth: Floats
    """(h, w): how deep in its object, 0 to 1."""
    background: float
    """Stabilised."""

    def where(self, kept: npt.NDArray[np.bool_]) -> Found:
        """Some of the objects."""
        return Found(self.scale[kept], self.objects[kept], self.foreground, self.depth, self.background)


class ObjectNetwork:
    """A network of a model package, run by any engine.

    Raises:
        UnsupportedModel: the package cannot be used, or is for something else.
        EngineError: no engine can run it.
    """

    def __init__(
        self, package: str, engine: EngineName = "auto", precision: Precision | None = None, threads: int = 1
    ) -> None:
        self.package = _fitting(open_package(package))
        self.engine: Engine = open_engine(self.package.networks, engine=engine, precision=precision, threads=threads)
        self._shape = (0, 0)
        self._cells = np.empty((1, 8, 0, 0), np.float32)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile and allocate for frames of this (H, W); what was kept is forgotten."""
        height, width = self.package.manifest.fit(-(-shape[0] // 2), -(-shape[1] // 2))
        self.engine.warm_up({"cells": (1, 8, height, width)})
        self._cells = np.zeros((1, 8, height, width), np.float32)
        self._shape = shape

    def keep(self, stable: Floats | None) -> None:
        """Take this frame (H, W) of unit noise for the one before; None: there is none, or it cannot be compared."""
        if stable is None:
            self._cells[0, 4:] = 0
        else:
            cells_of(stable, background_of(stable), self._cells[0, 4:])

    def find(self, stable: Floats) -> Found:
        """Objects of a frame (H, W) of unit noise, the likeliest 2048 at most; it is then the frame before."""
        background = background_of(stable)
        cells_of(stable, background, self._cells[0, :4])
        answer = self.engine.run({"cells": self._cells})
        self._cells[0, 4:] = self._cells[0, :4]
        scale, objects = in_pixels(answer["places"][0], answer["objects"][0], self._cells.shape[2:])
        height, width = self._shape
        x, y = objects[:, 1], objects[:, 2]
        inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
        rows, columns = -(-height // 2), -(-width // 2)
        foreground, depth = answer["depths"][0, :, :rows, :columns]
        return Found(scale[inside], objects[inside], foreground, depth, background)

    def facts(self) -> dict[str, str]:
        """Package, hash and engine, for the record of a run."""
        return {
            "network": self.package.manifest.name,
            "network_sha256": self.package.sha256,
            "network_engine": self.engine.name,
            "network_precision": self.engine.precision,
        }


def in_pixels(
    places: Floats, objects: Floats, half: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Scale (N,) and columns (N, 9) in pixels, of places (K,) and objects (K, 9); half: sides of the finest grid."""
    there = places >= 0
    cell, columns = places[there].astype(np.int64), objects[there].astype(np.float64)
    factors = [scale.step_px // SCALES[0].step_px for scale in SCALES]
    counts = [half[0] // factor * (half[1] // factor) for factor in factors]
    begins = np.concatenate([[0], np.cumsum(counts)])
    scale = np.searchsorted(begins, cell, side="right") - 1
    within = cell - begins[scale]
    across = np.array([half[1] // factor for factor in factors])[scale]
    step = np.array([size.step_px for size in SCALES])[scale]
    columns[:, 1] += (within % across + 0.5) * step - 0.5
    columns[:, 2] += (within // across + 0.5) * step - 0.5
    columns[:, 3] = np.exp(np.minimum(columns[:, 3], 8.0))
    return scale, columns


def without_doubles(found: Found) -> Found:
    """Each organelle or cell once, where several cells or both grids speak of it.

    A centre is in one place alone, so that probabilities of places for the same object add up; it lies at their mean.
    """
    objects = found.objects.copy()
    kept = found.scale == 0
    _gather(objects, found.scale, SAME, ALIKE, kept)
    return Found(found.scale, objects, found.foreground, found.depth, found.background).where(kept)


@njit(nogil=True, cache=True)
def _gather(objects, scale, same, alike, kept):  # type: ignore[no-untyped-def]
    """Sum the rows (N, 9) that are one into the one with most around it, which is marked in kept (N,)."""
    number = len(objects)
    sums = np.zeros((number, 4))
    free = scale > 0
    first = objects[:, :4].copy()
    for a in range(number):
        for b in range(number):
            if free[a] and free[b] and _one(first[a], first[b], same, alike):
                _add(sums[a], first[b], 1.0)
    for _ in range(number):
        best = -1
        for a in range(number):
            if free[a] and (best < 0 or sums[a, 0] + first[a, 0] > sums[best, 0] + first[best, 0]):
                best = a
        if best < 0:
            return
        kept[best] = True
        objects[best, 0] = min(sums[best, 0], 1.0)
        for k in range(1, 4):
            objects[best, k] = sums[best, k] / sums[best, 0]
        for b in range(number):
            if free[b] and _one(first[best], first[b], same, alike):
                free[b] = False
                for a in range(number):
                    if free[a] and _one(first[a], first[b], same, alike):
                        _add(sums[a], first[b], -1.0)


@njit(nogil=True, cache=True)
def _one(one, other, same, alike):  # type: ignore[no-untyped-def]
    larger, smaller = max(one[3], other[3]), min(one[3], other[3])
    return smaller > alike * larger and math.hypot(one[1] - other[1], one[2] - other[2]) < same * larger


@njit(nogil=True, cache=True)
def _add(total, row, sign):  # type: ignore[no-untyped-def]
    total[0] += sign * row[0]
    for k in range(1, 4):
        total[k] += sign * row[0] * row[k]


def _fitting(package: ModelPackage) -> ModelPackage:
    if package.manifest.task != TASK:
        raise UnsupportedModel(
            f"its task is {package.manifest.task}",
            where=f"model package {package.manifest.name}",
            allowed=TASK,
            remedy="smartscope models list shows the tasks",
        )
    return package

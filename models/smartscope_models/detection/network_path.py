"""Objects by a network: which of its scales are asked, how sure it must be, outlines, and light in electrons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from smartscope.frame import Frame
from smartscope.ports import whole_sensor
from smartscope.result import Detections
from smartscope_models.anscombe import Anscombe
from smartscope_models.calibration import PixelCalibration, SensorCalibration
from smartscope_models.detection.instances import finer, measured, seeded, spot_light, work
from smartscope_models.detection.network import Found, ObjectNetwork, without_doubles
from smartscope_models.detection.objects import DescribedDetections, detections_of
from smartscope_models.detection.spots import SPOT

CELL, ORGANELLE = 1, 2
REACH = 2.2
"""An object's pixels lie within so many of its radii."""
TRUE_OUTLINE = 0.25
"""Area of an outline over that of the disc that the network names, below which the disc is believed."""
Labels = npt.NDArray[np.int32]


class NetworkPath:
    """Finds the objects of one frame after the other."""

    def __init__(
        self, network: ObjectNetwork, calibration: SensorCalibration, kinds: Sequence[str], probability: float
    ) -> None:
        """kinds: ``spot``, ``organelle``, ``cell``; middle-sized objects are cells where no organelles are asked."""
        self._network, self._calibration, self._probability = network, calibration, probability
        middle = ORGANELLE if "organelle" in kinds else CELL
        self._label = np.array([SPOT, middle, CELL], np.int32)
        wanted = ("spot" in kinds, "organelle" in kinds or "cell" in kinds, "cell" in kinds)
        self._wanted = np.array(wanted, np.bool_)
        self._known: tuple[PixelCalibration, Anscombe] | None = None
        self._last: tuple[int, int] | None = None
        self._stable = np.zeros((0, 0), np.float32)
        self._coarse, self.outlines = np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32)
        """``outlines`` (H, W): 1 + row of the object in the last table, 0: none; spots have none."""
        self._heap, self._chain = work((0, 0))

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and allocate for frames of this (H, W)."""
        self._network.warm_up(shape)
        half = (-(-shape[0] // 2), -(-shape[1] // 2))
        self._stable, self._coarse = np.zeros(shape, np.float32), np.zeros(half, np.int32)
        self.outlines, self._last = np.zeros(shape, np.int32), None
        self._heap, self._chain = work(half)
        self._network.find(self._stable)
        calibration = self._calibration.region(whole_sensor(shape), shape)
        self._described(np.zeros(shape, np.uint16), calibration, _trial(half))

    def find(self, frames: Sequence[Frame]) -> Detections:
        """Objects of ``frames[-1]``; the frame before helps, where it was exposed alike and nothing was lost."""
        frame = frames[-1]
        if frame.pixels.shape != self._stable.shape:
            self.warm_up((frame.pixels.shape[0], frame.pixels.shape[1]))
        calibration = self._calibration.of(frame)
        if self._known is None or self._known[0] is not calibration:
            self._known = calibration, Anscombe(calibration)
        self._look_back(frames)
        self._known[1].forward(frame.pixels, self._stable)
        found = self._network.find(self._stable)
        self._last = frame.epoch, frame.index
        objects = without_doubles(found.where(self._wanted[found.scale]))
        return self._described(frame.pixels, calibration, objects.where(objects.objects[:, 0] >= self._probability))

    def _look_back(self, frames: Sequence[Frame]) -> None:
        """Show the network the frame before, unless it has just seen it."""
        frame, before = frames[-1], frames[-2] if len(frames) > 1 else None
        if before is None or not _follows(frame, before):
            self._network.keep(None)
        elif (before.epoch, before.index) != self._last:
            assert self._known is not None
            self._known[1].forward(before.pixels, self._stable)
            self._network.keep(self._stable)

    def _described(self, pixels: np.ndarray, calibration: PixelCalibration, found: Found) -> DescribedDetections:
        objects = found.objects
        x, y, radius = objects[:, 1].copy(), objects[:, 2].copy(), objects[:, 3].copy()
        light, whole = np.empty(len(objects)), found.scale > 0
        offset, gain = calibration.offset_adu, calibration.electrons_per_adu
        spots = ~whole
        of_spots = np.empty(int(spots.sum()))
        spot_light(pixels, offset, gain, x[spots], y[spots], radius[spots], of_spots)
        light[spots] = of_spots
        self._outline(found, whole)
        floor_e = _electrons(found.background, calibration)
        figures = np.empty((len(objects), 4))
        measured(self.outlines, pixels, offset, gain, floor_e, figures)
        drawn = figures[:, 0] > TRUE_OUTLINE * math.pi * radius**2
        true = whole & drawn
        x[true], y[true] = figures[true, 2], figures[true, 3]
        radius[true] = np.sqrt(figures[true, 0] / math.pi)
        light[whole] = figures[whole, 1]
        table = detections_of(x, y, radius, light, self._label[found.scale])
        probability, back_x, back_y, division, split, flash = objects[:, [0, 4, 5, 6, 7, 8]].T.astype(np.float32)
        return DescribedDetections(
            table.x_px, table.y_px, table.size_px, table.intensity, table.label,
            probability, back_x, back_y, division, split, flash,
        )  # fmt: skip

    def _outline(self, found: Found, whole: npt.NDArray[np.bool_]) -> None:
        """Fill ``outlines``; a label is 1 + the row among all objects."""
        rows = np.flatnonzero(whole)
        x, y, radius = found.objects[rows, 1], found.objects[rows, 2], found.objects[rows, 3]
        reach = REACH * radius / 2 + 1
        seeded(
            found.foreground, found.depth, (y - 0.5) / 2, (x - 0.5) / 2, reach, self._coarse, self._heap, self._chain
        )
        finer(self._coarse, found.foreground, self.outlines)
        names = np.concatenate([[0], 1 + rows]).astype(np.int32)
        np.take(names, self.outlines, out=self.outlines)


def _follows(frame: Frame, before: Frame) -> bool:
    """Whether nothing was lost or changed between the two."""
    alike = before.settings == frame.settings and before.pixels.shape == frame.pixels.shape
    return alike and before.epoch == frame.epoch and before.index == frame.index - 1 and not frame.lost_before


def _electrons(stable: float, calibration: PixelCalibration) -> float:
    """Electrons of a stabilised level."""
    excess = calibration.excess
    return (stable**2 / 4 - 0.375 - calibration.nominal_read_variance_e2 / excess**2) * excess


def _trial(half: tuple[int, int]) -> Found:
    """One object of each scale, so that everything is compiled."""
    objects = np.ones((3, 9))
    field = np.ones(half, np.float32)
    return Found(np.arange(3), objects, field, field, 0.0)

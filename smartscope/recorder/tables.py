"""Where objects are in um; and how ``localizations.npy`` grows with the run, with its copy for ThunderSTORM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from smartscope.frame import Roi, Settings
from smartscope.localization_files.records import RecordWriter
from smartscope.localization_files.table import of_frame
from smartscope.localization_files.thunderstorm import ThunderStormWriter
from smartscope.result import Result

Affine = tuple[tuple[float, float], tuple[float, float]]
Column = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What turns ROI pixels into micrometres."""

    pixel_size_um: float
    sensor_shape: tuple[int, int] | None = None
    stage_affine: Affine | None = None
    """As in ``Capabilities``."""

    @property
    def on_stage(self) -> bool:
        """Whether places are stage places; else they are distances from the sensor's first pixel."""
        return self.sensor_shape is not None and self.stage_affine is not None

    def place_um(self, settings: Settings, x_px: Column, y_px: Column) -> tuple[Column, Column]:
        """Where objects are: the stage place that centres them (as ``Context.stage_position_of``), or on the sensor."""
        x, y = settings.roi.x + x_px, settings.roi.y + y_px
        if self.sensor_shape is None or self.stage_affine is None:
            return x * self.pixel_size_um, y * self.pixel_size_um
        (h, w), ((a, b), (c, d)) = self.sensor_shape, self.stage_affine
        dx, dy = x - (w - 1) / 2, y - (h - 1) / 2
        return settings.x_um + a * dx + b * dy, settings.y_um + c * dx + d * dy


class LocalizationTables:
    """Single molecules of one run: bit for bit, and a CSV if wanted; made with the first result about molecules.

    The CSV counts from the corner of the first frame's region of interest, also when another follows.
    """

    def __init__(self, exact: Path, csv_copy: Path | None, pixel_size_nm: float) -> None:
        self._paths, self._pixel_size_nm = (exact, csv_copy), pixel_size_nm
        self._exact: RecordWriter | None = None
        self._csv_copy: ThunderStormWriter | None = None
        self._first_roi = Roi(0, 0, 0, 0)

    def append(self, result: Result) -> tuple[int, int] | None:
        """Number of the first molecule of this result in the table, and how many there are. Raises OSError."""
        if result.localizations is None:
            return None
        found, index, roi = result.localizations, result.frame.index, result.frame.settings.roi
        place = self._opened(roi).append(index, roi, found)
        if self._csv_copy is not None:
            molecules, first = of_frame(index, found), self._first_roi
            moved = (roi.x, roi.y) != (first.x, first.y)
            self._csv_copy.append(molecules.shifted(roi.x - first.x, roi.y - first.y) if moved else molecules)
        return place

    def close(self) -> None:
        """Close the files, if there are any."""
        for file in (self._exact, self._csv_copy):
            if file is not None:
                file.close()

    def _opened(self, roi: Roi) -> RecordWriter:
        if self._exact is None:
            exact, csv_copy = self._paths
            self._first_roi = roi
            self._csv_copy = ThunderStormWriter(csv_copy, self._pixel_size_nm) if csv_copy is not None else None
            self._exact = RecordWriter(exact)
        return self._exact

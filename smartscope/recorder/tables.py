"""How ``results/tracks.csv`` follows from the rows of a run, at its end or after a crash."""

from __future__ import annotations

import csv
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.frame import Settings
from smartscope.recorder import folder
from smartscope.recorder.jsonl import JsonLines, Row
from smartscope.recorder.rows import settings_from_row

COLUMNS = ("frame", "track_id", "x_px", "y_px", "parent_id", "x_um", "y_um")
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


def write_tracks(run: Path, geometry: Geometry) -> int:
    """Write each sighting of each track as a line (predicted positions are left out); returns how many.

    ``x_um, y_um`` are empty for a frame that ``frames.jsonl`` does not list. No tracks at all: no file.
    """
    rows = (row for row in JsonLines(run / folder.RESULTS) if row["tracks"] is not None)
    first = next(rows, None)
    if first is None:
        return 0
    settings = _SettingsByFrame(run)
    count = 0
    with (run / folder.TRACKS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in itertools.chain([first], rows):
            lines = _lines(row, settings.of(row["frame"]), geometry)
            writer.writerows(lines)
            count += len(lines)
    return count


def _lines(row: Row, settings: Settings | None, geometry: Geometry) -> list[tuple[Any, ...]]:
    """Lines of one result, straight from its lists: a long run has millions of sightings."""
    tracks = row["tracks"]
    seen = [missed == 0 for missed in tracks["missed_frames"]]
    ids, parents, x_px, y_px = (
        list(itertools.compress(tracks[name], seen)) for name in ("track_id", "parent_id", "x_px", "y_px")
    )
    if settings is None:
        x_um = y_um = [""] * len(ids)
    else:
        places = geometry.place_um(settings, np.array(x_px, float), np.array(y_px, float))
        x_um, y_um = (place.round(6).tolist() for place in places)
    return list(zip(itertools.repeat(row["frame"], len(ids)), ids, x_px, y_px, parents, x_um, y_um, strict=True))


class _SettingsByFrame:
    """Settings of frames asked for in rising order; both files are read once, side by side."""

    def __init__(self, run: Path) -> None:
        self._rows = iter(JsonLines(run / folder.FRAMES))
        self._row: Row | None = next(self._rows, None)

    def of(self, index: int) -> Settings | None:
        """Settings of frame ``index``, None if the record does not list it."""
        while self._row is not None and self._row["index"] < index:
            self._row = next(self._rows, None)
        return settings_from_row(self._row) if self._row is not None and self._row["index"] == index else None

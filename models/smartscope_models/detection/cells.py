"""Cells and nuclei as whole objects: what counts as background, where one cell ends, and what size is a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from smartscope.errors import PluginError
from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Detections, Result, empty_detections
from smartscope_models.calibration import Floats
from smartscope_models.denoise.pilot import TAPS, blur
from smartscope_models.detection.objects import detections_of, joined
from smartscope_models.detection.regions import distances, fill_hollows, flood, measure, otsu, reduce
from smartscope_models.mirror import place, sources

CELL = 1
"""Label of a cell."""
COARSE_RADIUS_PX = 4
"""The smallest cell keeps this radius in the reduced picture; finer detail costs time and finds no more cells."""
CLEAR = 4.5
"""Bright minus dark class, in standard deviations of the dark one, below which there is nothing to see."""
EDGE = 0.25
"""Where a cell begins: this part of the way from the background to the bright class, in the square root of light."""
BODY = 0.5
"""The same for one cell's own brightness, so that a bright cell is not drawn larger than a dim one."""
NECK = 0.85
"""Two cells touch where the pass between them is lower than this part of the lower top (depth · brightness)."""
_MARGIN = 4


class _Work:
    """Arrays for one reduced size, overwritten by each frame."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.rows, self.columns = (sources(n, _MARGIN) for n in shape)
        self.electrons, self.picture = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        padded = (len(self.rows), len(self.columns))
        self.padded, self.smooth = np.zeros(padded, np.float32), np.zeros(padded, np.float32)
        self.line = np.zeros(padded[1], np.float32)
        self.depth, self.filled = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.labels = np.zeros(shape, np.int32)


class CellDetector:
    """Bright cells on a darker background: a threshold found in each frame, and a watershed that parts touching cells.

    It looks at ``so_far.image`` where a denoiser left one, else at the raw frame, reduced so that the smallest cell is
    a few pixels wide.
    """

    history = 0
    reads = frozenset({"image"})

    def __init__(
        self,
        setup: Instrument,
        *,
        min_radius_um: Annotated[float, Field(gt=0, le=1000)] = 2.5,
        max_radius_um: Annotated[float, Field(gt=0, le=10_000)] = 25.0,
    ) -> None:
        """Radii of the disc that covers as much as the cell does; raises PluginError if they are in the wrong order."""
        if min_radius_um >= max_radius_um:
            raise PluginError(
                f"min_radius_um {min_radius_um} is not below max_radius_um {max_radius_um}",
                where="detect_cells",
                remedy="give the radii of the smallest and the largest cell, in um",
            )
        camera = setup.camera
        um_per_px = camera.pixel_size_nm / 1000
        self._radii_px = (min_radius_um / um_per_px, max_radius_um / um_per_px)
        self._factor = max(1, int(self._radii_px[0] / COARSE_RADIUS_PX))
        self._offset = np.float32(camera.offset_adu)
        self._gain = np.float32(camera.electrons_per_adu / camera.em_gain)
        self._read_variance = (camera.read_noise_e / camera.em_gain) ** 2
        self._work = _Work((1, 1))

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and allocate for frames of this (H, W)."""
        scene = np.zeros(shape, np.uint16)
        scene[: shape[0] // 2] = 1000
        self._detect(scene)
        self._detect(scene.astype(np.float32))

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with the cells of ``frames[-1]`` added to ``detections``."""
        image = frames[-1].pixels if so_far.image is None else so_far.image
        return replace(so_far, detections=joined(so_far.detections, self._detect(image)))

    def _detect(self, image: np.ndarray) -> Detections:
        shape = (image.shape[0] // self._factor, image.shape[1] // self._factor)
        if 0 in shape:
            return empty_detections()
        if shape != self._work.shape:
            self._work = _Work(shape)
        work = self._work
        reduce(image, self._offset, self._gain, self._factor, work.electrons)
        picture = self._picture()
        split = otsu(picture)
        dark, bright = picture[picture < split], picture[picture >= split]
        if not len(dark) or not len(bright):
            return empty_detections()
        floor = float(np.median(dark))
        spread = max(1.4826 * float(np.median(np.abs(dark - floor))), self._known_spread())
        contrast = float(bright.mean()) - floor
        if contrast < CLEAR * spread:
            return empty_detections()
        mask = picture > floor + max(EDGE * contrast, 3 * spread)
        distances(mask, work.depth)
        fill_hollows(picture, mask, work.filled)
        work.depth *= np.minimum(work.filled - np.float32(floor), np.float32(contrast))
        count = flood(work.depth, mask, np.float32(NECK), work.labels)
        return self._cells(measure(work.labels, picture, work.electrons, floor, BODY, count))

    def _picture(self) -> Floats:
        """Square root of the reduced light, smoothed: equal noise everywhere, and dim cells are not outshone."""
        work = self._work
        np.sqrt(np.maximum(work.electrons, 0, out=work.picture), out=work.picture)
        place(work.picture, _MARGIN, work.rows, work.columns, work.padded)
        blur(work.padded, TAPS, work.line, work.smooth)
        height, width = work.shape
        return work.smooth[_MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width]

    def _known_spread(self) -> float:
        """Noise of the picture where light is weak: half the read noise, reduced and smoothed (by about 3.5)."""
        return 0.5 * math.sqrt(self._read_variance + 1) / self._factor / 3.5

    def _cells(self, measured: np.ndarray) -> Detections:
        """Regions of a cell's size, in pixels of the frame."""
        radius = np.sqrt(measured[:, 2] / np.pi) * self._factor
        kept = (radius >= self._radii_px[0]) & (radius <= self._radii_px[1])
        x, y = measured[kept, :2].T * self._factor + (self._factor - 1) / 2
        total = measured[kept, 3] * self._factor**2
        return detections_of(x, y, radius[kept], total, CELL)

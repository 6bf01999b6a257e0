"""From a raw frame to the necks of what is in it: light over its background, smoothed, and how far down it is one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from smartscope.ports import Instrument
from smartscope_models.denoise.pilot import TAPS, blur
from smartscope_models.detection.regions import reduce
from smartscope_models.events.following import Doubles
from smartscope_models.events.necks import COLUMNS, MOST_NECKS, flood_necks
from smartscope_models.mirror import place, sources

APART = 0.17
"""Depth of a pass below which there are two."""
PIECE_UM2 = 0.2
"""The smallest side of a neck."""
PIXEL_NM = 80.0
"""Finer pixels are put together."""
_FLOOR, _CLEAR = 0.06, 4.0
"""Where objects end: part of their light; standard deviations of the noise."""
_BRIGHT = 0.3
"""Part of the brightest light above which pixels are of objects."""
_DARK_QUANTILE, _TOP_QUANTILE = 30, 99
_FULLEST = 0.5
"""Part of the frame; what fills more is no tubes."""
_SMOOTHED = 0.29
"""What the blur leaves of white noise."""
_MARGIN = 3
Labels = npt.NDArray[np.int32]


class Tubes:
    """Finds the necks of frames of any size."""

    def __init__(self, setup: Instrument) -> None:
        camera = setup.camera
        self.factor = max(1, round(PIXEL_NM / camera.pixel_size_nm))
        self._um = camera.pixel_size_nm / 1000 * self.factor
        self._offset, self._gain = np.float32(camera.offset_adu), np.float32(camera.electrons_per_adu / camera.em_gain)
        self._excess = 2.0 if camera.em_gain > 1 else 1.0
        self._read_variance = (camera.read_noise_e / camera.em_gain) ** 2
        self._found = np.empty((MOST_NECKS, len(COLUMNS)))

    def necks(self, pixels: np.ndarray) -> tuple[Doubles, Labels]:
        """(K, 7) necks, places in pixels of the frame; (h, w) objects from 1, 0 outside, ``factor`` pixels each."""
        shape = (pixels.shape[0] // self.factor, pixels.shape[1] // self.factor)
        labels = np.zeros(shape, np.int32)
        if min(shape) < 2 * _MARGIN:
            return np.empty((0, len(COLUMNS))), labels
        light = self._smoothed(pixels, shape)
        some = light[::2, ::2]
        dark, top = np.percentile(some, (_DARK_QUANTILE, _TOP_QUANTILE))
        light -= np.float32(dark)
        noise = _SMOOTHED * math.sqrt(self._excess * max(float(dark), 0.0) + self._read_variance) / self.factor
        bright = some[some > _BRIGHT * (top - dark)]  # ``some`` has lost its background too: it is a view
        floor = max(_FLOOR * float(bright.mean()) if bright.size else 0.0, _CLEAR * noise)
        if not top - dark > 2 * floor or (some > floor).mean() > _FULLEST:
            return np.empty((0, len(COLUMNS))), labels
        least = PIECE_UM2 / self._um**2
        count = flood_necks(light, np.float32(floor), least, APART, labels, self._found)
        found = self._found[:count].copy()
        for column in (0, 1, 3, 4, 5, 6):
            found[:, column] = found[:, column] * self.factor + (self.factor - 1) / 2
        return found, labels

    def _smoothed(self, pixels: np.ndarray, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        electrons = np.empty(shape, np.float32)
        reduce(pixels, self._offset, self._gain, self.factor, electrons)
        rows, columns = (sources(edge, _MARGIN) for edge in shape)
        padded = np.empty((len(rows), len(columns)), np.float32)
        place(electrons, _MARGIN, rows, columns, padded)
        smooth = np.empty_like(padded)
        blur(padded, TAPS, np.empty(len(columns), np.float32), smooth)
        return np.ascontiguousarray(smooth[_MARGIN : _MARGIN + shape[0], _MARGIN : _MARGIN + shape[1]])

"""A picture of molecules that is added to in place; coarser ones are sums of its pixels, so one serves every zoom."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from smartscope.optics.psf import add_stamps
from smartscope.result import Floats
from smartscope_models.localization.molecules import Doubles

Style = Literal["gaussian", "histogram"]

SHARP_PX = 0.05
"""Width of a point: all of it falls into one pixel."""
UNKNOWN_PX = 0.5
"""Width of a molecule whose error is not known."""
COPIED_AT_ONCE = 1 << 20
"""Pixels of the picture that are copied at one frame."""


class Canvas:
    """(zoom H, zoom W) float32, molecules per pixel, of a frame of (H, W) pixels."""

    def __init__(self, shape: tuple[int, int], pixel_size_nm: float, zoom: int, style: Style) -> None:
        self.zoom, self._style = zoom, style
        self._pixel_nm = pixel_size_nm / zoom
        self.image: Floats = np.zeros((shape[0] * zoom, shape[1] * zoom), np.float32)

    def add(self, x_nm: Doubles, y_nm: Doubles, error_nm: Doubles, amount: float = 1.0) -> None:
        """Molecules (N,) from the outer corner: Gaussians as wide as their errors, or points; -1 takes them out."""
        x, y, sigma = x_nm / self._pixel_nm - 0.5, y_nm / self._pixel_nm - 0.5, error_nm / self._pixel_nm
        if self._style == "histogram":
            x, y, sigma = np.rint(x), np.rint(y), np.full(len(x), SHARP_PX)
        else:
            sigma = np.where(sigma > 0, np.maximum(sigma, SHARP_PX), UNKNOWN_PX)
        add_stamps(self.image, x, y, sigma, np.full(len(x), amount))


class Copying:
    """A copy of the canvas at a coarser zoom, strip by strip, so that no frame waits for a large picture."""

    def __init__(self, canvas: Canvas, zoom: int) -> None:
        self._canvas, self._factor, self.zoom = canvas, canvas.zoom // zoom, zoom
        rows, columns = (int(edge) // self._factor for edge in canvas.image.shape)
        self.image: Floats = np.empty((rows, columns), np.float32)
        self._rows, self._columns, self._done = rows, columns, 0

    def go_on(self) -> bool:
        """Copy another strip; whether the copy is whole."""
        factor, first = self._factor, self._done
        self._done = min(first + max(COPIED_AT_ONCE // (self._columns * factor**2), 1), self._rows)
        fine = self._canvas.image[first * factor : self._done * factor]
        self._copy(fine, self.image[first : self._done])
        return bool(self._done == self._rows)

    def _copy(self, fine: npt.NDArray[np.float32], target: npt.NDArray[np.float32]) -> None:
        if self._factor > 1:
            fine = fine.reshape(len(target), self._factor, target.shape[1], self._factor).sum((1, 3))
        np.maximum(fine, 0, out=target)  # what was taken out leaves rounding errors

"""Only this file knows the light behind single molecules: autofluorescence and dye far out of focus, uneven, bleaching.

A smooth field as of gradient noise: a few octaves of Gaussian random fields, exponentiated so that it stays positive.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from numba import njit
from pydantic import Field

from smartscope.config import NotNegative, Positive, Section
from smartscope.specimens.protocol import PlaceDose, Points, View

_OCTAVES = 3
_FINEST = 4
"""Grid points to the finest octave's scale."""


class HazeOptions(Section):
    """How bright, how uneven, and how lasting."""

    per_um2: NotNegative = 0.4
    """Molecules of the dye, always on, in the column over a square micrometre: the mean."""
    contrast: NotNegative = 0.4
    """Standard deviation over the mean."""
    scale_um: Positive = 4.0
    """Of the coarsest structure; each octave is twice as fine and half as strong."""
    bleaching_share: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Part that bleaches; the rest is replaced by flow or lies in the glass."""
    half_dose_j_per_cm2: Positive = 40_000.0
    """Light of any colour that bleaches half of that part."""


class Haze:
    """A field over a square around the origin, continued beyond by its edge."""

    def __init__(self, options: HazeOptions, area_um: float, seed: int) -> None:
        self._options = options
        pitch_um = options.scale_um / (2 ** (_OCTAVES - 1) * _FINEST)
        points = max(4, math.ceil(area_um / pitch_um) + 1)
        self._pitch_um = area_um / (points - 1)
        self._field = _uneven(points, self._pitch_um, options, np.random.default_rng((seed, 7)))
        at = np.linspace(-area_um / 2, area_um / 2, points)
        self._places: Points = np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
        self._places.setflags(write=False)
        self._doses = np.zeros(points * points)

    def expose(self, dose_at: PlaceDose) -> None:
        """Bleach each place by its dose."""
        self._doses += dose_at(self._places)

    def add(self, picture: npt.NDArray[np.float32], view: View, electrons: float) -> None:
        """Add it to ``picture`` (H, W), ``electrons`` for one molecule."""
        options = self._options
        left = np.exp2(-self._doses / options.half_dose_j_per_cm2).reshape(self._field.shape)
        per_pixel = options.per_um2 * view.pixel_um**2 * electrons
        shown = (per_pixel * self._field * (1 - options.bleaching_share * (1 - left))).astype(np.float32)
        affine = np.asarray(view.affine_um_per_px)
        first = (np.asarray(view.stage_um) - affine @ view.centre_px()) / self._pitch_um + (len(shown) - 1) / 2
        _add_field(picture, shown, first[0], first[1], affine / self._pitch_um)


def _uneven(points: int, pitch_um: float, options: HazeOptions, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """(points, points) of mean 1."""
    frequency = np.fft.fftfreq(points, pitch_um)
    square = frequency[:, None] ** 2 + np.fft.rfftfreq(points, pitch_um) ** 2
    total = np.zeros((points, points))
    for octave in range(_OCTAVES):
        spectrum = np.fft.rfft2(rng.standard_normal((points, points)))
        spectrum *= np.exp(-2 * (math.pi * options.scale_um / 2 ** (octave + 1)) ** 2 * square)
        field = np.fft.irfft2(spectrum, (points, points))
        total += (field - field.mean()) / field.std() / 2**octave
    field = np.exp(math.sqrt(math.log1p(options.contrast**2)) * total / total.std())  # a log-normal of that contrast
    return np.asarray(field / field.mean())


@njit(nogil=True, cache=True)
def _add_field(picture: Any, field: Any, x0: float, y0: float, affine: Any) -> None:
    """Add ``field`` (n, n), linearly interpolated; ``x0``, ``y0``: its place at pixel (0, 0), ``affine``: per pixel."""
    height, width = picture.shape
    last = field.shape[0] - 1.0
    for row in range(height):
        for column in range(width):
            x = min(max(x0 + affine[0, 0] * column + affine[0, 1] * row, 0.0), last)
            y = min(max(y0 + affine[1, 0] * column + affine[1, 1] * row, 0.0), last)
            i, j = min(int(y), field.shape[0] - 2), min(int(x), field.shape[0] - 2)
            fx, fy = np.float32(x - j), np.float32(y - i)
            above = field[i, j] + fx * (field[i, j + 1] - field[i, j])
            below = field[i + 1, j] + fx * (field[i + 1, j + 1] - field[i + 1, j])
            picture[row, column] += above + fy * (below - above)

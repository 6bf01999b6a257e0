"""How fine the picture of all molecules so far is: ring correlation of two halves that fill up as they come.

Nieuwenhuizen et al., Nat. Methods 10:557 (2013). The halves are filled in turn by blocks of time much longer than a
molecule stays on, in the order A B B A, so that what drift and bleaching leave is the same in both. Molecules of the
first moments of a block are left out, since they may have been on in the one before: without that a molecule seen in
both halves would look like structure. One that comes back from the dark in a later block still does, and makes the
figure better than it is; this is not corrected for.

Counting into pixels blurs structure but not noise; as the noise of so many molecules is known, the blur is taken out.
The transforms are done in strips, one at each frame, so that no frame waits for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import fft

from smartscope_models.localization.molecules import Molecules
from smartscope_models.resolution import FADE, SMOOTHING_RINGS, correlation_curve, crossing

MOST_PX = 1024
"""Edge of the square, in the middle of the field, that is looked at."""
LEAST_PX = 64
STRIP = 131_072
"""Elements that are worked on at each frame."""
ON_TIMES = 5.0
"""Times on after which a molecule that was on when a block began is gone."""
GUARD_S = 0.5
"""Left out at the start of each block while the time on is not known."""
FEWEST = 500
"""Molecules in each half, below which nothing is said."""
SMOOTHED = 100
"""The curve is smoothed over a 50th of its rings at least, since its first fall is what counts."""
COARSEST = 1 / 8
"""Of the field: what is no finer is chance."""


class HalfSets:
    """Two pictures of half the molecules each, and now and then how far they agree."""

    def __init__(self, width_nm: float, height_nm: float, pixel_nm: float, block_s: float, every_s: float) -> None:
        self.size = max(min(int(min(width_nm, height_nm) / pixel_nm), MOST_PX) // 2 * 2, LEAST_PX)
        self._pixel_nm, self._block_s, self._every_s = pixel_nm, block_s, every_s
        self._left_nm, self._top_nm = ((edge - self.size * pixel_nm) / 2 for edge in (width_nm, height_nm))
        self._halves = np.zeros((2, self.size, self.size), np.float32)
        self._counts = [0, 0]
        self._begun_s = self._measured_s = -math.inf
        self._work: Iterator[None] | None = None
        self.resolution_nm: float | None = None
        """As last measured; None where the halves have too little in common to say."""

    def add(self, found: Molecules, dx_nm: float, dy_nm: float, on_time_ms: float | None) -> None:
        """Molecules whose drift is known; blocks follow from their time."""
        if math.isinf(self._begun_s):
            self._begun_s = self._measured_s = found.t_s
        block, within_s = divmod(found.t_s - self._begun_s, self._block_s)
        guard_s = GUARD_S if on_time_ms is None else min(ON_TIMES * on_time_ms / 1e3, self._block_s / 2)
        if block and within_s < guard_s:
            return
        half = int(block % 4 in (1, 2))
        x, y = found.x_nm - (self._left_nm + dx_nm), found.y_nm - (self._top_nm + dy_nm)
        self._counts[half] += _count(self._halves[half], x / self._pixel_nm, y / self._pixel_nm)

    def work(self, t_s: float) -> None:
        """A strip of the measurement that is under way; begins one when it is time and the halves hold enough."""
        if self._work is None:
            if t_s - self._measured_s < self._every_s or min(self._counts) < FEWEST:
                return
            self._measured_s, self._work = t_s, self._measure()
        if next(self._work, self) is self:
            self._work = None

    def warm_up(self, few: Molecules) -> None:
        """Compile; not for an object in use."""
        self.add(few, 0.0, 0.0, None)
        for _ in self._measure():
            pass

    def _measure(self) -> Iterator[None]:
        """Both spectra, then the sums over rings; a pause after each strip."""
        size, half = self.size, self.size // 2 + 1
        fade = _fade(size)
        spectra = np.empty((2, size, half), np.complex64)
        for picture, spectrum, count in zip(self._halves, spectra, self._counts, strict=True):
            for rows in _strips(size, size):
                faded = (picture[rows] - np.float32(count / size**2)) * (fade[rows, None] * fade)
                spectrum[rows] = fft.rfft(faded, axis=1)
                yield
            for columns in _strips(half, size):
                spectrum[:, columns] = fft.fft(spectrum[:, columns], axis=0)
                yield
        sums, noise = np.zeros((3, size // 2)), np.array(self._counts) * float(np.mean(fade**2)) ** 2
        unblur = 1 / np.sinc(fft.fftfreq(size)) ** 2
        for rows in _strips(size, size):
            _add_rings(spectra[0], spectra[1], rows.start, rows.stop, noise, unblur, sums)
            yield
        curve = correlation_curve(sums, 2 * (size // SMOOTHED) + SMOOTHING_RINGS)
        found = crossing(curve, size * self._pixel_nm)
        self.resolution_nm = found if found <= COARSEST * size * self._pixel_nm else None


def _strips(lines: int, length: int) -> Iterator[slice]:
    """Slices of so many lines, each of ``length`` elements, that hold about ``STRIP`` elements together."""
    step = max(STRIP // length, 1)
    return (slice(first, min(first + step, lines)) for first in range(0, lines, step))


def _fade(size: int) -> npt.NDArray[np.float32]:
    """(N,) from 0 at the edges to 1, as in ``resolution.spectrum``."""
    place = (np.arange(size) + 0.5) / size
    return (np.sin(np.pi / 2 * np.minimum(1, np.minimum(place, 1 - place) / FADE)) ** 2).astype(np.float32)


@njit(nogil=True, cache=True)
def _count(picture, x, y):  # type: ignore[no-untyped-def]
    """Count points, in pixels from the outer corner, into ``picture`` (N, N); returns how many lie in it."""
    size, counted = len(picture), 0
    for n in range(len(x)):
        column, row = math.floor(x[n]), math.floor(y[n])
        if 0 <= column < size and 0 <= row < size:
            picture[row, column] += 1
            counted += 1
    return counted


@njit(nogil=True, cache=True)
def _add_rings(one, two, first, last, noise, unblur, sums):  # type: ignore[no-untyped-def]
    """Add rows of two half-spectra (N, N / 2 + 1) to ``sums`` (3, N / 2): cross-power and both powers, by ring.

    ``noise`` (2,): power of either half's molecules were they anywhere; ``unblur`` (N,): what undoes a pixel's blur.
    """
    size, rings = len(one), sums.shape[1]
    for row in range(first, last):
        down = row if row < size - row else row - size
        for column in range(one.shape[1]):
            ring = int(math.sqrt(down * down + column * column) + 0.5)
            if ring < rings:
                a, b, gain = one[row, column], two[row, column], unblur[row] * unblur[column]
                sums[0, ring] += gain * (a.real * b.real + a.imag * b.imag)
                sums[1, ring] += gain * (a.real * a.real + a.imag * a.imag - noise[0]) + noise[0]
                sums[2, ring] += gain * (b.real * b.real + b.imag * b.imag - noise[1]) + noise[1]

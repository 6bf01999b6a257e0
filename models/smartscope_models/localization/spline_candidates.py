"""Where a frame asks for a molecule of a measured point spread function: matched filters of several heights, the best.

As in :mod:`smartscope_models.localization.candidates` the test value is Rao's score in units of the noise expected of
the model, so that the threshold stays where it is however many molecules there are. A double helix or a tetrapod looks
different at each height and is no product of two profiles: hence a filter for each, as products of Fourier transforms.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import fft

from smartscope.optics.point_spread.spline import SplinePointSpread, SplineSpots
from smartscope_models.calibration import Floats
from smartscope_models.localization.candidates import maxima, threshold
from smartscope_models.localization.fit import Doubles
from smartscope_models.localization.fit_kernels import FAINTEST


def filter_width(spots: SplineSpots) -> Doubles:
    """(N,): width of the Gaussian that makes filtered noise as rough as each of these spots does.

    White noise filtered with p has a slope of variance sum(p_x²) / sum(p²), with a Gaussian 1 / (2 sigma²).
    """
    energy, along, down = ((part**2).sum(axis=(1, 2)) for part in (spots.values, spots.by_x, spots.by_y))
    return np.asarray(np.sqrt(0.5 * energy / np.sqrt(along * down)))


@njit(nogil=True, cache=True, error_model="numpy")
def strongest_apart(places, score, apart):  # type: ignore[no-untyped-def]
    """Of places (K, 2) rows and columns those, the strongest first, with no stronger one of them within ``apart``."""
    order = np.argsort(-np.array([score[i, j] for i, j in places]))
    kept, count = np.empty(len(places), np.int64), 0
    for k in order:
        alone = True
        for other in kept[:count]:
            i, j = places[k] - places[other]
            if i * i + j * j < apart * apart:
                alone = False
                break
        if alone:
            kept[count] = k
            count += 1
    return places[kept[:count]]


class SplineCandidates:
    """The filters for frames of one size."""

    def __init__(
        self,
        spline: SplinePointSpread,
        heights_nm: Doubles,
        radius: int,
        shape: tuple[int, int],
        rate: float,
        most: int,
    ) -> None:
        """Filters of 2 radius + 1 pixels, one for each height; rate: false alarms in a million pixels, of all."""
        side = 2 * radius + 1
        spots = spline.spots(float(radius), float(radius), heights_nm, (side, side))
        self._size = tuple(fft.next_fast_len(max(n + radius, side), real=True) for n in shape)
        self._filters, self._squares = (self._spectra(kernel, radius) for kernel in (spots.values, spots.values**2))
        self._threshold = np.float32(threshold(float(filter_width(spots).min()), rate / len(heights_nm)))
        self._heights = heights_nm
        self._places = np.empty((most, 2), np.int64)

    def _spectra(self, kernels: Doubles, radius: int) -> npt.NDArray[np.complex64]:
        """Of kernels (N, side, side) with their middle at the origin, to be correlated with."""
        canvas = np.zeros((len(kernels), *self._size), np.float32)
        ring = np.arange(-radius, radius + 1)
        canvas[:, (ring % self._size[0])[:, None], ring % self._size[1]] = kernels
        return np.asarray(np.conj(fft.rfft2(canvas)))

    def _correlated(self, image: Floats, spectra: npt.NDArray[np.complex64]) -> Floats:
        """(N, H, W): the image, dark around, under each filter."""
        height, width = image.shape
        product = fft.rfft2(image, self._size) * spectra
        return np.asarray(fft.irfft2(product, self._size, overwrite_x=True)[:, :height, :width])

    def of(self, light: Floats, read: Floats, model: Floats, variance: Floats, apart: float) -> Doubles:
        """(K, 4): x, y, N and z where a molecule is missing from ``model``, no two closer than ``apart``.

        light, read, model, variance: (H, W) float32; ``variance`` is that of the noise, and of what else is forgiven.
        """
        weight = np.reciprocal(np.maximum(variance, np.float32(FAINTEST)))
        rest: Floats = (light + read - model) * weight
        missing, known = self._correlated(rest, self._filters), self._correlated(weight, self._squares)
        known[known < 1e-6 * known.max()] = 1e-6 * known.max()
        score = missing / np.sqrt(known)
        best = score.max(axis=0)
        places = self._places[: maxima(best, self._threshold, self._places)]
        rows, columns = strongest_apart(places, best, apart).T
        plane = score[:, rows, columns].argmax(axis=0)
        number = missing[plane, rows, columns] / known[plane, rows, columns]
        return np.column_stack([columns, rows, number, self._heights[plane]]).astype(np.float64)

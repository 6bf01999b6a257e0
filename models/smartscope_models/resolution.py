"""How fine an image truly is: Fourier ring correlation of two images, decorrelation analysis of one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from smartscope.errors import InputError

Image = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]

LEVEL = 1 / 7
"""Correlation at which two noisy images stop saying the same (Nieuwenhuizen et al., Nat. Methods 10:557 (2013))."""
FADE = 0.25
"""Share of each edge over which an image is faded out, lest its border count as detail."""
SMOOTHING_RINGS = 5
FIRST_RING = 3

FILTERS = 10
STEPS = 50
DROP = 5e-4
"""By how much a decorrelation curve must fall after its peak for the peak to count."""


def ring_correlation(one: Image, two: Image) -> Doubles:
    """(N / 2,) correlation of two (N, N) images ring by ring, each ring one cycle per field wide, smoothed over five.

    Raises:
        InputError: images of different size, not square, or holding values that are no numbers.
    """
    first, second = spectrum(one), spectrum(two)
    if first.shape != second.shape:
        raise InputError(
            f"images of {one.shape} and {two.shape} pixels", where="ring correlation", allowed="the same size"
        )
    ring = rings(len(one))
    count = len(one) // 2
    sums = [
        np.bincount(ring.ravel(), values.ravel())[:count]
        for values in ((first * second.conj()).real, np.abs(first) ** 2, np.abs(second) ** 2)
    ]
    return correlation_curve(np.asarray(sums, np.float64))


def correlation_curve(sums: Doubles, over_rings: int = SMOOTHING_RINGS) -> Doubles:
    """(R,) correlation from the sums (3, R) over each ring of the product of two spectra, and of either's power.

    ``over_rings``: an odd number over which all three are smoothed.
    """
    cross, power_one, power_two = (_smoothed(values, over_rings) for values in sums)
    return np.asarray(cross / np.sqrt(np.maximum(power_one * power_two, 1e-300)))


def _smoothed(values: Doubles, over_rings: int) -> Doubles:
    around = np.pad(values, over_rings // 2, mode="edge")
    return np.asarray(np.convolve(around, np.full(over_rings, 1 / over_rings), "valid"))


def ring_resolution(one: Image, two: Image, field_nm: float, level: float = LEVEL) -> float:
    """Period, nm, at which the ring correlation first falls below ``level``; the field where it never was above.

    Raises:
        InputError: as ``ring_correlation``.
    """
    return crossing(ring_correlation(one, two), field_nm, level)


def crossing(curve: Doubles, field_nm: float, level: float = LEVEL) -> float:
    """Period, nm, at which a (R,) curve first falls below ``level``; the field where it never was above."""
    low = np.flatnonzero(curve[FIRST_RING:] < level)
    if not len(low):
        return field_nm / (len(curve) - 1)
    at = int(low[0]) + FIRST_RING
    if at == FIRST_RING or curve[at - 1] <= curve[at]:
        return field_nm if at == FIRST_RING else field_nm / (at - 1)
    return float(field_nm / (at - 1 + (curve[at - 1] - level) / (curve[at - 1] - curve[at])))


def spectrum(image: Image) -> npt.NDArray[np.complex128]:
    """(N, N) of an image without its mean, faded out towards its edges.

    Raises:
        InputError: not square, or values that are no numbers.
    """
    if image.ndim != 2 or image.shape[0] != image.shape[1] or len(image) < 16:
        raise InputError(f"an image of {image.shape} pixels", where="resolution", allowed="square, 16 pixels or more")
    if not np.isfinite(image).all():
        raise InputError("values that are no numbers", where="resolution", remedy="look at what made the image")
    place = (np.arange(len(image)) + 0.5) / len(image)
    fade = np.sin(np.pi / 2 * np.minimum(1, np.minimum(place, 1 - place) / FADE)) ** 2
    return np.asarray(fft.fft2((image - image.mean()) * fade[:, None] * fade))


def rings(size: int) -> npt.NDArray[np.int64]:
    """(size, size) nearest whole number of cycles per field of each element of a transform."""
    axis = fft.fftfreq(size, 1 / size)
    return np.asarray(np.rint(np.hypot(axis, axis[:, None])), np.int64)


@dataclass(frozen=True, slots=True)
class Decorrelation:
    """What one image says of itself."""

    resolution_nm: float
    """Infinite where no detail stands out of the noise."""
    amplitude: float
    """Height of the unfiltered curve's peak: near 1 without noise."""


def decorrelation(image: Image, pixel_size_nm: float) -> Decorrelation:
    """Descloux, Grussmayer, Radenovic, Nat. Methods 16:918 (2019), on radial sums: one transform in all.

    A curve is the correlation of the image with its own phases up to a radius r (1 = half the sampling frequency);
    high-pass filters of growing strength move its peak outwards as far as there is detail.

    Raises:
        InputError: not square, or values that are no numbers.
    """
    curves = _Curves(image)
    peak, amplitude = curves.peak(0.0, np.linspace(0, 1, STEPS))
    widest = 2 / peak if peak > 0 else len(image) / 2
    radii = np.linspace(0, 1, STEPS)
    sigmas = np.concatenate(
        [[len(image) / 4], np.exp(np.linspace(math.log(max(widest, 0.16)), math.log(0.15), FILTERS))]
    )
    best = max(peak, 0.0)
    for _ in range(2):
        peaks = np.array([curves.peak(sigma, radii)[0] for sigma in sigmas])
        if peaks.max() <= 0:
            break
        best = max(best, float(peaks.max()))
        at = int(np.argmax(peaks))
        low, high = sigmas[min(at + 1, len(sigmas) - 1)], sigmas[max(at - 1, 0)]
        sigmas = np.exp(np.linspace(math.log(high), math.log(max(low, 1e-3)), FILTERS))
        radii = np.linspace(max(best - 0.05, 0.0), min(best + 0.3, 1.0), STEPS)
    return Decorrelation(2 * pixel_size_nm / best if best > 0 else math.inf, amplitude)


class _Curves:
    """Radial sums of one image's spectrum, from which every filtered curve follows."""

    def __init__(self, image: Image) -> None:
        found = np.abs(spectrum(image))
        axis = fft.fftfreq(len(image), 0.5)
        radius = np.hypot(axis, axis[:, None]).ravel()
        inside = (radius <= 1) & (radius > 0)
        bins = 2 * len(image)
        self._radius = (np.arange(bins) + 0.5) / bins
        which = np.minimum((radius[inside] * bins).astype(np.int64), bins - 1)
        self._count = np.bincount(which, minlength=bins)
        self._size = np.bincount(which, found.ravel()[inside], bins)
        self._power = np.bincount(which, found.ravel()[inside] ** 2, bins)

    def peak(self, sigma: float, radii: Doubles) -> tuple[float, float]:
        """Radius and height of the peak after a Gaussian high-pass filter of ``sigma`` (0: none); 0 without one."""
        passed = 1 - np.exp(-2 * sigma**2 * self._radius**2) if sigma > 0 else np.ones_like(self._radius)
        whole = math.sqrt(float((self._power * passed**2).sum()))
        norm = np.sqrt(np.maximum(np.cumsum(self._count), 1)) * max(whole, 1e-300)
        curve = np.asarray(np.interp(radii, self._radius, np.cumsum(self._size * passed) / norm), np.float64)
        at = _peak(curve)
        return (float(radii[at]), float(curve[at])) if at else (0.0, float(curve[0]))


def _peak(curve: Doubles) -> int:
    """Index of the last maximum after which the curve truly falls; 0 where there is none."""
    length = len(curve)
    while length > 1:
        at = int(np.argmax(curve[:length]))
        if at == 0:
            return 0
        if at < length - 1 and curve[at] - curve[at:length].min() >= DROP:
            return at
        length -= 1
    return 0

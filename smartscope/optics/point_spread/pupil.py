"""Only this file knows how the objective's pupil makes the image of a molecule, scalar or vectorial, at any height.

The field in the image is the Fourier transform of the field in the pupil (Goodman, Fourier Optics, chapter 5; Hanser,
Gustafsson, Agard, Sedat, Journal of Microscopy 216 (2004) 32). A molecule that turns freely shines as three dipoles
that know nothing of each other, each with two polarisations: six pupils (Backer, Moerner, Journal of Physical Chemistry
B 118 (2014) 8313; Stallinga, Rieger, Optics Express 18 (2010) 24461, with Fresnel's coefficients where sample and
immersion differ). The transform is a product of matrices on just the points wanted (Soummer et al., Optics Express 15
(2007) 15935), here three by three to a pixel, so that pixels integrate (Gauss-Legendre, exact to fifth order).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.optics.point_spread.spline import SplinePointSpread
from smartscope.optics.point_spread.zernike import noll, zernike

Doubles = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]
_NODES = np.array([-1.0, 0.0, 1.0]) * math.sqrt(3 / 5) / 2
_SHARES = np.array([5.0, 8.0, 5.0]) / 18


@dataclass(frozen=True, slots=True)
class PupilOptics:
    """What light passes on its way to the camera."""

    numerical_aperture: float
    emission_nm: float
    refractive_index: float = 1.515
    """Of immersion and cover glass."""
    sample_index: float | None = None
    """Refractive index around the molecule; None: the immersion's."""
    depth_nm: float = 0.0
    """Height of the focus above the cover glass; it matters where the indices differ."""
    aberrations_nm: Mapping[int, float] = field(default_factory=dict)
    """Noll's number → optical path, root mean square over the pupil; angles run from x towards y, which points down."""
    vectorial: bool = True
    """Polarisation counts; it does from a numerical aperture of about 0.8 on."""
    points: int = 96
    """Along the pupil's diameter: the image repeats itself after so many times lambda / (2 NA)."""


class Pupil:
    """Images of one molecule that turns freely, for any height."""

    def __init__(self, optics: PupilOptics) -> None:
        """Work out the fields in the pupil for a molecule in focus.

        Raises:
            InputError: an aperture that the immersion cannot carry, or numbers that are not positive.
        """
        _check(optics)
        self._optics = optics
        n = optics.points
        along = (np.arange(n) - (n - 1) / 2) * 2 / n
        radius, angle = np.hypot(along, along[:, None]), np.arctan2(along[:, None], along)
        open_ = np.clip((1 - radius) * n / 2 + 0.5, 0, 1)  # rim points by the part of them that lies inside
        sine = optics.numerical_aperture * np.minimum(radius, 1)
        self._frequencies_per_nm = along * optics.numerical_aperture / optics.emission_nm
        glass, sample = optics.refractive_index, optics.sample_index or optics.refractive_index
        self._rays = np.sqrt((sample**2 - sine**2).astype(complex))
        """n cos(angle) in the sample; imaginary for light that only leaves it near the glass."""
        inside = np.sqrt(glass**2 - sine**2)
        path_nm = self._rays * optics.depth_nm - inside * _refocused(self._rays.real, inside, open_) * optics.depth_nm
        for number, rms_nm in optics.aberrations_nm.items():
            path_nm = path_nm + rms_nm * zernike(*noll(number), radius, angle)
        phase = open_ * np.exp(2j * math.pi / optics.emission_nm * path_nm)
        parts = _dipoles(self._rays, inside, sample, glass, angle) if optics.vectorial else np.ones((1, 1, 1))
        self._fields: Complexes = phase * parts

    def fields(self, z_nm: float) -> Complexes:
        """Fields in the pupil, (1 or 6, points, points), of a molecule ``z_nm`` above focus; their squares sum to 1."""
        fields = self._fields * np.exp(2j * math.pi / self._optics.emission_nm * z_nm * self._rays)
        return np.asarray(fields / math.sqrt(np.vdot(fields, fields).real))

    def stack(
        self,
        z_nm: npt.ArrayLike,
        pixel_size_nm: float,
        shape: tuple[int, int],
        place_px: tuple[float, float] | None = None,
        oversampling: int = 1,
    ) -> Doubles:
        """Light in pixels, (Z, H, W), of a molecule of unit light at heights (Z,) above focus.

        ``place_px``: its x and y, (0, 0) the centre of the top-left pixel; None: the middle. With ``oversampling`` the
        pixels' centres lie so much closer together, and they overlap.
        """
        x, y = place_px or ((shape[1] - 1) / 2 / oversampling, (shape[0] - 1) / 2 / oversampling)
        across = self._waves(np.arange(shape[1]) / oversampling - x, pixel_size_nm)
        down = self._waves(np.arange(shape[0]) / oversampling - y, pixel_size_nm)
        heights = np.atleast_1d(np.asarray(z_nm, float))
        light = np.empty((len(heights), *shape))
        for plane, z in zip(light, heights, strict=True):
            amplitude = down @ self.fields(z) @ across.T
            fine = (amplitude.real**2 + amplitude.imag**2).sum(axis=0).reshape(shape[0], 3, shape[1], 3)
            plane[:] = np.einsum("yaxb,a,b->yx", fine, _SHARES, _SHARES)
        return light

    def spline(
        self, heights_nm: tuple[float, float], step_nm: float, pixel_size_nm: float, size_px: int, oversampling: int = 1
    ) -> SplinePointSpread:
        """The same as a spline, from the lowest to the highest of ``heights_nm``, over ``size_px`` pixels squared."""
        low, high = heights_nm
        planes = max(round((high - low) / step_nm), 1) + 1
        nodes = oversampling * (size_px - 1) + 1
        z = np.linspace(low, high, planes)
        samples = self.stack(z, pixel_size_nm, (nodes, nodes), oversampling=oversampling)
        step = (high - low) / (planes - 1)
        return SplinePointSpread.through(
            samples, low_nm=low, step_nm=step, pixel_size_nm=pixel_size_nm, oversampling=oversampling
        )

    def _waves(self, centres_px: Doubles, pixel_size_nm: float) -> Complexes:
        """Plane waves at three points in each pixel, (3 pixels, points); sums of squares are light (Parseval)."""
        places_nm = pixel_size_nm * (centres_px[:, None] + _NODES).ravel()
        step = self._frequencies_per_nm[1] - self._frequencies_per_nm[0]
        waves = np.exp(2j * math.pi * places_nm[:, None] * self._frequencies_per_nm)
        return np.asarray(math.sqrt(pixel_size_nm * step) * waves)


def _check(optics: PupilOptics) -> None:
    numbers = (optics.numerical_aperture, optics.emission_nm, optics.refractive_index, optics.sample_index or 1.0)
    if not all(0 < number < math.inf for number in numbers) or optics.points < 8:
        raise InputError(
            f"no optics: {numbers}, {optics.points} points",
            where="pupil",
            allowed="positive numbers, 8 points or more",
            remedy="correct numerical aperture, wavelength and refractive indices",
        )
    if optics.numerical_aperture >= optics.refractive_index:
        raise InputError(
            f"numerical aperture {optics.numerical_aperture} in a medium of index {optics.refractive_index}",
            where="optics.numerical_aperture",
            allowed="less than refractive_index",
            remedy="correct optics.refractive_index: that of the immersion",
        )


def _refocused(rays: Doubles, inside: Doubles, open_: Doubles) -> float:
    """How far the objective moves for each nm of depth until the focus is sharpest: least squares over the pupil."""
    mean = [np.average(part, weights=open_) for part in (rays, inside)]
    away = inside - mean[1]
    return float(np.sum(open_ * (rays - mean[0]) * away) / np.sum(open_ * away * away))


def _dipoles(rays: Complexes, inside: Doubles, sample: float, glass: float, angle: Doubles) -> Complexes:
    """Fields in the pupil of dipoles along x, y and z, polarised along x (first three) and along y; (6, n, n)."""
    cosine, sine, passed = rays / sample, np.sqrt(1 - (rays / sample) ** 2), inside / glass
    across = 2 * sample * cosine / (sample * cosine + glass * passed)  # Fresnel: Born, Wolf, Optics, section 1.5
    within = 2 * sample * cosine / (glass * cosine + sample * passed)
    c, s = np.cos(angle), np.sin(angle)
    parts = [
        within * cosine * c * c + across * s * s,
        (within * cosine - across) * s * c,
        -within * sine * c,
        (within * cosine - across) * s * c,
        within * cosine * s * s + across * c * c,
        -within * sine * s,
    ]
    return np.asarray(np.sqrt(passed) / cosine * np.stack(parts))

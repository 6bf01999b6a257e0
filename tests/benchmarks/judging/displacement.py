"""How far an image is displaced against a reference, to hundredths of a pixel, and how well that is known.

The shift at which the reference, moved, correlates best with the image: least squares over shift, scale and offset. The
reference is moved by Fourier interpolation with mirrored margins; the gradient comes from the same transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]
MARGIN = 32
"""Mirrored pixels around the reference, so that the transform's periodicity stays outside."""
BORDER = 8
"""Pixels left out along each edge: the mirror is no continuation of the scene."""


@dataclass(frozen=True, slots=True)
class Displacement:
    """Where the image lies: positive means down and right of the reference."""

    dy_px: float
    dx_px: float
    error_px: float
    """Standard error along the worse axis; meant for noise that the two images do not share."""

    @property
    def length_px(self) -> float:
        """Euclidean."""
        return float(np.hypot(self.dy_px, self.dx_px))


class Shiftable:
    """An image (H, W) that can be moved by fractions of a pixel."""

    def __init__(self, image: Floats) -> None:
        padded = np.pad(image.astype(float), MARGIN, mode="symmetric")
        self._shape = padded.shape
        self._spectrum = np.fft.rfft2(padded)
        self._fy = 2j * np.pi * np.fft.fftfreq(self._shape[0])[:, None]
        self._fx = 2j * np.pi * np.fft.rfftfreq(self._shape[1])

    def by(self, dy_px: float, dx_px: float) -> Floats:
        """(H, W), the content moved down by dy and right by dx."""
        return self._inner(self._moved(dy_px, dx_px))

    def with_slopes(self, dy_px: float, dx_px: float) -> tuple[Floats, Floats, Floats]:
        """As :meth:`by`, with its derivatives by dy and dx."""
        moved = self._moved(dy_px, dx_px)
        return self._inner(moved), self._inner(-self._fy * moved), self._inner(-self._fx * moved)

    def _moved(self, dy_px: float, dx_px: float) -> npt.NDArray[np.complex128]:
        moved: npt.NDArray[np.complex128] = self._spectrum * np.exp(-self._fy * dy_px - self._fx * dx_px)
        return moved

    def _inner(self, spectrum: npt.NDArray[np.complex128]) -> Floats:
        whole: Floats = np.fft.irfft2(spectrum, s=self._shape)
        return whole[MARGIN:-MARGIN, MARGIN:-MARGIN]


def inside(image: Floats) -> Floats:
    """Without the border."""
    return image[..., BORDER:-BORDER, BORDER:-BORDER]


def displacement(image: Floats, reference: Floats) -> Displacement:
    """Of ``image`` against ``reference``, both (H, W); meant for shifts of a pixel or two."""
    shiftable, seen = Shiftable(reference), _unit(inside(image.astype(float)).ravel())

    def mismatch(shift: Floats) -> tuple[float, Floats]:
        moved, *slopes = (inside(part).ravel() for part in shiftable.with_slopes(*shift))
        moved -= moved.mean()
        length = float(np.linalg.norm(moved))
        likeness = float(moved @ seen) / length
        gradient = [(slope @ seen - likeness * (slope @ moved) / length) / length for slope in slopes]
        return -likeness, -np.array(gradient)

    best = minimize(mismatch, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-7}).x
    return Displacement(float(best[0]), float(best[1]), _standard_error(seen, shiftable, best))


def _unit(values: Floats) -> Floats:
    centred = values - values.mean()
    unit: Floats = centred / np.linalg.norm(centred)
    return unit


def _standard_error(seen: Floats, shiftable: Shiftable, best: Floats) -> float:
    """Of the linear model at the optimum, whatever the noise depends on (White, Econometrica 48:817, 1980)."""
    moved, by_dy, by_dx = (inside(part).ravel() for part in shiftable.with_slopes(*best))
    design = np.stack([moved, np.ones_like(moved), by_dy, by_dx], axis=1)
    inverse = np.linalg.inv(design.T @ design)
    answer = inverse @ (design.T @ seen)
    weighted = design * (seen - design @ answer)[:, None]
    variance = np.diag(inverse @ (weighted.T @ weighted) @ inverse)[2:] / answer[0] ** 2
    return float(np.sqrt(variance.max()))

"""Only this file knows how a cylindrical lens turns height into two widths, and how that is learnt from beads.

Huang, Wang, Bates, Zhuang, Science 319 (2008) 810, supporting text: w(z) = w0 sqrt(1 + u^2 + A u^3 + B u^4) with
u = (z - c) / d. One curve serves both axes: y has x's in the mirror, so that c is +offset for x and -offset for y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from smartscope.config import OpticsConfig
from smartscope.errors import InputError
from smartscope.optics.psf import sigma_um

Doubles = npt.NDArray[np.float64]
FEWEST_HEIGHTS = 9
WORST_FIT = 0.1
"""Largest rms residual of the widths, over the width in focus."""
LEAST_OFFSET = 0.1
"""Foci closer together than twice this part of the focal depth tell no height."""
WIDEST = 3.0
"""Heights beyond the foci at which a spot is so many times as wide are left out: real spots leave the curves there."""
_FLATTEST = 1e-6
"""The root is kept above this where A and B would take it through zero."""


@dataclass(frozen=True, slots=True)
class Astigmatism:
    """Two widths for each height; nm above the middle of the two foci, camera pixels."""

    sigma_px: float
    focal_offset_nm: float
    """Height where x is sharpest; y is at its negative."""
    focal_depth_nm: float
    cubic: float = 0.0
    """A of the formula."""
    quartic: float = 0.0
    """B of the formula."""

    @classmethod
    def of(cls, optics: OpticsConfig, pixel_size_nm: float) -> Self:
        """As configured; the width from numerical aperture and emission where it was not measured."""
        told = optics.point_spread
        sigma_px = told.sigma_px or sigma_um(optics.emission_nm, optics.numerical_aperture) * 1e3 / pixel_size_nm
        return cls(sigma_px, told.focal_offset_nm, told.focal_depth_nm)

    def widths_px(self, z_nm: npt.ArrayLike) -> tuple[Doubles, Doubles]:
        """Standard deviations along x and y at heights (N,)."""
        z = np.asarray(z_nm, float)
        return self._width(z - self.focal_offset_nm), self._width(-z - self.focal_offset_nm)

    def slopes_px_per_nm(self, z_nm: npt.ArrayLike) -> tuple[Doubles, Doubles]:
        """How fast the two widths grow with height, at heights (N,)."""
        z = np.asarray(z_nm, float)
        return self._slope(z - self.focal_offset_nm), -self._slope(-z - self.focal_offset_nm)

    def _square(self, u: Doubles) -> Doubles:
        return np.maximum(1 + u * u * (1 + u * (self.cubic + u * self.quartic)), _FLATTEST)

    def _width(self, from_focus_nm: Doubles) -> Doubles:
        return np.asarray(self.sigma_px * np.sqrt(self._square(from_focus_nm / self.focal_depth_nm)))

    def _slope(self, from_focus_nm: Doubles) -> Doubles:
        u = from_focus_nm / self.focal_depth_nm
        rise = u * (2 + u * (3 * self.cubic + 4 * u * self.quartic))
        return np.asarray(self.sigma_px * rise / (2 * np.sqrt(self._square(u)) * self.focal_depth_nm))


@dataclass(frozen=True, slots=True)
class AstigmatismFit:
    """What bead widths say, and how well."""

    model: Astigmatism
    focus_nm: float
    """Middle of the two foci, in the heights that were given."""
    range_nm: float
    """Heights from minus to plus this around that middle were used."""
    residual_px: float
    """Root mean square of measured minus fitted width."""
    height_error_nm: float
    """What that residual does to a height read from the two widths; median over the range."""

    @property
    def lines(self) -> str:
        """For the YAML, under microscope.optics."""
        told = self.model
        return (
            f"point_spread: {{model: astigmatic, sigma_px: {told.sigma_px:.3f}, "
            f"focal_offset_nm: {told.focal_offset_nm:.0f}, focal_depth_nm: {told.focal_depth_nm:.0f}, "
            f"range_nm: {self.range_nm:.0f}}}"
        )


def fit_astigmatism(
    z_nm: npt.ArrayLike, sigma_x_px: npt.ArrayLike, sigma_y_px: npt.ArrayLike, *, higher_order: bool = False
) -> AstigmatismFit:
    """The curves through widths (N,) measured at known heights (N,); with ``higher_order`` A and B are fitted too.

    Beyond the foci, spots more than ``WIDEST`` times as wide as the sharpest are left out; ``range_nm`` tells how far
    that reached.

    Raises:
        InputError: too few heights, no focus inside them, no astigmatism, or widths that leave the curves.
    """
    z, along, down = (np.asarray(values, float) for values in (z_nm, sigma_x_px, sigma_y_px))
    _check(z, along, down)
    ends = float(z.min()), float(z.max())
    foci = z[along.argmin()], z[down.argmin()]
    between = (z >= min(foci)) & (z <= max(foci))
    used = between | (np.maximum(along, down) <= WIDEST * min(along.min(), down.min()))
    z, along, down = z[used], along[used], down[used]
    offset, depth, sigma, middle = _start(z, along, down, ends)

    def model(p: Doubles) -> Astigmatism:
        return Astigmatism(p[2], p[0], p[1], *(p[4:] if higher_order else ()))

    def residual(p: Doubles) -> Doubles:
        fitted_x, fitted_y = model(p).widths_px(z - p[3])
        return np.concatenate([fitted_x - along, fitted_y - down])

    start = np.array([offset, depth, sigma, middle, *([0.0, 0.0] if higher_order else [])])
    scale = np.array([depth, depth, sigma, depth, *([1.0, 1.0] if higher_order else [])])
    found = least_squares(residual, start, x_scale=scale)
    fitted = replace(model(found.x), focal_depth_nm=abs(float(found.x[1])))
    rms = math.sqrt(float(np.mean(found.fun**2)))
    _judge(fitted, rms)
    heights = z - found.x[3]
    steep = np.hypot(*fitted.slopes_px_per_nm(heights))
    reach = min(-heights.min(), heights.max())
    return AstigmatismFit(fitted, float(found.x[3]), float(reach), rms, rms / float(np.median(steep)))


def _check(z: Doubles, along: Doubles, down: Doubles) -> None:
    if z.ndim != 1 or not z.shape == along.shape == down.shape:
        raise InputError("heights and widths differ in number", where="bead widths", remedy="two widths per height")
    widths = np.concatenate([along, down])
    if not (np.isfinite(z).all() and np.isfinite(widths).all() and (widths > 0).all()):
        raise InputError("a height or width is no positive number", where="bead widths", remedy="leave it out")
    if (heights := len(np.unique(z))) < FEWEST_HEIGHTS:
        raise InputError(
            f"{heights} heights do not make a calibration",
            where="bead widths",
            allowed=f"{FEWEST_HEIGHTS} or more",
            remedy="take a finer z-stack",
        )


def _start(z: Doubles, along: Doubles, down: Doubles, ends: tuple[float, float]) -> tuple[float, float, float, float]:
    """Offset, depth, width and middle from parabolas: without A and B, width squared is one in height."""
    foci, depths, sigmas = [], [], []
    for axis, width in (("x", along), ("y", down)):
        near = width <= 2 * width.min()
        bend, slope, level = np.polyfit(z[near], width[near] ** 2, 2) if near.sum() > 2 else (0.0, 0.0, 0.0)
        focus = -slope / (2 * bend) if bend > 0 else math.inf
        sharpest = level - bend * focus**2 if bend > 0 else 0.0
        if not (ends[0] <= focus <= ends[1] and sharpest > 0):
            raise InputError(
                f"the width along {axis} has no minimum inside the stack",
                where="bead widths",
                remedy="take the z-stack from below the one focus to above the other",
            )
        foci.append(focus)
        sigmas.append(math.sqrt(sharpest))
        depths.append(math.sqrt(sharpest / bend))
    return (foci[0] - foci[1]) / 2, sum(depths) / 2, sum(sigmas) / 2, sum(foci) / 2


def _judge(fitted: Astigmatism, rms: float) -> None:
    if abs(fitted.focal_offset_nm) < LEAST_OFFSET * fitted.focal_depth_nm:
        raise InputError(
            f"both widths are sharpest at the same height, within {2 * abs(fitted.focal_offset_nm):.0f} nm",
            where="bead widths",
            remedy="insert the cylindrical lens, or use the point spread 'gaussian' or 'spline'",
        )
    if rms > WORST_FIT * fitted.sigma_px:
        raise InputError(
            f"widths leave the curves by {rms:.2f} px, {rms / fitted.sigma_px:.0%} of the width in focus",
            where="bead widths",
            allowed=f"{WORST_FIT:.0%}",
            remedy="average more beads, check the z-step, or use the point spread 'spline'",
        )

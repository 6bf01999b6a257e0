"""All molecules of one frame under a measured point spread function: found, fitted in turn, and sought in the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from smartscope.optics.point_spread.spline import SplinePointSpread
from smartscope_models.calibration import Floats
from smartscope_models.localization.background import first_background, refine_background
from smartscope_models.localization.fit import Doubles, window
from smartscope_models.localization.fit_kernels import FAINTEST
from smartscope_models.localization.joint import Field
from smartscope_models.localization.saturation import Bools
from smartscope_models.localization.spline_candidates import SplineCandidates, filter_width
from smartscope_models.localization.spline_fit import (
    fit_in_turn,
    heights_within,
    light_of,
    start_heights,
    window_radii,
)

ROUNDS = 4
"""Times that molecules are sought in what those found so far leave over."""
SWEEPS = 3
"""Fits in turn after each of these."""
MODEL_ERROR = 0.05
"""How far a measured point spread function may be from a real spot, over its height: no molecule is sought in that."""
WRONG = 0.25
"""How far it may be so that what is there is a molecule at all, over its light."""
EARNED = 20.0
"""Deviance that a molecule, with four values of its own, has to take away."""
REACH = 1.5
"""Reaches of a spot within which molecules are neighbours,"""
SCOPE = 4.0
"""and within which light of others may fall on the neighbours."""
MOST_DOUBTED = 300
"""Molecules beyond which nobody asks whether each is needed: it would take longer than the frame."""
FAINT = 3.0
"""A molecule that is not so many standard errors bright is none."""
SAME = 2.0
"""Standard errors, of both together, within which two molecules are one, if that is more than a width."""
UNLIKELY = 6.0
"""Standard deviations of a misfit that noise, with ``WRONG``, does not explain."""
END = 1e-3
"""Part of the range of heights at either end where a fit has only stopped."""


@njit(nogil=True, cache=True, error_model="numpy")
def distinct(rows, closest):  # type: ignore[no-untyped-def]
    """Which molecules (K, 13) have no surer one within ``closest`` pixels, or ``SAME`` errors of both, across."""
    order = np.argsort(rows[:, 7] / rows[:, 2])
    keep = np.ones(len(rows), np.bool_)
    for n in range(len(order)):
        a = order[n]
        for m in range(n):
            b = order[m]
            if not keep[b]:
                continue
            gap = math.hypot(rows[a, 0] - rows[b, 0], rows[a, 1] - rows[b, 1])
            error = math.sqrt(0.5 * (rows[a, 5] ** 2 + rows[a, 6] ** 2 + rows[b, 5] ** 2 + rows[b, 6] ** 2))
            if gap < max(closest, SAME * error):
                keep[a] = False
                break
    return keep


@dataclass(frozen=True, slots=True, eq=False)
class SplineFrame:
    """K molecules of one frame, pixels and shots."""

    rows: Doubles
    """(K, 13): x, y, N, b, z; their standard errors; deviance; misfit; iterations."""
    beyond: Bools
    """(K,): those whose height is at or beyond the end of the range: there they are, but not where."""
    chi2: float
    """Pearson's chi-square of the whole frame, per pixel."""


class SplineFrameFitter:
    """Fits frames of one size, each for itself."""

    def __init__(
        self,
        shape: tuple[int, int],
        spline: SplinePointSpread,
        range_nm: float,
        *,
        false_alarms_per_megapixel: float,
        max_spots: int,
    ) -> None:
        self._spline, self._range, self._most = spline, range_nm, max_spots
        self._low, self._high = heights_within(spline, range_nm)
        heights = start_heights(self._low, self._high)
        self._radii = window_radii(spline)
        self._psf = spline.weights, spline.oversampling, float(spline.low_nm), float(spline.step_nm)
        planes = np.rint(spline.to_nodes(heights)).astype(int)
        self._apart = float(np.median(self._radii[planes]))
        radius = int(self._radii[planes].max())
        self._candidates = SplineCandidates(spline, heights, radius, shape, false_alarms_per_megapixel, max_spots)
        whole = spline.spots(float(radius), float(radius), heights, (2 * radius + 1,) * 2)
        self.sigma_px = float(filter_width(whole).min())
        """Width of what the spot has of fine structure, where it is finest."""
        self.extent_px = float(np.median(_extents(whole.values)))
        """Standard deviation of the spot's light along an axis, at a middling height."""
        self._lit, self._model, self._background = (np.zeros(shape, np.float32) for _ in range(3))

    def fit(self, light: Floats, read: Floats) -> SplineFrame:
        """Find and fit the molecules of a frame.

        Args:
            light: (H, W) float32, shots.
            read: (H, W) float32, shots²; very large where a pixel shall not count.
        """
        field = Field(light, read, self._model, self._background)
        first_background(light, read, self._background)
        rows = np.empty((0, 13))
        self._assume(field, rows)
        for _ in range(ROUNDS):
            new = self._missing(field)[: self._most - len(rows)]
            if not len(new):
                break
            rows = self._settled(field, np.concatenate([rows, new]), len(rows))
            self._assume(field, rows)
        rows = self._needed(field, rows)
        rows = rows[self._sound(rows)]
        self._assume(field, rows)
        chi2 = float(np.mean((light + read - self._model) ** 2 / self._model))
        edge = END * (self._high - self._low)
        beyond = (rows[:, 4] < self._low + edge) | (rows[:, 4] > self._high - edge)
        return SplineFrame(rows, beyond, chi2)

    def _assume(self, field: Field, rows: Doubles) -> None:
        """Make the model that of these molecules, and its background what they leave over."""
        light_of(rows, self._spline, self._lit)
        np.add(self._background, self._lit, out=self._model)
        np.add(self._model, field.read, out=self._model)
        if len(rows):
            refine_background(field)

    def _missing(self, field: Field) -> Doubles:
        """(K, 13): molecules that the model lacks."""
        variance = self._model + (np.float32(MODEL_ERROR) * self._lit) ** 2
        found = self._candidates.of(field.light, field.read, self._model, variance, self._apart)
        rows = np.zeros((len(found), 13))
        rows[:, [0, 1, 2, 4]] = found
        column, row = np.rint(found[:, :2]).astype(int).T
        rows[:, 3] = np.maximum(self._background[row, column], FAINTEST)
        return rows

    def _settled(self, field: Field, rows: Doubles, first: int) -> Doubles:
        """Molecules (K, 13), new ones from ``first`` on, fitted in turn; without what is none of its own."""
        for sweep in range(SWEEPS):
            light_of(rows, self._spline, self._lit)
            start = len(rows) if sweep else first
            fit_in_turn(field.light, field.read, rows, self._lit, self._spline, range_nm=self._range, first=start)
            if sweep:
                rows = rows[np.isfinite(rows).all(axis=1)]
                rows = rows[distinct(rows, self.sigma_px)]
        return rows

    def _needed(self, field: Field, rows: Doubles) -> Doubles:
        """Those without which the frame, the others fitted again, is worse: one may have stood for two found later."""
        if len(rows) > MOST_DOUBTED:
            return rows
        for k in range(len(rows) - 1, -1, -1):
            gap = np.hypot(*(rows[:, :2] - rows[k, :2]).T)
            gap[k] = np.inf
            near, around = gap < REACH * self._apart, np.flatnonzero(gap < SCOPE * self._apart)
            if not near.any():
                continue
            others, beside = rows[around], near[around]
            with_it = self._deviance(field, np.vstack([others, rows[k]]), rows[k])
            some = others[beside]
            light_of(others, self._spline, self._lit)
            for _ in range(SWEEPS):
                fit_in_turn(field.light, field.read, some, self._lit, self._spline, range_nm=self._range)
            others[beside] = some
            if np.isfinite(some).all() and self._deviance(field, others, rows[k]) < with_it + EARNED:
                rows[around] = others
                rows = np.delete(rows, k, axis=0)
        return rows

    def _deviance(self, field: Field, rows: Doubles, centre: Doubles) -> float:
        """Twice the log-likelihood ratio of the pixels around a molecule, under the light of these."""
        light_of(rows, self._spline, self._lit)
        left, right, top, bottom = window(self._lit, centre[0], centre[1], round(REACH * self._apart))
        cut = slice(top, bottom), slice(left, right)
        mean = np.maximum(self._background[cut] + self._lit[cut] + field.read[cut], FAINTEST)
        data = np.maximum(field.light[cut] + field.read[cut], FAINTEST)
        return 2 * float((mean - data + data * np.log(data / mean)).sum(dtype=float))

    def _sound(self, rows: Doubles) -> Bools:
        """Which are bright enough, and explain their pixels as well as noise and a measured spot let them.

        A pixel's chi-square has variance 2 + 1 / mean; of N photons a model wrong by a part e adds at most N e².
        """
        planes = np.rint(self._spline.to_nodes(rows[:, 4])).astype(int).clip(0, len(self._radii) - 1)
        pixels = (2.0 * self._radii[planes] + 1) ** 2
        noise = np.sqrt((2 + 1 / np.maximum(rows[:, 3], 0.1)) / pixels)
        allowed = 1 + UNLIKELY * noise + WRONG**2 * rows[:, 2] / pixels
        return np.asarray((rows[:, 2] > FAINT * rows[:, 7]) & (rows[:, 11] < allowed))


def _extents(spots: Doubles) -> Doubles:
    """(N,): standard deviation of the light of each spot (N, side, side) along an axis, pixels."""
    light, ring = np.maximum(spots, 0), np.arange(spots.shape[1]) - (spots.shape[1] - 1) / 2
    variance = (light * (ring**2 + ring[:, None] ** 2)).sum(axis=(1, 2)) / light.sum(axis=(1, 2))
    return np.asarray(np.sqrt(0.5 * variance))

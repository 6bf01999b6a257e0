"""Only this file knows how a sampled point spread function becomes a smooth one: values and slopes at any place.

The spline goes through every sample and bends nowhere at its rim (natural), along each of the three axes in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_banded

from smartscope.errors import InputError
from smartscope.optics.point_spread.spline_kernels import spline_spots

Doubles = npt.NDArray[np.float64]
FEWEST_NODES = 4
_POWERS = np.array([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6.0
"""Powers of the place in a cell (rows) in the four B-splines that reach it (columns)."""


@dataclass(frozen=True, slots=True)
class SplineSpots:
    """N molecules of unit light, alone on a grid each; all arrays (N, H, W) float64."""

    values: Doubles
    """Part of the light in each pixel."""
    by_x: Doubles
    """Slopes, per pixel."""
    by_y: Doubles
    by_z: Doubles
    """Slope, per nm."""


@dataclass(frozen=True, slots=True, eq=False)
class SplinePointSpread:
    """Light of one molecule in the pixels around it, for any height and any place within a pixel.

    The molecule stands in the middle of the nodes.
    """

    weights: Doubles
    """(Z + 2, Y + 2, X + 2), of the B-splines: one beyond the outermost node on either side."""
    low_nm: float
    """Height of the lowest nodes."""
    step_nm: float
    """From one plane of nodes to the next."""
    pixel_size_nm: float
    """Of the camera that it is for."""
    oversampling: int = 1
    """Nodes along one pixel."""

    @classmethod
    def through(
        cls, samples: npt.ArrayLike, *, low_nm: float, step_nm: float, pixel_size_nm: float, oversampling: int = 1
    ) -> Self:
        """The smooth function through ``samples`` (Z, Y, X): light in a pixel whose centre is at that node.

        Raises:
            InputError: not three axes of at least four finite numbers each, or steps that are no positive numbers.
        """
        values = np.asarray(samples, float)
        if values.ndim != 3 or min(values.shape) < FEWEST_NODES or not np.isfinite(values).all():
            raise InputError(
                f"samples of shape {values.shape}, {np.count_nonzero(~np.isfinite(values))} of them no number",
                where="point spread function",
                allowed=f"finite (Z, Y, X), {FEWEST_NODES} or more along each",
                remedy="measure it again",
            )
        if not (0 < step_nm < np.inf and 0 < pixel_size_nm < np.inf and oversampling >= 1 and np.isfinite(low_nm)):
            raise InputError(
                f"steps of {step_nm} nm from {low_nm} nm, pixels of {pixel_size_nm} nm, {oversampling} nodes a pixel",
                where="point spread function",
                allowed="positive numbers",
                remedy="measure it again",
            )
        for axis in range(3):
            values = np.moveaxis(_natural_weights(np.moveaxis(values, axis, 0)), 0, axis)
        return cls(np.ascontiguousarray(values), low_nm, step_nm, pixel_size_nm, oversampling)

    @property
    def range_nm(self) -> tuple[float, float]:
        """Lowest and highest height that it tells."""
        return self.low_nm, self.low_nm + self.step_nm * (self.weights.shape[0] - 3)

    @property
    def size_px(self) -> tuple[float, float]:
        """Height and width that hold its light, pixels."""
        _, tall, wide = self.weights.shape
        return (tall - 3) / self.oversampling + 1, (wide - 3) / self.oversampling + 1

    def samples(self) -> Doubles:
        """Its values at the nodes, (Z, Y, X)."""
        values = self.weights
        for axis in range(3):
            along = np.moveaxis(values, axis, 0)
            values = np.moveaxis((along[:-2] + 4 * along[1:-1] + along[2:]) / 6, 0, axis)
        return values

    def cells(self) -> Doubles:
        """The 64 coefficients of each cell, (Z - 1, Y - 1, X - 1, 4, 4, 4): of z^a y^b x^c at [..., a, b, c].

        Places run from 0 to 1 through a cell.
        """
        near = np.lib.stride_tricks.sliding_window_view(self.weights, (4, 4, 4))
        return np.asarray(np.einsum("ai,bj,ck,zyxijk->zyxabc", _POWERS, _POWERS, _POWERS, near, optimize=True))

    def spots(
        self, x_px: npt.ArrayLike, y_px: npt.ArrayLike, z_nm: npt.ArrayLike, shape: tuple[int, int]
    ) -> SplineSpots:
        """Molecules (N,) on grids of ``shape`` (H, W); the centre of the top-left pixel is (0, 0).

        A height beyond ``range_nm`` is taken for its end.
        """
        places = np.broadcast_arrays(*np.atleast_1d(x_px, y_px, self.to_nodes(z_nm)))
        x, y, z = (np.ascontiguousarray(place, float) for place in places)
        found = np.empty((x.size, 4, *shape))
        spline_spots(self.weights, self.oversampling, x, y, z, found)
        return SplineSpots(found[:, 0], found[:, 1], found[:, 2], found[:, 3] / self.step_nm)

    def to_nodes(self, z_nm: npt.ArrayLike) -> Doubles:
        """Heights in planes of nodes, 0 the lowest."""
        return np.asarray((np.asarray(z_nm, float) - self.low_nm) / self.step_nm)


def _natural_weights(values: Doubles) -> Doubles:
    """B-spline weights (n + 2, ...) of the curves through ``values`` (n, ...) without curvature at both ends.

    (w[i-1] + 4 w[i] + w[i+1]) / 6 = value; no curvature: w[i-1] - 2 w[i] + w[i+1] = 0, hence w = value at the ends.
    """
    n = len(values)
    flat = values.reshape(n, -1)
    inner = 6 * flat[1:-1]
    inner[0] -= flat[0]
    inner[-1] -= flat[-1]
    bands = np.ones((3, n - 2))
    bands[1] = 4
    weights = np.concatenate([flat[:1], solve_banded((1, 1), bands, inner), flat[-1:]])
    ends = 2 * weights[[0, -1]] - weights[[1, -2]]
    return np.concatenate([ends[:1], weights, ends[1:]]).reshape(n + 2, *values.shape[1:])

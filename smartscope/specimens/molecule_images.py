"""Only this file knows how glowing molecules become a picture through the point spread function of the microscope."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope.optics.point_spread.astigmatic import Astigmatism
from smartscope.optics.point_spread.spline import SplinePointSpread
from smartscope.optics.point_spread.spline_file import load_spline
from smartscope.optics.point_spread.spline_kernels import make_scratch, spline_spot
from smartscope.optics.psf import add_elliptical_stamps, defocused_sigma_um
from smartscope.specimens.protocol import Points, View

Doubles = npt.NDArray[np.float64]
Picture = npt.NDArray[np.float32]
_load = lru_cache(maxsize=8)(load_spline)


def add_molecules(picture: Picture, view: View, places_um: Points, z_um: Doubles, electrons: Doubles) -> None:
    """Add molecules at places (N, 2) and heights (N,) to ``picture`` (H, W), each with its photo-electrons (N,).

    Raises:
        InputError: the file of the spline cannot be used.
    """
    pixels, above_focus_um = view.to_pixels(places_um), z_um - view.defocus_um
    x, y = np.ascontiguousarray(pixels.T)
    if view.point_spread.file is None:
        add_elliptical_stamps(picture, x, y, *_widths_px(view, above_focus_um), electrons)
    else:
        spline = _load(Path(view.point_spread.file), 1e3 * view.pixel_um)
        _add_splines(picture, spline, x, y, above_focus_um, electrons)


def _widths_px(view: View, above_focus_um: Doubles) -> tuple[Doubles, Doubles]:
    """Standard deviations (N,) along the camera's x and y; round spots widen out of focus as those of beads do."""
    told = view.point_spread
    sigma_px = told.sigma_px or view.sigma_um / view.pixel_um
    if told.model == "astigmatic":
        return Astigmatism(sigma_px, told.focal_offset_nm, told.focal_depth_nm).widths_px(1e3 * above_focus_um)
    width = defocused_sigma_um(sigma_px, view.depth_um, above_focus_um)
    return width, width


def _add_splines(
    picture: Picture, spline: SplinePointSpread, x: Doubles, y: Doubles, above_focus_um: Doubles, electrons: Doubles
) -> None:
    tall, wide = (math.ceil(size) + 1 for size in spline.size_px)
    spot = np.empty((4, tall, wide))
    scratch = make_scratch(max(tall, wide), spline.oversampling)
    heights = spline.to_nodes(1e3 * above_focus_um)
    _add_spots(picture, spline.weights, spline.oversampling, x, y, heights, electrons, spot, scratch)


@njit(nogil=True, cache=True)
def _add_spots(
    picture: Any, weights: Any, oversampling: int, x: Any, y: Any, z: Any, electrons: Any, spot: Any, scratch: Any
) -> None:
    """Add spots (N,) of a spline; ``spot`` (4, h, w) and ``scratch`` are work space."""
    height, width = picture.shape
    for n in range(x.size):
        left, top = math.ceil(x[n] - 0.5 * spot.shape[2]), math.ceil(y[n] - 0.5 * spot.shape[1])
        first_row, last_row = max(0, -top), min(spot.shape[1], height - top)
        first, last = max(0, -left), min(spot.shape[2], width - left)
        if first >= last or first_row >= last_row:
            continue
        spline_spot(weights, oversampling, x[n] - left, y[n] - top, z[n], spot, scratch)
        for row in range(first_row, last_row):
            for column in range(first, last):
                picture[top + row, left + column] += electrons[n] * spot[0, row, column]

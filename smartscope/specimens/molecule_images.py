"""Only this file knows how glowing molecules become a picture through the point spread function of the microscope."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.optics.psf import add_elliptical_stamps, defocused_sigma_um
from smartscope.specimens.protocol import Points, View

Doubles = npt.NDArray[np.float64]


def add_molecules(
    picture: npt.NDArray[np.float32], view: View, places_um: Points, z_um: Doubles, electrons: Doubles
) -> None:
    """Add molecules at places (N, 2) and heights (N,) to ``picture`` (H, W), each with its photo-electrons (N,).

    Raises:
        InputError: no such point spread function can be drawn.
    """
    pixels = view.to_pixels(places_um)
    sigma_x, sigma_y = widths_px(view, z_um - view.defocus_um)
    add_elliptical_stamps(picture, pixels[:, 0], pixels[:, 1], sigma_x, sigma_y, electrons)


def widths_px(view: View, above_focus_um: Doubles) -> tuple[Doubles, Doubles]:
    """Standard deviations (N,) along the camera's x and y for heights (N,) above the focal plane.

    Round spots widen as ``defocused_sigma_um``; astigmatic ones have that law for each axis, about a focus of its own.
    """
    told = view.point_spread
    sigma_px = told.sigma_px or view.sigma_um / view.pixel_um
    if told.model == "spline":
        raise InputError("a spline is not drawn", where="optics.point_spread", allowed="gaussian, astigmatic")
    if told.model == "gaussian":
        width = defocused_sigma_um(sigma_px, view.depth_um, above_focus_um)
        return width, width
    offset_um, depth_um = told.focal_offset_nm * 1e-3, told.focal_depth_nm * 1e-3
    return (
        defocused_sigma_um(sigma_px, depth_um, above_focus_um - offset_um),
        defocused_sigma_um(sigma_px, depth_um, above_focus_um + offset_um),
    )

"""Only this file knows which spots of a z-stack are beads on their own, and cuts them out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from smartscope.errors import InputError

Doubles = npt.NDArray[np.float64]
FEWEST_PLANES = 9
BRIGHT = 10.0
"""A bead stands out of its surroundings by so many standard deviations of the blurred picture's noise."""
DIM = 0.2
"""Spots below this part of the median bead's brightness are none, but keep others from being alone."""
_BLUR_PX = 1.5


def find_beads(stack: npt.ArrayLike, size_px: int) -> npt.NDArray[np.int64]:
    """Row and column, (N, 2), of beads in ``stack`` (Z, H, W) with nothing else within ``size_px`` squared.

    Raises:
        InputError: no z-stack of finite numbers, or no bead in it stands alone.
    """
    values = np.asarray(stack)
    if values.ndim != 3 or len(values) < FEWEST_PLANES or min(values.shape[1:]) < size_px:
        raise InputError(
            f"frames of shape {values.shape} are no z-stack of beads",
            where="bead stack",
            allowed=f"(Z, H, W), {FEWEST_PLANES} planes or more, {size_px} pixels or more each way",
            remedy="give one frame for each height",
        )
    if not np.isfinite(values).all():
        raise InputError("holds values that are no numbers", where="bead stack", remedy="take the stack again")
    seen = ndimage.gaussian_filter(values.mean(axis=0, dtype=float), _BLUR_PX)
    seen -= np.median(seen)
    noise = 1.4826 * np.median(np.abs(seen))
    peaks = (seen == ndimage.maximum_filter(seen, 5)) & (seen > BRIGHT * noise)
    places = np.argwhere(peaks)
    half = size_px // 2
    inside = ((places >= half) & (places < np.array(seen.shape) - half)).all(axis=1)
    away = np.abs(places[:, None] - places).max(axis=2)
    np.fill_diagonal(away, 2 * size_px)
    height = seen[tuple(places.T)]
    strong = height > DIM * np.median(height) if len(height) else np.zeros(0, bool)
    alone = (away[:, strong] > 0.8 * size_px).all(axis=1)
    beads: npt.NDArray[np.int64] = places[inside & strong & alone]
    if not len(beads):
        raise InputError(
            f"no bead stands alone: {len(places)} bright spots, {np.count_nonzero(inside)} of them not at the rim",
            where="bead stack",
            allowed=f"one or more with {size_px} pixels squared of their own",
            remedy="dilute the beads, or take them brighter, or smaller windows",
        )
    return beads


def cut_beads(stack: npt.ArrayLike, beads: npt.NDArray[np.int64], size_px: int) -> Doubles:
    """The pixels around each bead, (N, Z, size, size) float64; ``size_px`` is odd."""
    values, half = np.asarray(stack), size_px // 2
    parts = [values[:, r - half : r + half + 1, c - half : c + half + 1] for r, c in beads]
    return np.stack(parts).astype(float)

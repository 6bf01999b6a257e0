"""What the localising network is shown: frames of unit noise about a level, and four numbers about optics and light."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SCALE = 4.0
"""Stabilised units that become 1."""
SIGMA_PX = 1.3
LEVEL = 8.0
"""Usual width and level, about which conditions are told."""
Z_UNIT_NM = 500.0
CONDITIONS = 4


def conditions_of(
    sigma_px: npt.NDArray[np.float64],
    level: npt.NDArray[np.float32],
    focal_offset_nm: npt.NDArray[np.float64],
    focal_depth_nm: npt.NDArray[np.float64],
    *,
    round_: bool,
) -> Floats:
    """(B, CONDITIONS) from (B,) each: width in focus, level of the background, and the curve of the astigmatism."""
    none = np.zeros_like(sigma_px)
    offset = none if round_ else (focal_offset_nm - 250) / 250
    depth = none if round_ else (focal_depth_nm - 400) / 400
    return np.stack([(sigma_px - SIGMA_PX) / 0.4, (level - LEVEL) / 8, offset, depth], axis=1).astype(np.float32)

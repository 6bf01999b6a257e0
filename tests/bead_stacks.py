"""Z-stacks of beads with a known astigmatic image, for tests."""

from __future__ import annotations

import numpy as np

from smartscope.optics.point_spread.astigmatic import Astigmatism
from smartscope.optics.point_spread.gaussian import gaussian_spots

LENS = Astigmatism(1.3, 220, 380)
STEP_NM = 50.0
HEIGHTS_NM = STEP_NM * np.arange(-14, 15)


def bead_stack(
    *, seed: int = 1, photons: float = 60_000.0, side: int = 4, uneven_nm: float = 0.0, size: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """Photo-electrons (Z, H, W) of ``side`` squared beads on a background of 20, and where they are: x, y (N, 2)."""
    rng = np.random.default_rng(seed)
    mean = np.full((len(HEIGHTS_NM), side * size, side * size), 20.0)
    places = np.empty((side * side, 2))
    for bead, (row, column) in enumerate(np.ndindex(side, side)):
        x, y = size / 2 + rng.uniform(-2, 2, 2)
        widths = LENS.widths_px(HEIGHTS_NM + rng.uniform(-uneven_nm, uneven_nm))
        spot = rng.lognormal(np.log(photons), 0.3) * gaussian_spots(x, y, *widths, (size, size)).values
        mean[:, row * size : (row + 1) * size, column * size : (column + 1) * size] += spot
        places[bead] = x + size * column, y + size * row
    return rng.poisson(mean).astype(np.float32), places

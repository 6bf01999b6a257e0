"""What is known of each track's motion, as columns that other code can read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartscope_models.mobility.moments import corrected_msd, measured_exponents
from smartscope_models.mobility.store import Doubles, Longs
from smartscope_models.mobility.verdict import ESTIMATES

CLASSES = ("confined", "brownian", "directed")
"""Of ``Mobility.kind``, by number."""


@dataclass(frozen=True, slots=True, eq=False)
class Mobility:
    """Columns of length N, NaN where unknown. Errors are one standard error, doubt about the class included."""

    track_id: npt.NDArray[np.int64]
    points: npt.NDArray[np.int64]
    """Taken in so far; the verdict rests on the last ones, as many as the window holds."""
    kind: npt.NDArray[np.int8]
    """Index into ``CLASSES``: the most probable; -1 before the first verdict."""
    confidence: Doubles
    """Probability of that class; the three are equally probable beforehand."""
    diffusion_um2_s: Doubles
    diffusion_error_um2_s: Doubles
    alpha: Doubles
    """Anomalous exponent of the fitted motion, over lags from one interval to a quarter of the window's points."""
    alpha_error: Doubles
    mss_slope: Doubles
    """Slope of the moment scaling spectrum of the fitted motion: 0 bound, 0.5 free, 1 straight."""
    alpha_measured: Doubles
    """From mean squared displacements of the whole track alone, noise and blur put right; NaN where too short."""
    mss_slope_measured: Doubles
    speed_um_s: Doubles
    """Of the steady part of the motion; NaN unless directed."""
    speed_error_um_s: Doubles
    radius_um: Doubles
    """Of the disc that holds it; NaN unless confined."""
    radius_error_um: Doubles
    noise_nm: Doubles
    """Localisation error per axis that fits best."""
    p_confined: Doubles
    p_brownian: Doubles
    p_directed: Doubles

    def __len__(self) -> int:
        return len(self.track_id)


def table_of(ids: Longs, points: Longs, verdicts: Doubles, sums: Doubles, noise_um: float, exposure: float) -> Mobility:
    """The table of tracks (N,) with ``ESTIMATES`` (N, E) and moments (N, L, 7); what is unknown stays NaN."""
    known = dict(zip(ESTIMATES, verdicts.T.copy(), strict=True))
    chance = verdicts[:, -3:]
    judged = np.asarray(np.isfinite(chance).all(axis=1))
    kind = np.where(judged, np.argmax(np.where(judged[:, None], chance, 0.0), axis=1), -1)
    alpha, slope = measured_exponents(sums, corrected_msd(sums, noise_um, exposure))
    confidence = np.where(judged, chance.max(axis=1, initial=0.0, where=judged[:, None]), np.nan)
    return Mobility(
        ids, points, kind.astype(np.int8), confidence, alpha_measured=alpha, mss_slope_measured=slope, **known
    )

"""Mean squared displacement and moment scaling as measured, with what noise and blur add or take away put right.

Localisation noise adds 4 sigma² to the mean squared displacement in the plane, and averaging over an exposure T takes
4/3 D T from it at every lag from one exposure on (Savin & Doyle, Biophys. J. 88:623, 2005; Michalet, Phys. Rev. E
82:041914, 2010). Higher moments are scaled as those of a Gaussian of the corrected width.
"""

from __future__ import annotations

import numpy as np

from smartscope_models.mobility.scaling import SPECTRUM
from smartscope_models.mobility.store import LAGS, Doubles

FEWEST_PAIRS = 8
"""Lags with fewer displacements, or longer than a quarter of the track, say nothing."""


def corrected_msd(sums: Doubles, noise_um: float, exposure: float) -> Doubles:
    """(N, L) um², NaN where there are no displacements; sums (N, L, 7) as in ``Store``, exposure: of the interval.

    What blur took is put back by the diffusion that the first lag shows, so that no model of motion is in this.
    """
    count = sums[..., 0]
    seen = np.divide(sums[..., 2], count, out=np.full(count.shape, np.nan), where=count > 0)
    noise = 4 * noise_um**2
    blur = np.maximum(seen[:, :1] - noise, 0.0) * exposure / (3 - exposure)
    corrected: Doubles = seen - noise + blur
    return corrected


def measured_exponents(sums: Doubles, msd_um2: Doubles) -> tuple[Doubles, Doubles]:
    """(alpha, slope of the moment scaling spectrum), (N,), by least squares in logarithms; NaN where too short.

    sums (N, L, 7) as in ``Store``; msd_um2 (N, L) as ``corrected_msd`` gives it. No model of motion is in these, and
    their errors are larger than those of the fits.
    """
    lags = LAGS[: sums.shape[1]].astype(float)
    count = sums[..., 0]
    length = count[:, :1] + lags[0]
    use = (count >= FEWEST_PAIRS) & (lags <= np.maximum(length / 4, 3)) & (msd_um2 > 0) & (sums[..., 2] > 0)
    weight = use / np.maximum(use.sum(1, keepdims=True), 1)
    x = np.where(use, np.log(lags), 0.0)
    x = np.where(use, x - (weight * x).sum(1, keepdims=True), 0.0)
    safe = np.where(use, count, 1.0)[..., None]
    logs = np.log(np.where(use[..., None], sums, 1.0) / safe + 1e-300)
    shrink = np.where(use, np.log(np.where(use, msd_um2, 1.0)) - logs[..., 2], 0.0)
    logs += shrink[..., None] * np.arange(7) / 2
    total = (x**2).sum(1)
    enough = use.sum(1) >= 3
    gamma = np.einsum("nl,nlp->np", x, np.where(use[..., None], logs, 0.0)) / np.where(enough, total, 1.0)[:, None]
    alpha, slope = gamma[:, 2], gamma @ SPECTRUM
    return np.where(enough, alpha, np.nan), np.where(enough, slope, np.nan)

"""How the bands that overlap in the raw frames are told apart: every frame is a known mixture of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError
from smartscope.optics.pattern_layout import Doubles


def mixing(phases_rad: Doubles) -> npt.NDArray[np.complex128]:
    """(phases, orders) → (phases, 1 + 2 orders): frame = band 0 + Σ (band e^{iφ} + conjugate band e^{-iφ}) / 2."""
    waves = np.exp(1j * phases_rad) / 2
    return np.concatenate([np.ones((len(waves), 1)), waves, waves.conj()], axis=1)


def separation(phases_rad: Doubles) -> npt.NDArray[np.complex128]:
    """(1 + orders, phases): what the frames are multiplied by to give band 0 and the band of each order.

    Raises:
        InputError: the phases do not tell the bands apart.
    """
    mixed = mixing(phases_rad)
    if np.linalg.cond(mixed) > 1e3:
        raise InputError("the phases of an angle are alike", where="raw stack", remedy="check that the pattern moves")
    return np.asarray(np.linalg.pinv(mixed)[: 1 + phases_rad.shape[1]])

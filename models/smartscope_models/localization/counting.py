"""How many molecules glow, from those told apart: each found one stands for others like it that cannot be found.

A molecule is missed near a brighter one: those within a radius d of a molecule found hide, on average, as many of its
brightness as there are brighter ones there. Each that is found therefore counts 1 / p, p being the chance that no
brighter one is so near (Horvitz and Thompson, J Am Stat Assoc 47:663, 1952). The brighter a spot is, the closer it is
told apart; and where all are alike, two in one place are known by being twice as bright. Both were measured with this
package's fits on simulated frames: 0.1 to 2 alike molecules per µm² with 400 to 3000 photons, and 0.3 to 0.7 that come
and go within frames (tests/unit/test_localization_counting.py holds it to that).

Molecules that come or go within the exposure give any part of their light, equally often. Of the dimmest only some are
found; those brighter than ``SEEN`` times their noise are taken to be as dense as the ones a little brighter.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

HIDDEN_ALIKE, HIDDEN_VARIED, AT_SIGNAL_TO_NOISE = 1.06, 2.0, 30.0
"""Widths of a spot within which a brighter one hides it: in a field of alike ones, and where brightness varies fully,
when photons are so many times their error."""
SHARPER = 1 / 3
"""Power of the signal to noise with which the radius shrinks."""
ALIKE, VARIED = 0.2, 0.55
"""Relative spread of photons in such fields."""
SEEN, SURE = 3.0, 7.0
"""Photons over the noise without them: what counts as glowing, and from where on nearly all lone ones are found."""
DARKEST = 10
"""Per cent of the spots, those on the least background, whose noise tells how dim a spot can be found."""
LEAST_CHANCE = 0.25
"""Of being found; where the chance is smaller the counter is full, and says so by its error."""
ROUNDS = 4
"""Of density and chance, each from the other."""
DOUBTFUL = 0.35
"""Relative error of what is added."""
Numbers = npt.NDArray[np.floating]


def glowing(photons: Numbers, photons_error: Numbers, area_px: float, sigma_px: float) -> tuple[float, float]:
    """Expected number of glowing molecules in an area, and its standard error, from those told apart there.

    photons, photons_error: (K,) of each, with the variance of counts (shots).
    """
    found = len(photons)
    if not found:
        return 0.0, 0.5
    chance = _chances(photons, photons / photons_error, area_px, sigma_px)
    full = bool((chance <= LEAST_CHANCE).any())
    stands_for = 1 / np.maximum(chance, LEAST_CHANCE)
    missed = max(float(stands_for.sum()) - found, 0.0) + _too_dim(photons, photons_error, stands_for)
    doubt = float(found) if full else DOUBTFUL * missed
    return found + missed, math.sqrt(missed + doubt**2 + 0.25)


def _chances(photons: Numbers, signal_to_noise: Numbers, area_px: float, sigma_px: float) -> Numbers:
    """(K,) chance that no brighter molecule hides each, in a field as dense as these chances make it."""
    brighter = np.empty(len(photons))
    brighter[np.argsort(-photons, kind="stable")] = np.arange(len(photons)) / len(photons)
    spread = float(photons.std() / photons.mean())
    varied = min(max((spread - ALIKE) / (VARIED - ALIKE), 0.0), 1.0)
    hidden_px = sigma_px * (HIDDEN_ALIKE + varied * (HIDDEN_VARIED - HIDDEN_ALIKE))
    radius_px = hidden_px * (AT_SIGNAL_TO_NOISE / np.maximum(signal_to_noise, 1.0)) ** SHARPER
    area, density = math.pi * radius_px**2 * brighter, len(photons) / area_px
    for _ in range(ROUNDS):
        chance: Numbers = np.exp(-density * area)
        density = float((1 / np.maximum(chance, LEAST_CHANCE)).sum()) / area_px
    return chance


def _too_dim(photons: Numbers, photons_error: Numbers, stands_for: Numbers) -> float:
    """How many between ``SEEN`` and ``SURE`` times the noise were not found."""
    noise = math.sqrt(float(np.percentile(np.maximum(photons_error**2 - photons, 1.0), DARKEST)))
    sure = SURE * noise
    above, below = (photons >= sure) & (photons < 2 * sure), photons < sure
    expected = float(stands_for[above].sum()) * (SURE - SEEN) / SURE
    return max(expected - float(stands_for[below].sum()), 0.0)

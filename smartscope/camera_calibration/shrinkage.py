"""Only this file knows how far a pixel's own measurement is believed against the sensor's common value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
FAR = 6.0
"""A pixel so many standard deviations off is no member of the crowd: its own value stands."""
GOOD = 0.5
"""A map is worth having where more of its variance is the pixels' than the measurement's."""


@dataclass(frozen=True, slots=True, eq=False)
class Shrunk:
    """A map after shrinkage, and what was found about it; units are those of the values."""

    values: Doubles
    spread: float
    """Standard deviation of the pixels' true values, outliers aside."""
    error: float
    """Typical standard error of one pixel before shrinkage."""

    @property
    def reliability(self) -> float:
        """Part of the measured variance between pixels that is true: 0 to 1."""
        total = self.spread**2 + self.error**2
        return self.spread**2 / total if total > 0 else 1.0

    @property
    def good(self) -> bool:
        """Whether the map says more of the pixels than of the noise that it was measured with."""
        return self.reliability >= GOOD


def shrunk(values: Doubles, errors: Doubles | float, centre: float) -> Shrunk:
    """``values`` (H, W) drawn towards ``centre``, each as its standard error deserves (empirical Bayes).

    With pixels spread by τ around the centre and measured to σ, the best estimate of each is
    centre + (value - centre) · τ² / (τ² + σ²) (James and Stein; Efron and Morris, JASA 68:117, 1973). τ is found from
    the median absolute deviation, so that hot pixels do not make a crowd of themselves.
    """
    deviation = values - centre
    variance = np.square(errors)
    error2 = float(np.median(variance))
    total2 = float((1.4826 * np.median(np.abs(deviation))) ** 2)
    spread2 = max(total2 - error2, 0.0)
    both = spread2 + variance
    share = np.divide(spread2, both, out=np.ones_like(deviation), where=both > 0)
    far = np.abs(deviation) > FAR * np.sqrt(both)
    return Shrunk(np.where(far, values, centre + share * deviation), spread2**0.5, error2**0.5)

"""The rule by which tuned layers are kept: figures before and after, and every reason against."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

CERTAIN = 3.0
"""Standard errors by which the loss must fall, and the bias may not rise."""
LEAST_CHI2 = 0.95
CHI2_SLACK = 0.002
"""Of an error of 0.01 to 0.1. Frames in between, and what moves in them, have no part in this figure."""
LAG, LAG_SLACK = 0.05, 0.02
"""Frames; the former is always allowed."""
WHITENESS_SLACK = 0.02
FALSE_STRUCTURES = 1.0
"""In 512 x 512 pixels of an empty field, always allowed."""


@dataclass(frozen=True, slots=True)
class Measures:
    """One set of layers on the held-out places; squares in units of the noise variance."""

    loss: float
    """Squared error + the noise of the targets + BIAS_WEIGHT · bias."""
    bias: float
    """Squared error, at the scale of a spot and of what can be seen, that two independent exposures have in common."""
    chi2: float
    """Squared residual over the noise variance + twice the divergence: 1 + squared error, for any denoiser."""
    lag: float
    """Age, in frames, of what is shown of a specimen that moves by a pixel a frame; 0 for a network of one frame."""
    whiteness: float
    """Larger |lag-1 autocorrelation| of the residual."""
    false_structures: float
    """Groups above 3 standard deviations of the noise in 512 x 512 pixels of an empty field."""
    false_structures_psf: float
    """The same after a Gaussian of the PSF's width."""


@dataclass(frozen=True, slots=True)
class Change:
    """From one set of layers to another, on the same blocks: the noise of the targets drops out."""

    mean: float
    standard_error: float


def objections(before: Measures, after: Measures, loss: Change, bias: Change) -> list[str]:
    """Every reason not to keep what was tuned; none: it is better."""
    if not all(math.isfinite(value) for value in (*asdict(after).values(), loss.mean, bias.mean)):
        return ["a figure of the tuned network is no number"]
    found = []
    if not -loss.mean > CERTAIN * loss.standard_error:
        found.append(f"the held-out loss does not surely fall ({loss.mean:+.4f} ± {loss.standard_error:.4f})")
    if bias.mean > CERTAIN * bias.standard_error:
        found.append(f"spots are rendered less truly (bias {before.bias:.4f} → {after.bias:.4f})")
    if after.chi2 > before.chi2 + CHI2_SLACK or after.chi2 < min(LEAST_CHI2, before.chi2 - CHI2_SLACK):
        found.append(f"chi2 of the residual leaves 1 ({before.chi2:.3f} → {after.chi2:.3f})")
    if abs(after.lag) > max(LAG, abs(before.lag) + LAG_SLACK):
        found.append(f"moving things lag more ({before.lag:.2f} → {after.lag:.2f} frames)")
    if after.whiteness > before.whiteness + WHITENESS_SLACK:
        found.append(f"the residual is less white (autocorrelation {before.whiteness:.3f} → {after.whiteness:.3f})")
    for key, where in (("false_structures", ""), ("false_structures_psf", " at the PSF's size")):
        was, now = getattr(before, key), getattr(after, key)
        if now > max(was, FALSE_STRUCTURES):
            found.append(f"more false structures in an empty field{where} ({was:.2g} → {now:.2g} in 512 x 512)")
    return found

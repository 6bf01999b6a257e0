"""Whether an image may be believed: ``ok``, ``weak`` or ``fail``, with the reason and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from smartscope.optics.pattern_layout import Doubles, Layout
from smartscope_models.structured_illumination.estimate import Estimate
from smartscope_models.structured_illumination.weights import Weights

State = Literal["ok", "weak", "fail"]

WORTH = 1.42
"""Expected gain in resolution over widefield from which the pattern has earned its light. The expectation knows nothing
of errors of the parameters: at 1.42 about 1.25 is measured, in bright light it is 4 % too high."""
CLEAR_PEAK = 5.2
"""Height of a carrier's peak over the median of where it was looked for, below which it may be chance: that reached 4.9
in 72 stacks without fringes, from dim to bright."""
APART = 0.2
"""Of a carrier's length, by which those of two directions differ at least."""
DEPTHS = (0.15, 1.2)
"""Modulation outside of which it is not the pattern's."""
UNEVEN_RAD = float(np.radians(25.0))
"""Departure of a phase from its even step, beyond three standard errors, that no stepped pattern has."""
BLEACHED = 0.3
"""Loss of light over the stack that distorts the bands."""
STILLED_PX = 2.0
"""Motion between directions that can be taken back; within a direction a third of it is left, which blurs the fringes'
phases, and beyond twice of it they are lost."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one stack."""

    state: State
    why: tuple[str, ...]
    """One sentence for each thing that is wrong, the worst first; empty if ok."""
    resolution_nm: float
    """Expected of the image that is shown, widefield after a ``fail``; never beyond what the optics carry."""
    widefield_resolution_nm: float
    peak: float
    """Least of all carriers."""
    modulation: float
    """Least of all carriers."""
    uneven_deg: float
    bleached: float
    moved_px: float


def judge(
    layout: Layout, estimate: Estimate, weights: Weights, moved_px: float, pixel_size_nm: float, limit_nm: float
) -> Verdict:
    """What the parameters of a stack say of it; ``limit_nm``: the finest period that the optics and pattern carry."""
    found = estimate.parameters
    depth, peak = float(found.modulation.min()), least_peak(estimate)
    uneven, bleached = _uneven(layout, estimate), _bleached(estimate)
    fine_px = max(weights.resolution_px, limit_nm / pixel_size_nm)
    gain = weights.widefield_resolution_px / fine_px
    failed: list[str] = []
    weak: list[str] = []
    if peak < CLEAR_PEAK:
        failed.append(
            f"no clear carrier (its peak is {peak:.1f} times the surroundings, {CLEAR_PEAK} needed): more light"
        )
    if not DEPTHS[0] <= depth or found.modulation.max() > DEPTHS[1]:
        failed.append(f"modulation {depth:.2f} to {found.modulation.max():.2f}: check polarisation, focus and pattern")
    if moved_px > STILLED_PX:
        reasons = failed if moved_px > 2 * STILLED_PX else weak
        reasons.append(f"the specimen moved by {moved_px:.1f} px between directions: expose for a shorter time")
    if uneven > UNEVEN_RAD:
        weak.append(f"phase steps are uneven by {np.degrees(uneven):.0f} degrees: check order of frames and pattern")
    if bleached > BLEACHED:
        weak.append(f"{100 * bleached:.0f} % of the light was lost over the stack: less light or fewer frames")
    if gain < WORTH:
        weak.append(f"expected resolution is only {gain:.2f} times that of widefield: more light")
    state: State = "fail" if failed else "weak" if weak else "ok"
    return Verdict(
        state,
        (*failed, *weak),
        (weights.widefield_resolution_px if failed else fine_px) * pixel_size_nm,
        weights.widefield_resolution_px * pixel_size_nm,
        peak,
        depth,
        float(np.degrees(uneven)),
        bleached,
        moved_px,
    )


def least_peak(estimate: Estimate) -> float:
    """Of all carriers that were looked for; infinite if none was."""
    return float(np.nanmin(estimate.peaks, initial=np.inf))


def convincing(estimate: Estimate) -> bool:
    """Whether what was found can be fringes at all."""
    depths = estimate.parameters.modulation
    plausible = bool(DEPTHS[0] <= depths.min() and depths.max() <= DEPTHS[1])
    return plausible and least_peak(estimate) >= CLEAR_PEAK and _apart(estimate.parameters.carriers[:, -1])


def _apart(carriers: Doubles) -> bool:
    """Whether the finest carriers (angles, 2) are different ones; k and -k are the same."""
    for one, two in combinations(carriers, 2):
        if min(np.hypot(*(one - two)), np.hypot(*(one + two))) < APART * np.hypot(*one):
            return False
    return True


def _uneven(layout: Layout, estimate: Estimate) -> float:
    """Largest departure of a phase from even steps, radians, beyond what the noise allows."""
    apart = estimate.parameters.phases_rad - layout.nominal_phases()
    common = np.angle(np.exp(1j * apart).sum(1, keepdims=True))
    left = np.abs(np.angle(np.exp(1j * (apart - common)))) - 3 * estimate.doubts_rad[:, None]
    return float(max(left.max(), 0.0))


def _bleached(estimate: Estimate) -> float:
    """Share of light lost from the first to the last frame, by a straight line."""
    gains = estimate.parameters.gains.flatten()
    slope, start = np.polyfit(np.arange(len(gains)), gains, 1)
    return float(max(-slope * (len(gains) - 1) / max(start, 1e-9), 0.0))

"""How far the fringes are shifted in each frame: two measurements and what was asked of the pattern, by their doubts.

Plane: the differences between the frames of one angle and the light of the others span a plane; equal depth puts all
frames on one ellipse in it, which is the circle of phases. It uses all of the light and knows nothing of the specimen,
but squares the noise. Overlap: each frame on the fringes that band 0 predicts; weaker, but linear in the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Doubles
from smartscope_models.structured_illumination.field import Field
from smartscope_models.structured_illumination.power import Power

STEP_SPREAD_RAD = float(np.radians(5.0))
"""How exactly pattern steps are believed to be what was asked for, one standard deviation."""
PLANE_DOUBTS = 2.6
"""Measured error of the plane over what the noise of its covariance alone would give (50 to 2000 electrons)."""
USUAL_ENERGY = 0.2
"""(depth / 2)² of fringes of usual depth, from which weights are worked out before it is known."""
INNERMOST = 0.12
"""Share of the cut-off below which a frame holds band 0 rather than fringes."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Phases (phases,) in radians, but for a common one, and their standard error."""

    phases_rad: Doubles
    doubt_rad: float


def agreed(measured: list[Measured]) -> Doubles:
    """(phases,) mean by the doubts; the common phase is the first's."""
    first, total = measured[0].phases_rad, np.zeros(len(measured[0].phases_rad), complex)
    for one in measured:
        common = np.angle(np.exp(1j * (first - one.phases_rad)).sum())
        total += np.exp(1j * (one.phases_rad + common)) / one.doubt_rad**2
    return np.asarray(np.angle(total))


def joint_doubt(measured: list[Measured]) -> float:
    """Standard error of what they agree on."""
    return float(sum(one.doubt_rad**-2 for one in measured) ** -0.5)


def tied(measured: list[Measured], steps: Doubles) -> tuple[Doubles, Doubles]:
    """Phases (phases, orders) and doubts (orders,) where order n is shifted n times as far as the first.

    A phase of order n says n times as exactly where the pattern is, but not which of n places; the first order does.
    """
    first = measured[0]
    votes = [first, Measured(steps[:, 0], STEP_SPREAD_RAD)]
    for number, higher in enumerate(measured[1:], 2):
        common = np.angle(np.exp(1j * (higher.phases_rad - number * first.phases_rad)).sum())
        left = np.angle(np.exp(1j * (higher.phases_rad - common - number * first.phases_rad)))
        votes.append(Measured(first.phases_rad + left / number, higher.doubt_rad / number))
    base, doubt = agreed(votes), joint_doubt(votes)
    orders = np.arange(1.0, len(measured) + 1)
    return base[:, None] * orders, doubt * orders


def from_plane(
    field: Field, fringes: Tensor, gains: Doubles, carrier: Doubles, power: Power, shared: float, steps: Doubles
) -> Measured | None:
    """None where the noise leaves no ellipse.

    fringes (phases, N, N / 2 + 1): half-spectra of the frames minus ``gains`` times the light of the other angles,
    whose noise is ``shared`` of a frame's; steps (phases,): asked for, to know which way round.
    """
    level = power.noise * field.energy
    both = power.specimen(field.half_distance(carrier)) + power.specimen(field.half_distance(-carrier))
    signal = USUAL_ENERGY * field.energy * field.half_passed.square() * both
    used = (field.half_radius > INNERMOST * field.cutoff) & (field.half_radius < field.cutoff)
    weight = torch.where(used, signal / (signal + level) / (level + signal / 2), 0.0) * field.twice
    flat = fringes.flatten(1)
    covariance = ((flat * weight.flatten()) @ flat.conj().T).real.cpu().numpy().astype(float)
    covariance -= level * float(weight.sum()) * (np.eye(len(gains)) + np.outer(gains, gains) * shared)
    spread = float((weight**2 / field.twice * (level**2 + 2 * level * signal)).sum())
    doubt = PLANE_DOUBTS * np.sqrt(spread / 2) / float((weight * signal).sum())
    circle = _circle(covariance, gains)
    if circle is None:
        return None
    found = np.angle(circle)
    return Measured(found if np.sin(found[1] - found[0]) * np.sin(steps[1] - steps[0]) > 0 else -found, doubt)


def _circle(covariance: Doubles, gains: Doubles) -> Doubles | None:
    """(phases,) complex, all of size 1: the two strongest directions of a covariance, the ellipse made round."""
    values, vectors = np.linalg.eigh(covariance)
    if values[-2] <= 0:
        return None
    plane = vectors[:, -2:] * np.sqrt(values[-2:]) / gains[:, None]
    squares = np.stack([plane[:, 0] ** 2, 2 * plane[:, 0] * plane[:, 1], plane[:, 1] ** 2], axis=1)
    a, b, c = np.linalg.lstsq(squares, np.ones(len(gains)), rcond=None)[0]
    if a <= 0 or a * c <= b * b:
        return None
    round_ = plane @ np.linalg.cholesky(np.array([[a, b], [b, c]]))
    return np.asarray(round_[:, 0] + 1j * round_[:, 1])

"""The cheapest explanation of a frame: who is seen where, who was missed, who divided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartscope_models.tracking.assignment import assign, consequences
from smartscope_models.tracking.candidates import candidates, foresee
from smartscope_models.tracking.divisions import divide, settle_claims
from smartscope_models.tracking.habits import Habits
from smartscope_models.tracking.looks import of_anyone
from smartscope_models.tracking.motion import Doubles
from smartscope_models.tracking.objects import Integers, Objects
from smartscope_models.tracking.sightings import Flags, Sightings

REACH = 1.2
"""Times the gate, from where a mother is expected to her daughters."""
NOBODY = np.empty(0, np.int64), np.empty((0, 2), np.int64), np.empty(0)
"""No mothers, daughters, gains."""


@dataclass(frozen=True, slots=True)
class Divisions:
    """K of them."""

    mothers: Integers
    """(K,) objects."""
    daughters: Integers
    """(K, 2) sightings."""
    gain: Doubles
    """(K,) log odds of the division against what else could be."""
    known: Doubles
    """(K, 2) what the mothers look like."""
    expected: Doubles
    """(K, 3) where the mothers were expected: x, y and variance per axis, px."""

    def probability(self) -> Doubles:
        """(K,)"""
        return np.asarray(1 / (1 + np.exp(-self.gain)))


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which sighting belongs to which of N objects."""

    matched: Integers
    """(N,) sighting of each object, -1 for none."""
    alone: Flags
    """(N,) the pair had no rival on either side."""
    sure: Doubles
    """(N,) probability that the pair is right, else that the object is gone."""
    divisions: Divisions
    cut_short: int = 0
    """Objects that got a greedy answer, and candidates for which there was no room."""

    def now(self, here: Flags) -> Integers:
        """(N,) sighting in this very frame of each object, -1 for none."""
        matched = self.matched.copy()
        matched[matched >= 0] = np.where(here[matched[matched >= 0]], matched[matched >= 0], -1)
        return matched


def explain(objects: Objects, habits: Habits, found: Sightings, gate_px: float, crowding: float) -> Explanation:
    """Objects, as they are expected, and what was found.

    crowding: times more newcomers than usual that this frame must hold.
    """
    count, rates = len(objects), habits.rates
    if not count or not len(found):
        return Explanation(np.full(count, -1), np.zeros(count, bool), np.zeros(count), _divisions(objects, *NOBODY))
    likely, density = objects.exists * rates.detected, rates.newcomers * crowding
    miss = -np.log(1 - likely)
    waiting = -float(np.log((1 - rates.detected) * rates.survives))
    worth = rates.worth(found.later, len(found.elapsed) - 1 - found.begin)
    known = (objects.state, objects.steady, objects.features, objects.hits.astype(float))
    was = np.where(objects.missed[:, None] == 0, objects.place, np.nan)
    learned = (habits.noise.packed(), habits.looks.packed())
    chains = (found.places, found.described, of_anyone(found.described, learned[1]), found.begin)
    start, detection, cost, dropped = candidates(
        *known, was, np.log(density) - np.log(likely), miss,
        *chains, found.back, gate_px, *learned, habits.backward.packed(gate_px), waiting,
    )  # fmt: skip
    cost -= worth[detection]
    if len(found.elapsed) > 1:
        foresee(start, detection, cost, *known, *chains, found.elapsed, *learned)
    matched, cut = assign(start, detection, cost, miss, len(found))
    spent, owner, alone = consequences(start, detection, cost, miss, matched, len(found))
    sure, cut_short, divisions = 1 / (1 + np.exp(spent - miss)), cut + dropped, _divisions(objects, *NOBODY)
    if habits.divides:
        price = 2 * np.log(density / rates.detected) - np.log(objects.exists * habits.kinship.share)
        mother, pair, gain, left_out = divide(
            *known, price, spent, matched, owner, *chains, worth,
            *learned, habits.kinship.packed(REACH * gate_px), waiting,
        )  # fmt: skip
        stands = settle_claims(pair, gain, len(found))
        matched[mother[stands]] = -1
        cut_short += left_out
        divisions = _divisions(objects, mother[stands], pair[stands], gain[stands])
    return Explanation(matched, alone & (matched >= 0), sure, divisions, cut_short)


def _divisions(objects: Objects, mother: Integers, pair: Integers, gain: Doubles) -> Divisions:
    mothers = objects.some(mother)
    expected = np.column_stack([mothers.position(), mothers.sigma() ** 2]) if len(mother) else np.empty((0, 3))
    return Divisions(mother, pair, gain, mothers.features, expected)

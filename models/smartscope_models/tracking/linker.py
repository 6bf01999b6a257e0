"""Identities of one kind of object over time: predict, explain what is seen, name it, and learn.

It never raises on any arrangement of points; where a crowd is too dense for an exact answer, it says how many times it
took a greedy one. All it takes for granted is a length, the gate; rates, noise and looks are learned as it goes.
"""

from __future__ import annotations

import numpy as np

from smartscope_models.tracking.explaining import Explanation, explain
from smartscope_models.tracking.habits import Habits
from smartscope_models.tracking.jumps import LOST, jump
from smartscope_models.tracking.looks import STEADY_SIGHTINGS
from smartscope_models.tracking.motion import Doubles, advance, update
from smartscope_models.tracking.objects import Integers, Objects, newcomers
from smartscope_models.tracking.rates import LIKELY_GONE
from smartscope_models.tracking.sightings import Families, Flags, Outcome, Sightings

DAUGHTER_EXISTS = 0.99
"""Probability that a daughter is real."""
MOST_NEW = 20_000
"""New objects of one frame that are followed; more are a flood of false detections, named but forgotten at once."""


class Linker:
    """Follows the objects of one kind; lengths in pixels, time in frame periods."""

    def __init__(self, gate_px: float, memory_frames: float, divides: bool = True) -> None:
        self.objects = Objects()
        self.habits = Habits.of_gate(gate_px, divides)
        self.cut_short = 0
        """Objects that got a greedy answer, or candidates for which there was no room, so far."""
        self.ended = np.empty(0, np.int64)
        """Identities that the last frame gave up."""
        self._gate, self._memory = gate_px, memory_frames

    def advance(self, frames: float) -> None:
        """Let the objects move on by ``frames`` frame periods, unseen."""
        objects = self.objects
        advance(objects.state, objects.steady, frames, self.habits.noise.packed())
        objects.exists *= self.habits.rates.survives**frames

    def link(self, found: Sightings, area_px2: float, next_id: int, widening: float = 1.0) -> Outcome:
        """Name the sightings, after ``advance``; those without a name of their own are named from ``next_id`` on.

        area_px2: of the field of view; widening: times the gate, where more than one frame period has passed.
        """
        rates, seen = self.habits.rates, int(found.here.sum())
        rates.begin(seen, area_px2)
        self.habits.looks.learn_population(found.look[found.here])
        crowding = rates.crowding(seen, self._visible(), area_px2) if len(self.objects) else 1.0
        answer = self._explain(found, self._gate * widening, crowding)
        self.cut_short += answer.cut_short
        self._learn_motion(answer, found)
        self._note(answer, found)
        return self._conclude(answer, found, area_px2, next_id, rates.lasting / crowding)

    def _visible(self) -> float:
        """How many objects should be seen in a frame."""
        return float(self.objects.exists.sum()) * self.habits.rates.detected

    def _explain(self, found: Sightings, gate_px: float, crowding: float) -> Explanation:
        """Again where all have jumped, with the objects put where the jump took them."""
        answer = explain(self.objects, self.habits, found, gate_px, crowding)
        visible = self._visible()
        if (answer.matched >= 0).sum() + len(answer.divisions.mothers) < LOST * visible:
            established = self.objects.hits > 1
            shift = jump(self.objects.position()[established], found.head[found.here], visible, self._gate)
            if shift is not None:
                self.objects.state[:, :, :2] += shift
                return explain(self.objects, self.habits, found, gate_px, crowding)
        return answer

    def _learn_motion(self, answer: Explanation, found: Sightings) -> None:
        objects, noise, matched = self.objects, self.habits.noise, answer.now(found.here)
        sums = update(objects.state, objects.steady, matched, found.head, noise.measurement)
        noise.learn(sums, int((matched >= 0).sum()), self._gate)

    def _note(self, answer: Explanation, found: Sightings) -> None:
        """Write down what was seen of the known objects, and learn how often they are seen and how they change."""
        objects, habits, matched = self.objects, self.habits, answer.now(found.here)
        seen = matched >= 0
        row = matched[seen]
        clear = answer.alone & seen & (objects.hits > 1)
        habits.looks.learn_change(objects.features[clear], objects.hits[clear], found.look[matched[clear]])
        clear &= objects.missed == 0
        habits.backward.learn(found.back[matched[clear]], objects.place[clear], found.head[matched[clear]])
        habits.rates.learn_detection(int((objects.hits[seen] > 1).sum()), int(objects.missed[seen].sum()))
        gain = 1 / (1 + np.minimum(objects.hits[seen], STEADY_SIGHTINGS - 1))[:, None]
        objects.features[seen] += gain * (found.look[row] - objects.features[seen])
        objects.place[seen] = found.head[row]
        objects.size[seen], objects.intensity[seen] = found.size[row, 0], found.intensity[row, 0]
        missed = habits.rates.after_miss(objects.exists, int(seen.sum()), float(objects.exists.sum()))
        objects.exists = np.where(answer.matched >= 0, answer.sure, missed)
        objects.age += 1
        objects.missed += 1
        objects.missed[seen] = 0

    def _conclude(
        self, answer: Explanation, found: Sightings, area_px2: float, next_id: int, lasting: float
    ) -> Outcome:
        """Give up who is gone, name who is new."""
        objects, rates, divisions = self.objects, self.habits.rates, answer.divisions
        matched = answer.now(found.here)
        seen, row = matched >= 0, matched[matched >= 0]
        outcome = Outcome(np.full(len(found), -1), np.full(len(found), -1))
        outcome.track_id[row], outcome.parent_id[row] = objects.track_id[seen], objects.parent_id[seen]
        daughters, mothers = divisions.daughters.ravel(), objects.track_id[divisions.mothers]
        stays = (answer.matched >= 0) | ((objects.missed <= self._memory) & (objects.exists > LIKELY_GONE))
        self._learn_lives(divisions.mothers, seen, stays)
        stays[divisions.mothers] = False
        objects.hits[seen] += 1
        self.ended = objects.track_id[~stays]
        objects.keep(stays)
        fresh = found.here.copy()
        fresh[row] = fresh[daughters] = False
        born = np.flatnonzero(fresh)
        rates.learn_newcomers(len(born), int(found.here.sum()), area_px2)
        self.habits.kinship.learn(*_observed(answer, found), len(matched))
        new = np.concatenate([daughters, born])
        names = found.names[new]
        names[names < 0] = next_id + np.arange((names < 0).sum())
        outcome.track_id[new] = names
        outcome.parent_id[daughters] = np.repeat(mothers, 2)
        outcome.families = Families(
            mothers,
            outcome.track_id[divisions.daughters],
            found.head[divisions.daughters].mean(1),
            divisions.probability(),
        )
        exists = np.concatenate([np.full(len(daughters), DAUGHTER_EXISTS), np.full(len(born), lasting)])
        self._begin(outcome, new[:MOST_NEW], found, exists[:MOST_NEW])
        return outcome

    def _begin(self, outcome: Outcome, new: Integers, found: Sightings, exists: Doubles) -> None:
        """Follow new objects from now on."""
        begin, noise = found.begin[new], self.habits.noise
        first = np.array([noise.measurement, 0.0, noise.velocity])
        seen_as = np.column_stack([found.size[new, begin], found.intensity[new, begin]])
        ids, parents = outcome.track_id[new], outcome.parent_id[new]
        fresh = newcomers(ids, parents, found.head[new], found.look[new], seen_as, exists, first)
        fresh.missed[begin > 0] = 1
        self.objects.append(fresh)

    def _learn_lives(self, mothers: Integers, seen: Flags, stays: Flags) -> None:
        """Rates of survival, and of newcomers that last."""
        hits, rates = self.objects.hits, self.habits.rates
        grown, once = hits > 2, hits == 1
        divided = np.zeros(len(hits), bool)
        divided[mothers] = True
        rates.learn_survival(int((grown & seen).sum()), int((grown & ~stays & ~divided).sum()))
        rates.learn_lasting(int((once & seen).sum()), int((once & ~stays).sum()))


def _observed(answer: Explanation, found: Sightings) -> tuple[Doubles, Doubles]:
    """What the divisions were like, (K, 6) as ``Kinship.learn`` wants it, and how sure they are (K,)."""
    divisions = answer.divisions
    if not len(divisions.mothers):
        return np.empty((0, 6)), np.empty(0)
    a, b = divisions.daughters.T
    head, look, expected = found.head, found.look, divisions.expected
    astray = ((0.5 * (head[a] + head[b]) - expected[:, :2]) ** 2).mean(1) - expected[:, 2]
    change = 0.5 * (look[a] + look[b]) - divisions.known
    apart = np.log(np.hypot(*(head[a] - head[b]).T) + 1e-3)
    return np.column_stack([apart, astray, change, (look[a] - look[b]) ** 2]), divisions.probability()

"""Identities of one kind of object over time: predict, find candidates, assign, divide, update, and learn.

It never raises on any arrangement of points; where a crowd is too dense for an exact answer, it says how many times it
took a greedy one. All it takes for granted is a length, the gate; rates, noise and looks are learned as it goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartscope_models.tracking.assignment import assign
from smartscope_models.tracking.candidates import candidates, foresee
from smartscope_models.tracking.divisions import Kinship, divide, settle_claims
from smartscope_models.tracking.looks import STEADY_SIGHTINGS
from smartscope_models.tracking.motion import Doubles, Noise, advance, update
from smartscope_models.tracking.objects import Integers, Objects, newcomers
from smartscope_models.tracking.rates import LIKELY_GONE, Rates

Flags = npt.NDArray[np.bool_]
CAUTION = 1.15
"""Process noise is held this much above what is seen: too little loses objects, too much costs hardly anything."""
REMEMBERED_LINKS = 3000.0
"""Noise is an average over about so many of the latest links."""
REACH = 1.2
"""Times the gate, from where a mother is expected to her daughters."""
MOST_NEW = 20_000
"""New objects of one frame that are followed; more are a flood of false detections, named but forgotten at once."""


@dataclass(frozen=True, slots=True)
class Sightings:
    """D chains of sightings over M frames, from this one on; M is 1 where nothing is known of later frames."""

    places: Doubles
    """(D, M, 2) px; NaN where not seen."""
    size: Doubles
    """(D, M)"""
    intensity: Doubles
    """(D, M)"""
    begin: Integers
    """(D,) index of the frame with the first sighting."""
    elapsed: Doubles
    """(M,) frame periods from the frame before to each; the first is not used."""
    names: Integers
    """(D,) identities for those that turn out to be new objects; -1: any."""
    later: Integers
    """(D,) sightings after the first."""

    def __len__(self) -> int:
        return len(self.begin)

    @classmethod
    def of_one_frame(cls, places: Doubles, size: Doubles, intensity: Doubles) -> Sightings:
        """D detections."""
        none = np.zeros(len(places), np.int64)
        return cls(places[:, None], size[:, None], intensity[:, None], none, np.ones(1), none - 1, none)


@dataclass(slots=True)
class Outcome:
    """Of one frame: object of each detection and its mother, both as identities, -1 for none."""

    track_id: Integers
    parent_id: Integers


class Linker:
    """Follows the objects of one kind; lengths in pixels, time in frame periods."""

    def __init__(self, gate_px: float, memory_frames: float) -> None:
        self.objects = Objects()
        self.cut_short = 0
        """Objects that got a greedy answer, or candidates for which there was no room, so far."""
        self.rates = Rates()
        self.kinship = Kinship.of_gate(gate_px)
        self.noise = Noise.of_gate(gate_px)
        self._gate = gate_px
        self._memory = memory_frames
        self._motion_links, self._alone_links = 50.0, 15.0  # what the start values are worth
        self._looks = np.array([[0.1, 0.1], [0.0, 0.0], [1.0, 1.0]])

    def advance(self, frames: float) -> None:
        """Let the objects move on by ``frames`` frame periods, unseen."""
        objects = self.objects
        advance(objects.state, objects.steady, frames, self.noise.packed())
        objects.exists *= self.rates.survives**frames

    def link(self, found: Sightings, area_px2: float, next_id: int, widening: float = 1.0) -> Outcome:
        """Name the sightings, after ``advance``; those without a name of their own are named from ``next_id`` on.

        area_px2: of the field of view; widening: times the gate, where more than one frame period has passed.
        """
        described = np.log(np.maximum(np.stack([found.size, found.intensity], axis=2), 1e-6))
        rows = np.arange(len(found))
        heads, look = found.places[rows, found.begin], described[rows, found.begin]
        here = found.begin == 0
        self.rates.begin(int(here.sum()), area_px2)
        self._learn_population(look[here])
        expected = float(self.objects.exists.sum()) * self.rates.detected
        crowding = self.rates.crowding(int(here.sum()), expected, area_px2) if len(self.objects) else 1.0
        pairs = self._pairs(found, described, heads, look, widening, crowding)
        self._learn_motion(pairs, heads, here)
        self._note(pairs, found, look, here)
        return self._conclude(pairs, found, heads, look, area_px2, next_id, self.rates.lasting / crowding)

    def _pairs(
        self, found: Sightings, described: Doubles, heads: Doubles, look: Doubles, widening: float, crowding: float
    ) -> _Pairs:
        """The cheapest explanation of all sightings."""
        objects, rates = self.objects, self.rates
        count = len(objects)
        none = _Pairs(np.full(count, -1), np.zeros(count, bool), np.zeros(count), *_no_families())
        if not count or not len(found):
            return none
        noise, looks, likely = self.noise.packed(), self._distinct_looks(), objects.exists * rates.detected
        density = rates.newcomers * crowding
        miss, cost_of_one = -np.log(1 - likely), np.log(density) - np.log(likely)
        waiting = -float(np.log((1 - rates.detected) * rates.survives))
        worth = rates.worth(found.later, len(found.elapsed) - 1 - found.begin)
        known = (objects.state, objects.steady, objects.features, objects.hits.astype(float))
        chains = (found.places, described, found.begin)
        start, detection, cost, dropped = candidates(
            *known, cost_of_one, miss, *chains, self._gate * widening, noise, looks, waiting
        )
        cost -= worth[detection]
        if len(found.elapsed) > 1:
            foresee(start, detection, cost, *known, *chains, found.elapsed, noise, looks)
        matched, cut = assign(start, detection, cost, miss, len(found))
        spent = miss.copy()
        row = np.repeat(np.arange(count), np.diff(start))
        used = matched[row] == detection
        spent[row[used]] = cost[used]
        rivals = np.bincount(detection, minlength=len(found))
        alone = (matched >= 0) & (np.diff(start) == 1)
        alone[alone] = rivals[matched[alone]] == 1
        owner = np.full(len(found), -1)
        owner[matched[matched >= 0]] = np.flatnonzero(matched >= 0)
        price = 2 * np.log(density / rates.detected) - np.log(objects.exists * self.kinship.share)
        mother, pair, gain, left_out = divide(
            *known, price, spent, matched, owner, *chains, worth,
            noise, looks, self.kinship.packed(REACH * self._gate * widening), waiting,
        )  # fmt: skip
        stands = settle_claims(pair, gain, len(found))
        self.cut_short += cut + dropped + left_out
        matched[mother[stands]] = -1
        alone &= matched >= 0
        return _Pairs(
            matched, alone, 1 / (1 + np.exp(spent - miss)), mother[stands], pair[stands], gain[stands],
            objects.features[mother[stands]],
            np.column_stack([objects.position(), objects.sigma() ** 2])[mother[stands]],
        )  # fmt: skip

    def _distinct_looks(self) -> Doubles:
        """(3, 2) variance of one sighting, mean and variance of all; objects that all look the same tell nothing."""
        return np.stack([*self._looks[:2], np.maximum(self._looks[2], 2 * self._looks[0])])

    def _learn_population(self, look: Doubles) -> None:
        """How sizes and brightnesses spread over all objects."""
        if len(look) > 1:
            rate = 1.0 if not self._looks[1].any() else min(0.1, len(look) / 500)
            self._looks[1] += rate * (look.mean(0) - self._looks[1])
            self._looks[2] += rate * (np.maximum(look.var(0), 1e-4) - self._looks[2])

    def _learn_motion(self, pairs: _Pairs, heads: Doubles, here: Flags) -> None:
        """Update the states; noise by innovation matching (Mehra, IEEE TAC 15:175, 1970), biased upward."""
        objects, matched = self.objects, pairs.now(here)
        sums = update(objects.state, objects.steady, matched, heads, self.noise.measurement)
        links = int((matched >= 0).sum())
        self._motion_links = min(self._motion_links + links, REMEMBERED_LINKS)
        rate = min(0.3, links / self._motion_links)
        if links:
            walk, course = (CAUTION * (sums[:, 0] + 1e-9) / (sums[:, 1] + 1e-9)) ** rate
            self.noise.learn(float(walk), float(course), self._gate)

    def _note(self, pairs: _Pairs, found: Sightings, look: Doubles, here: Flags) -> None:
        """Write down what was seen of the known objects, and learn how often they are seen and how they change."""
        objects, matched = self.objects, pairs.now(here)
        seen = matched >= 0
        row = matched[seen]
        if (alone := pairs.alone & seen & (objects.hits > 1)).any():
            fresh = 1 + 1 / np.minimum(objects.hits[alone], STEADY_SIGHTINGS)
            change = (look[matched[alone]] - objects.features[alone]) ** 2 / fresh[:, None]
            limited = np.minimum(change, 9 * self._looks[0]).mean(0)
            self._alone_links = min(self._alone_links + alone.sum(), REMEMBERED_LINKS)
            rate = min(1.0, alone.sum() / self._alone_links)
            self._looks[0] += rate * (np.maximum(limited, 1e-4) - self._looks[0])
        self.rates.learn_detection(int((objects.hits[seen] > 1).sum()), int(objects.missed[seen].sum()))
        gain = 1 / (1 + np.minimum(objects.hits[seen], STEADY_SIGHTINGS - 1))[:, None]
        objects.features[seen] += gain * (look[row] - objects.features[seen])
        objects.size[seen], objects.intensity[seen] = found.size[row, 0], found.intensity[row, 0]
        objects.exists = np.where(pairs.matched >= 0, pairs.sure, self.rates.after_miss(objects.exists))
        objects.age += 1
        objects.missed += 1
        objects.missed[seen] = 0

    def _conclude(
        self,
        pairs: _Pairs,
        found: Sightings,
        heads: Doubles,
        look: Doubles,
        area_px2: float,
        next_id: int,
        lasting: float,
    ) -> Outcome:
        """Give up who is gone, name who is new."""
        objects, here = self.objects, found.begin == 0
        seen, promised = pairs.now(here) >= 0, pairs.matched >= 0
        outcome = Outcome(np.full(len(found), -1), np.full(len(found), -1))
        row = pairs.now(here)[seen]
        outcome.track_id[row], outcome.parent_id[row] = objects.track_id[seen], objects.parent_id[seen]
        daughters = pairs.daughters.ravel()
        mothers = np.repeat(objects.track_id[pairs.mothers], 2)
        stays = promised | ((objects.missed <= self._memory) & (objects.exists > LIKELY_GONE))
        self._learn_lives(pairs, seen, stays)
        stays[pairs.mothers] = False
        objects.hits[seen] += 1
        objects.keep(stays)
        fresh = here.copy()
        fresh[row] = False
        fresh[daughters] = False
        born = np.flatnonzero(fresh)
        self.rates.learn_newcomers(len(born), int(here.sum()), area_px2)
        self._learn_kinship(pairs, heads, look)
        new = np.concatenate([daughters, born])
        names = found.names[new]
        names[names < 0] = next_id + np.arange((names < 0).sum())
        outcome.track_id[new] = names
        outcome.parent_id[daughters] = mothers
        exists = np.concatenate([np.full(len(daughters), 0.99), np.full(len(born), lasting)])
        self._begin(outcome, new[:MOST_NEW], found, heads, look, exists[:MOST_NEW])
        return outcome

    def _learn_kinship(self, pairs: _Pairs, heads: Doubles, look: Doubles) -> None:
        """What daughters are like, and how often objects divide; called before mothers are forgotten."""
        a, b = pairs.daughters.T
        astray = ((0.5 * (heads[a] + heads[b]) - pairs.expected[:, :2]) ** 2).mean(1) - pairs.expected[:, 2]
        change = 0.5 * (look[a] + look[b]) - pairs.known
        apart = np.log(np.hypot(*(heads[a] - heads[b]).T) + 1e-3)
        observed = np.column_stack([apart, astray, change, (look[a] - look[b]) ** 2])
        self.kinship.learn(observed, 1 / (1 + np.exp(-pairs.gain)), len(pairs.matched))

    def _begin(
        self, outcome: Outcome, new: Integers, found: Sightings, heads: Doubles, look: Doubles, exists: Doubles
    ) -> None:
        """Follow new objects from now on."""
        begin = found.begin[new]
        first = np.array([self.noise.measurement, 0.0, self.noise.velocity])
        seen_as = np.column_stack([found.size[new, begin], found.intensity[new, begin]])
        fresh = newcomers(outcome.track_id[new], outcome.parent_id[new], heads[new], look[new], seen_as, exists, first)
        fresh.missed[begin > 0] = 1
        self.objects.append(fresh)

    def _learn_lives(self, pairs: _Pairs, seen: Flags, stays: Flags) -> None:
        """Rates of survival, of newcomers that last, and of divisions; what daughters are like."""
        hits = self.objects.hits
        grown, once = hits > 2, hits == 1
        divided = np.zeros(len(hits), bool)
        divided[pairs.mothers] = True
        self.rates.learn_survival(int((grown & seen).sum()), int((grown & ~stays & ~divided).sum()))
        self.rates.learn_lasting(int((once & seen).sum()), int((once & ~stays).sum()))


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Which sighting belongs to which object."""

    matched: Integers
    """(N,) sighting of each object, -1 for none."""
    alone: Flags
    """(N,) the pair had no rival on either side."""
    sure: Doubles
    """(N,) probability that the pair is right, else that the object is gone."""
    mothers: Integers
    """(K,) objects that divide."""
    daughters: Integers
    """(K, 2) sightings."""
    gain: Doubles
    """(K,) log odds of the division against what else could be."""
    known: Doubles
    """(K, 2) what the mothers look like."""
    expected: Doubles
    """(K, 3) where the mothers were expected: x, y and variance per axis, px."""

    def now(self, here: Flags) -> Integers:
        """(N,) sighting in this very frame of each object, -1 for none."""
        matched = self.matched.copy()
        matched[matched >= 0] = np.where(here[matched[matched >= 0]], matched[matched >= 0], -1)
        return matched


def _no_families() -> tuple[Integers, Integers, Doubles, Doubles, Doubles]:
    return np.empty(0, np.int64), np.empty((0, 2), np.int64), np.empty(0), np.empty((0, 2)), np.empty((0, 3))

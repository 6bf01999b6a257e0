"""Organelles that divide or fuse: necks followed from frame to frame, whose depth falls or rises.

A neck is of one object, or between two. Evidence is how far its depth is from what it has been, in units of how much
depths vary, added up as it comes (CUSUM). Fission is confirmed when the neck parts, fusion when the gap has closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smartscope.ports import Instrument
from smartscope_models.events.following import Doubles
from smartscope_models.events.level import AlarmLevel
from smartscope_models.events.odds import Odds
from smartscope_models.events.scene import Scene
from smartscope_models.events.telling import Happening, Telling
from smartscope_models.events.tubes import APART, Labels, Tubes

CLOSED, RIPE = 0.4, 0.5
"""Depth of a pass above which two have become one; which one object's neck must have had before it can part: two that
touch and go are neither fusion nor fission."""
EVEN = 0.8
"""Depth taken for a place of an object that is no neck any more."""
USUAL = {True: 0.74, False: 0.06}
SPREAD = {True: 0.03, False: 0.03}
"""Beliefs before any data: depth of necks of one object and between two, and its standard deviation."""
LEAST_SPREAD = 0.03
MEMORY_S, LEARN = 60.0, 0.01
"""Time over which a neck's own depth is averaged, four times as fast where it goes the other way; weight of one neck in
what is learnt of all."""
SLACK, MOST_GAIN = 1.5, 12.0
"""Standard deviations that count for nothing, and those that count at most, in one frame."""
TAIL, RATE = 0.7, 0.3
"""Belief about sums while nothing happens."""
HELD = 3.0
"""Above it what a neck has been is learnt four times as slowly."""
COHERENT_S = 1.0
"""Shapes vary slowly: frames closer in time than that tell the same."""
REACH_UM, SPEED_UM_S, FARTHEST_UM = 0.5, 0.15, 1.2
"""How far a neck may have gone."""
LONGEST_S = 60.0
"""From when an event is told to when it must have come to something."""
LOOKS = 2
"""Frames that must agree that one has become two, or two one."""
PATIENCE = 4
"""Frames without it after which a neck is forgotten."""
TRACK_UM = 2.5
"""From a neck to the middle of an object."""


@dataclass(slots=True, eq=False)
class Neck:
    """One neck as it is followed; places in the specimen, sensor pixels."""

    x: float
    y: float
    sides: Doubles
    """(2, 2) a place inside each side."""
    whole: bool
    """Of one object, or else between two."""
    usual: float
    """Its depth when nothing happens."""
    depth: float
    sum: float = 0.0
    peak: float = 0.0
    since: int = 0
    onset: tuple[float, float] = (0.0, 0.0)
    missed: int = 0
    event_id: int = 0
    told: Happening | None = None
    until_ns: int = 0
    """By then it has come to something."""
    settled: bool = False
    ripe: bool = True
    """It was truly one object, or truly two."""
    looks: int = 0
    """Frames in a row in which it was seen changed; one alone is taken for a mistake."""

    @property
    def changed(self) -> bool:
        """One has become two, or two one."""
        return self.looks >= LOOKS

    def look(self) -> None:
        """Take in its depth."""
        other = self.depth < APART if self.whole else self.depth > CLOSED
        self.looks = self.looks + 1 if other else 0


class FissionFusion:
    """Watches the necks of all frames for fissions, fusions, or both."""

    def __init__(self, setup: Instrument, per_hour: dict[str, float]) -> None:
        self._tubes = Tubes(setup)
        self._um = setup.camera.pixel_size_nm / 1000
        self._levels = {kind: AlarmLevel(rate, TAIL, RATE) for kind, rate in per_hour.items()}
        self._odds = {kind: Odds(level) for kind, level in self._levels.items()}
        self._usual, self._spread = dict(USUAL), dict(SPREAD)
        self._necks: list[Neck] = []
        self._labels: Labels | None = None
        self._origin = np.zeros(2)

    @property
    def probability(self) -> float:
        """Of the likeliest event that may be going on."""
        return max((self._probability(neck) for neck in self._necks if not neck.settled), default=0.0)

    def look(self, scene: Scene, telling: Telling) -> None:
        """Take in a frame."""
        found, labels = self._tubes.necks(scene.frame.pixels)
        found[:, (0, 3, 5)] += scene.origin[0]
        found[:, (1, 4, 6)] += scene.origin[1]
        over: dict[str, list[float]] = {kind: [] for kind in self._levels}
        steps = dict.fromkeys(self._levels, 0)
        new = self._follow(found, labels, scene)
        for neck in self._necks:
            kind = "fission" if neck.whole else "fusion"
            neck.look()
            if kind in self._levels and not 0 < neck.looks < LOOKS:
                steps[kind] += 1
                self._weigh(neck, kind, scene, telling, over[kind])
            self._change(neck)
        for kind, level in self._levels.items():
            level.learn(np.array(over[kind]), float(max(steps[kind], 1)), scene.elapsed_s)
            self._odds[kind].pass_time(scene.elapsed_s)
        self._forget(telling)
        self._necks += [self._met(row, scene) for row in new]
        self._labels, self._origin = labels, scene.origin

    # ---------------------------------------------------------------- following

    def _follow(self, found: Doubles, labels: Labels, scene: Scene) -> Doubles:
        """Give each neck its new place and depth; the found (K, 7) that are none of them."""
        reach = min(REACH_UM + SPEED_UM_S * scene.elapsed_s, FARTHEST_UM) / self._um
        places = np.array([(neck.x, neck.y) for neck in self._necks]).reshape(-1, 2)
        apart = np.hypot(places[:, 0, None] - found[:, 0], places[:, 1, None] - found[:, 1])
        was_one = np.array([self._was_one(row) for row in found])
        were_one = np.array([neck.depth >= APART for neck in self._necks], float)
        with np.errstate(invalid="ignore"):
            apart[np.abs(were_one[:, None] - was_one) > 0.5] = np.inf  # it lay between others
        free = np.ones(len(found), bool)
        lost = set(range(len(self._necks)))
        for k in np.argsort(apart, axis=None)[: int((apart <= reach).sum())].tolist():
            row, column = divmod(k, len(found))
            if row in lost and free[column]:
                lost.remove(row)
                free[column] = False
                neck = self._necks[row]
                neck.x, neck.y, neck.depth = (float(value) for value in found[column, :3])
                neck.missed = 0
                neck.sides = found[column, 3:].reshape(2, 2)
        for row in lost:
            neck = self._necks[row]
            one, other = (self._object(labels, side, scene.origin) for side in neck.sides)
            neck.missed += 1
            if one and other:
                even = max(neck.usual, EVEN) if neck.whole else EVEN
                neck.depth = even if one == other else 0.0
        return found[free]

    def _object(self, labels: Labels | None, place: Doubles, origin: Doubles) -> int:
        """Which object is at a place, 0: none, or not known."""
        if labels is None:
            return 0
        column, row = np.floor((place - origin + 0.5) / self._tubes.factor).astype(int)
        around = labels[max(row - 1, 0) : max(row + 2, 0), max(column - 1, 0) : max(column + 2, 0)]
        return int(around.max(initial=0))

    def _was_one(self, row: Doubles) -> float:
        """1 where the sides of a neck were of one object in the frame before, 0 where of two, NaN where of none."""
        one, other = (self._object(self._labels, side, self._origin) for side in row[3:].reshape(2, 2))
        return float(one == other) if one and other else np.nan

    def _met(self, row: Doubles, scene: Scene) -> Neck:
        """A neck seen for the first time."""
        x, y, depth = row[:3].tolist()
        was_one = self._was_one(row)
        known = not np.isnan(was_one)
        whole = bool(was_one) if known else depth >= APART
        likely = depth >= RIPE if whole else depth < APART
        usual = self._usual[whole] if known and not likely else depth
        neck = Neck(x, y, row[3:].reshape(2, 2), whole, usual, depth, since=scene.frame.index)
        neck.onset = (x, y)
        return neck

    def _forget(self, telling: Telling) -> None:
        gone = [neck for neck in self._necks if neck.missed >= PATIENCE]
        for neck in gone:
            self._drop(neck, telling)
        self._necks = [neck for neck in self._necks if neck.missed < PATIENCE]

    # ---------------------------------------------------------------- judging

    def _weigh(self, neck: Neck, kind: str, scene: Scene, telling: Telling, over: list[float]) -> None:
        """Add up what this frame says of a neck, and tell what follows."""
        spread = max(self._spread[neck.whole], LEAST_SPREAD)
        off = (neck.usual - neck.depth if neck.whole else neck.depth - neck.usual) / spread
        weight = LOOKS if neck.changed else min(scene.elapsed_s / COHERENT_S, 1.0)
        neck.sum = max(neck.sum + weight * (min(off, MOST_GAIN) - SLACK), 0.0)
        neck.peak = max(neck.peak, neck.sum)
        level = self._levels[kind].level
        neck.sum = min(neck.sum, level + 2 * MOST_GAIN)
        if neck.sum == 0:
            if neck.peak and not neck.settled:
                over.append(neck.peak)
            self._drop(neck, telling)
            neck.peak, neck.since, neck.onset = 0.0, scene.frame.index, (neck.x, neck.y)
        self._learn(neck, off * spread, scene.elapsed_s)
        changed = neck.changed and neck.ripe
        if neck.event_id and scene.frame.t_mid_ns > neck.until_ns:
            self._give_up(neck, telling, over)
        if neck.settled or neck.sum < level or not neck.ripe:
            return
        if not neck.event_id:
            self._odds[kind].count()
            neck.until_ns = scene.frame.t_mid_ns + round(1e9 * LONGEST_S)
            neck.told = self._happening(neck, kind, scene)
            neck.event_id = telling.begin(neck.told, "confirmed" if changed else "provisional")
        elif changed:
            telling.end(neck.event_id, self._happening(neck, kind, scene), "confirmed")
        neck.settled = changed

    def _give_up(self, neck: Neck, telling: Telling, over: list[float]) -> None:
        """It has looked like an event for so long that it is none: that is how it is now."""
        over.append(neck.peak)
        self._drop(neck, telling)
        neck.sum, neck.peak, neck.usual = 0.0, 0.0, neck.depth

    def _learn(self, neck: Neck, off: float, elapsed_s: float) -> None:
        """What this neck, and all of its sort, are like when nothing happens."""
        sort, held = neck.whole, neck.sum >= HELD
        if not held and not neck.changed:
            self._spread[sort] += LEARN * (1.25 * abs(off) - self._spread[sort])
            self._usual[sort] += LEARN * (neck.depth - self._usual[sort])
        share = min(elapsed_s / MEMORY_S, 0.2) * (0.25 if held else 4.0 if off < 0 else 1.0)
        neck.usual += share * (neck.depth - neck.usual)
        neck.ripe |= neck.depth > RIPE if neck.whole else neck.depth < APART

    def _change(self, neck: Neck) -> None:
        """From now on it is of the other sort."""
        if neck.changed:
            neck.whole, neck.ripe = not neck.whole, False
            neck.usual = neck.depth
            neck.sum, neck.peak, neck.looks = 0.0, 0.0, 0
            neck.event_id, neck.told, neck.settled = 0, None, False

    def _drop(self, neck: Neck, telling: Telling) -> None:
        """Nothing came of it."""
        if neck.event_id and neck.told is not None and not neck.settled:
            telling.end(neck.event_id, neck.told._replace(probability=0.0), "withdrawn")
        neck.event_id, neck.told, neck.settled = 0, None, False

    def _probability(self, neck: Neck) -> float:
        kind = "fission" if neck.whole else "fusion"
        return self._odds[kind].probability(neck.peak) if kind in self._odds and neck.sum else 0.0

    def _happening(self, neck: Neck, kind: str, scene: Scene) -> Happening:
        tracks = self._tracks(neck, scene)
        return Happening(kind, neck.since, neck.x, neck.y, self._odds[kind].probability(neck.peak), *tracks)

    def _tracks(self, neck: Neck, scene: Scene) -> Sequence[int]:
        """Those whose middles lie nearest to the two sides."""
        reach = TRACK_UM / self._um
        first, second = (scene.nearest(float(x), float(y), reach) for x, y in neck.sides)
        return (first, second if second != first else -1) if first >= 0 else (second, -1)

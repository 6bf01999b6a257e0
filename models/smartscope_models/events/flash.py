"""A vesicle fuses with the membrane: its light jumps up where it is, then spreads and decays.

Sought in the whole frame, so that it needs no track: a vesicle that nobody saw may flash, and one that flashes soon
looks like no spot. Which track it was is said where one was near.

How high light jumps without a flash is learnt from the same movie looked at backwards: what moves, flickers or is noise
does so in both directions of time, but no flash ends as abruptly as it begins.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartscope.ports import Instrument
from smartscope_models.calibration import Floats
from smartscope_models.detection.regions import reduce
from smartscope_models.events.following import Doubles, Longs
from smartscope_models.events.level import AlarmLevel
from smartscope_models.events.odds import Odds
from smartscope_models.events.scene import Scene
from smartscope_models.events.steps_of_light import NARROW, WIDE, add_up, highest, jumps, window
from smartscope_models.events.telling import Happening, Telling

CELL_SIGMAS = 5.0
"""Edge of a cell of light, in standard deviations of a spot."""
BEFORE = 3
"""Frames with which a frame is compared."""
TAIL, RATE = 1.2, 3.0
"""Belief about jumps while nothing happens: how steeply they thin out, per standard deviation, and how many there are
in a frame."""
MOST_JUMPS, MOST_OPEN = 256, 64
NEAR_CELLS, SPREADING_CELLS, FAR_CELLS = 3.0, 0.3, 8.0
"""Within which a flash and what it leaves are one event: at first, more with each frame, at most."""
SPARK, DECAYED, SPREAD = 0.25, 0.7, 0.8
"""Parts of the highest light: gone at once below; decays; of the narrow window's share below which light spreads."""
LEAST_AGE, LONGEST_AGE = 2, 60
"""Frames after which it is looked whether light decays or spreads, or else is none of a vesicle that fused."""


@dataclass(slots=True)
class _Open:
    """A flash that may still go on."""

    event_id: int
    told: Happening
    cell: tuple[int, int]
    was_narrow: float
    was_wide: float
    """Light of its windows before."""
    top: float = 0.0
    share: float = 0.0
    """Highest light above that, and the narrow window's part of it then."""
    age: int = 0
    settled: bool = False


class Flash:
    """Watches the light of all frames."""

    def __init__(self, setup: Instrument, per_hour: float) -> None:
        camera, optics = setup.camera, setup.optics
        sigma_px = max(0.21 * optics.emission_nm / optics.numerical_aperture / camera.pixel_size_nm, 0.5)
        self._edge = max(2, round(CELL_SIGMAS * sigma_px))
        self._offset, self._gain = np.float32(camera.offset_adu), np.float32(camera.electrons_per_adu / camera.em_gain)
        self._excess = 2.0 if camera.em_gain > 1 else 1.0
        self._dark_variance = self._edge**2 * (camera.read_noise_e / camera.em_gain) ** 2
        self._level = AlarmLevel(per_hour, TAIL, RATE)
        self._odds = Odds(self._level)
        self._past: deque[Floats] = deque(maxlen=BEFORE)
        self._open: list[_Open] = []
        self._jumps = np.empty((0, 4))
        self._top = np.empty((MOST_JUMPS, 3))
        self._before_ids: Longs = np.empty(0, np.int64)
        self._before_places: Doubles = np.empty((0, 2))

    def look(self, scene: Scene, telling: Telling) -> None:
        """Take in a frame."""
        height, width = (edge // self._edge for edge in scene.frame.pixels.shape)
        if not scene.same_view or not scene.elapsed_s:
            self._forget(telling)
        if min(height, width) >= NARROW:
            cells = np.empty((height, width), np.float32)
            reduce(scene.frame.pixels, self._offset, self._gain, self._edge, cells)
            cells *= np.float32(self._edge**2)
            self._follow(_summed(cells), telling)
            if len(self._past) == BEFORE:
                self._seek(cells, scene, telling)
            self._past.append(cells)
        if scene.tracks is not None:
            seen = np.isfinite(scene.places[:, 0])
            self._before_ids, self._before_places = scene.ids[seen], scene.places[seen]

    def _forget(self, telling: Telling) -> None:
        """The view has changed: light of before tells nothing."""
        for one in self._open:
            if not one.settled:
                telling.end(one.event_id, one.told, "withdrawn")
        self._open.clear()
        self._past.clear()
        self._jumps = np.empty((0, 4))

    def _seek(self, cells: Floats, scene: Scene, telling: Telling) -> None:
        earlier = np.mean(self._past, axis=0)
        before, empty = _summed(earlier), float(np.median(earlier))
        found = self._jumps_of(_summed(cells), before, empty)
        later = _summed(np.mean([*self._past, cells][1:], axis=0))
        backwards = self._jumps_of(_summed(self._past[0]), later, empty)
        self._level.learn(self._ended(backwards), 1.0, scene.elapsed_s)
        self._odds.pass_time(scene.elapsed_s)
        for row, column, height in found[found[:, 2] >= self._level.level].tolist():
            if len(self._open) < MOST_OPEN:
                self._begin(int(row), int(column), height, before, scene, telling)

    def _jumps_of(self, sums: Doubles, before: Doubles, empty: float) -> Doubles:
        """(K, 3) row, column and height of jumps, those aside that belong to a flash already told."""
        evidence = np.empty((len(sums) - NARROW, sums.shape[1] - NARROW))
        jumps(sums, before, 1 / BEFORE, self._excess, (self._dark_variance, empty), evidence)
        found = self._top[: highest(evidence, self._top)].copy()
        known = np.array([one.cell for one in self._open]).reshape(-1, 2)
        reach = np.array([min(NEAR_CELLS + SPREADING_CELLS * one.age, FAR_CELLS) for one in self._open])
        return found[~_near(found, known, reach).any(axis=1)]

    def _ended(self, found: Doubles) -> Doubles:
        """Heights of jumps that are over; those near to each other, frame after frame, are one."""
        past = self._jumps
        past[:, 3] += 1
        near = _near(past, found)
        highest_near = np.where(near, found[:, 2], 0.0).max(axis=1, initial=0.0)
        past[:, 2] = np.maximum(past[:, 2], highest_near)
        past[near.any(axis=1), 3] = 0
        over = past[:, 3] >= BEFORE
        new = found[~near.any(axis=0)]
        self._jumps = np.concatenate([past[~over], np.column_stack([new, np.zeros(len(new))])])
        return np.asarray(past[over, 2])

    def _begin(self, row: int, column: int, height: float, before: Doubles, scene: Scene, telling: Telling) -> None:
        self._odds.count()
        middle = (NARROW * self._edge - 1) / 2
        x, y = scene.origin + np.array([column, row]) * self._edge + middle
        track_id, x, y = self._who(float(x), float(y))
        told = Happening("flash", scene.frame.index, x, y, self._odds.probability(height), track_id)
        was_narrow, was_wide = (float(window(before, row, column, edge)[0]) for edge in (NARROW, WIDE))
        self._open.append(_Open(telling.begin(told), told, (row, column), was_narrow, was_wide))

    def _who(self, x: float, y: float) -> tuple[int, float, float]:
        """The track nearest to a place in the frame before, and its place; else the place itself."""
        distance = np.hypot(*(self._before_places - (x, y)).T)
        if not len(distance) or distance.min() > 1.5 * self._edge:
            return -1, x, y
        row = int(distance.argmin())
        there_x, there_y = self._before_places[row].tolist()
        return int(self._before_ids[row]), there_x, there_y

    def _follow(self, sums: Doubles, telling: Telling) -> None:
        """See what becomes of each flash."""
        for one in self._open:
            narrow, wide = (float(window(sums, *one.cell, edge)[0]) for edge in (NARROW, WIDE))
            narrow, wide = narrow - one.was_narrow, wide - one.was_wide
            one.age += 1
            if wide > one.top:
                one.top, one.share = wide, narrow / wide
            if one.settled or one.age < LEAST_AGE:
                continue
            gone = wide < SPARK * one.top and one.age <= LEAST_AGE + 1
            if gone or one.age >= LONGEST_AGE:
                self._settle(one, "withdrawn", telling)
            elif wide < DECAYED * one.top or narrow < SPREAD * one.share * wide:
                self._settle(one, "confirmed", telling)
        self._open = [one for one in self._open if not (one.settled and one.age >= LONGEST_AGE)]

    def _settle(self, one: _Open, status: str, telling: Telling) -> None:
        one.settled = True
        probability = one.told.probability if status == "confirmed" else 0.0
        telling.end(one.event_id, one.told._replace(probability=probability), status)


def _summed(cells: Floats) -> Doubles:
    sums = np.empty((cells.shape[0] + 1, cells.shape[1] + 1))
    add_up(cells, sums)
    return sums


def _near(ones: Doubles, others: Doubles, reach: Doubles | float = NEAR_CELLS) -> npt.NDArray[np.bool_]:
    """(N, M) which places, rows and columns first, are of one event."""
    apart = np.hypot(ones[:, 0, None] - others[:, 0], ones[:, 1, None] - others[:, 1])
    return np.asarray(apart <= reach)

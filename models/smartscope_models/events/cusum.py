"""Evidence added up along each track, and what comes of it: told at a level, confirmed higher up, or withdrawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from smartscope_models.events.following import Doubles, Longs, carried
from smartscope_models.events.level import AlarmLevel
from smartscope_models.events.odds import Odds
from smartscope_models.events.scene import Scene
from smartscope_models.events.telling import Happening, Telling

SURE = 3.0
"""Above the level, nats: an event is confirmed."""
HIGHEST = 10.0
"""Above the level: more is not needed, and takes longer to fall."""


class Sums(NamedTuple):
    """Of each track (N,): the sum of evidence since it was last at zero."""

    sum: Doubles
    peak: Doubles
    since: Longs
    """Index of the frame in which the sum began to rise."""
    x: Doubles
    y: Doubles
    """The track's place then."""
    event_id: Longs
    """What was told of this rise; 0: nothing yet."""
    settled: Longs
    """1 where it was told for good."""


def no_sums() -> Sums:
    """Of no track."""
    f, i = np.empty(0), np.empty(0, np.int64)
    return Sums(f, f, i, f, f, i, i)


@njit(nogil=True, cache=True)
def begin(sums, i, frame, x, y):  # type: ignore[no-untyped-def]
    """From here on something may have begun."""
    sums.sum[i], sums.peak[i], sums.since[i], sums.x[i], sums.y[i] = 0.0, 0.0, frame, x, y


@njit(nogil=True, cache=True)
def add(sums, i, gain, most):  # type: ignore[no-untyped-def]
    """Add evidence; whether the sum is still above zero."""
    total = min(sums.sum[i] + gain, most)
    sums.sum[i] = max(total, 0.0)
    sums.peak[i] = max(sums.peak[i], sums.sum[i])
    return total > 0.0


class Watch:
    """The sums of one kind of event, and the level that they must pass."""

    def __init__(self, kind: str, per_hour: float) -> None:
        self._kind = kind
        self.level = AlarmLevel(per_hour)
        self._odds = Odds(self.level)
        self._ids: Longs = np.empty(0, np.int64)
        self.sums = no_sums()

    @property
    def most(self) -> float:
        """To which the sums may rise."""
        return self.level.level + HIGHEST

    def follow(self, ids: Longs, row: Longs, telling: Telling) -> None:
        """Put the sums in the order of now; what is lost of sight is over."""
        lost = np.ones(len(self._ids), bool)
        lost[row[row >= 0]] = False
        self._over(np.flatnonzero(lost), telling)
        self.sums = carried(self.sums, row)
        self._ids = ids

    def judge(self, ended: Longs, scene: Scene, telling: Telling) -> None:
        """Learn from the rises that ended, rows (K,) that begin anew after this, and tell of those above the level."""
        sums = self.sums
        quiet = ended[(sums.settled[ended] == 0) & (sums.peak[ended] > 0)]
        self.level.learn(sums.peak[quiet], float(np.isfinite(scene.places[:, 0]).sum()), scene.elapsed_s)
        self._odds.pass_time(scene.elapsed_s)
        self._over(ended, telling)
        level = self.level.level
        with np.errstate(invalid="ignore"):
            high = np.flatnonzero((sums.sum >= level) & (sums.settled == 0))
        for i in high.tolist():
            self._tell(i, level, telling)

    def _tell(self, i: int, level: float, telling: Telling) -> None:
        sums = self.sums
        sure = sums.sum[i] >= level + SURE
        if not sums.event_id[i]:
            self._odds.count()
            sums.event_id[i] = telling.begin(self._happening(i), "confirmed" if sure else "provisional")
        elif sure:
            telling.end(int(sums.event_id[i]), self._happening(i), "confirmed")
        sums.settled[i] = int(sure)

    def _happening(self, i: int) -> Happening:
        sums = self.sums
        probability = self._odds.probability(float(sums.peak[i]))
        return Happening(
            self._kind, int(sums.since[i]), float(sums.x[i]), float(sums.y[i]), probability, int(self._ids[i])
        )

    def _over(self, rows: Longs, telling: Telling) -> None:
        """Rises that ended: what was not sure by then is withdrawn."""
        sums = self.sums
        for i in rows[sums.event_id[rows] > 0].tolist():
            if not sums.settled[i]:
                telling.end(int(sums.event_id[i]), self._happening(i)._replace(probability=0.0), "withdrawn")
        sums.event_id[rows], sums.settled[rows] = 0, 0

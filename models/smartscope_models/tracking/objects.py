"""Everything known about the objects being followed: one array for each property, one row for each object."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from smartscope_models.tracking.motion import Doubles

Integers = npt.NDArray[np.int64]


@dataclass(slots=True)
class Objects:
    """Columns of equal length N."""

    track_id: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    parent_id: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    state: Doubles = field(default_factory=lambda: np.empty((0, 2, 7)))
    steady: Doubles = field(default_factory=lambda: np.empty(0))
    exists: Doubles = field(default_factory=lambda: np.empty(0))
    """Probability that it is still there."""
    features: Doubles = field(default_factory=lambda: np.empty((0, 2)))
    """Running means of log size and log brightness."""
    place: Doubles = field(default_factory=lambda: np.empty((0, 2)))
    """Where it was seen last."""
    size: Doubles = field(default_factory=lambda: np.empty(0))
    intensity: Doubles = field(default_factory=lambda: np.empty(0))
    age: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    missed: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    hits: Integers = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.track_id)

    def some(self, rows: Integers) -> Objects:
        """Only these."""
        return Objects(*(getattr(self, column.name)[rows] for column in fields(self)))

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        """Forget the others."""
        if not rows.all():
            for column in fields(self):
                setattr(self, column.name, getattr(self, column.name)[rows])

    def append(self, other: Objects) -> None:
        """Add newcomers at the end."""
        if len(other):
            for column in fields(self):
                both = [getattr(self, column.name), getattr(other, column.name)]
                setattr(self, column.name, np.concatenate(both))

    def position(self) -> Doubles:
        """(N, 2) mean of the two models."""
        walk, course = self.state[:, 0, :2], self.state[:, 1, :2]
        mean: Doubles = walk + self.steady[:, None] * (course - walk)
        return mean

    def sigma(self) -> Doubles:
        """(N,) standard error per axis: both models' own, and how far they lie apart."""
        walk, course, steady = self.state[:, 0], self.state[:, 1], self.steady
        apart = ((walk[:, :2] - course[:, :2]) ** 2).mean(1) * steady * (1 - steady)
        variance: Doubles = (1 - steady) * walk[:, 4] + steady * course[:, 4] + apart
        return np.asarray(np.sqrt(variance))


def newcomers(
    ids: Integers,
    parents: Integers,
    places: Doubles,
    features: Doubles,
    looks: Doubles,
    exists: Doubles,
    p: Doubles,
) -> Objects:
    """Objects first seen at ``places`` (K, 2); looks (K, 2): size and intensity; p (3,): covariance of a start."""
    count = len(ids)
    state = np.zeros((count, 2, 7))
    state[:, :, :2] = places[:, None]
    state[:, :, 4:] = p
    none = np.zeros(count, np.int64)
    return Objects(
        track_id=ids,
        parent_id=parents,
        state=state,
        steady=np.full(count, 0.5),
        exists=exists,
        features=features,
        place=places,
        size=looks[:, 0],
        intensity=looks[:, 1],
        age=none,
        missed=none.copy(),
        hits=none + 1,
    )

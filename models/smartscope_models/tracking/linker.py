"""Identities of one kind of object over time: predict, find candidates, assign, update, and learn the noise.

Online and causal: an identity, once given, never changes. It never raises on any arrangement of points; where a crowd
is too dense for an exact answer, it says how many times it took a greedy one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from smartscope_models.tracking.assignment import assign
from smartscope_models.tracking.candidates import candidates
from smartscope_models.tracking.motion import Doubles, Noise, predict, update

Integers = npt.NDArray[np.int64]

DETECTED = 0.94
"""Probability that an object in view is detected."""
NEWCOMERS = 0.028
"""Share of the detections that are new objects or false."""
CAUTION = 1.15
"""Process noise is held this much above what is seen: too little loses objects, too much costs hardly anything."""
REMEMBERED_LINKS = 3000.0
"""Noise is an average over about so many of the latest links."""


@dataclass(slots=True)
class Objects:
    """Everything known about the objects being followed; columns of equal length N, one row an object."""

    track_id: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    x: Doubles = field(default_factory=lambda: np.empty((0, 2, 2)))
    v: Doubles = field(default_factory=lambda: np.empty((0, 2, 2)))
    p: Doubles = field(default_factory=lambda: np.empty((0, 2, 3)))
    w: Doubles = field(default_factory=lambda: np.empty((0, 2)))
    features: Doubles = field(default_factory=lambda: np.empty((0, 2)))
    """Running means of log size and log brightness."""
    size: Doubles = field(default_factory=lambda: np.empty(0))
    intensity: Doubles = field(default_factory=lambda: np.empty(0))
    age: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    missed: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    hits: Integers = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.track_id)

    def keep(self, rows: npt.NDArray[np.bool_]) -> None:
        """Forget the others."""
        for column in fields(self):
            setattr(self, column.name, getattr(self, column.name)[rows])

    def append(self, other: Objects) -> None:
        """Add newcomers at the end."""
        for column in fields(self):
            setattr(self, column.name, np.concatenate([getattr(self, column.name), getattr(other, column.name)]))

    def position(self) -> Doubles:
        """(N, 2) mean of the two models."""
        mean: Doubles = np.einsum("nm,nma->na", self.w, self.x)
        return mean

    def sigma(self) -> Doubles:
        """(N,) standard error per axis: both models' own, and how far they lie apart."""
        apart = ((self.x[:, 0] - self.x[:, 1]) ** 2).mean(1) * self.w[:, 0] * self.w[:, 1]
        variance: Doubles = (self.w * self.p[:, :, 0]).sum(1) + apart
        return np.asarray(np.sqrt(variance))


class Linker:
    """Follows the objects of one kind; lengths in pixels, time in frame periods."""

    def __init__(self, gate_px: float, memory_frames: float) -> None:
        self.objects = Objects()
        self.cut_short = 0
        """Objects that got a greedy answer, or candidates for which there was no room, so far."""
        self._gate = gate_px
        self._memory = memory_frames
        self.noise = Noise.of_gate(gate_px)
        self._density = 0.0
        self._motion_links = self._alone_links = 50.0  # what the start values are worth
        self._looks = np.array([[2.0, 2.0], [0.0, 0.0], [1.0, 1.0]])

    def advance(self, frames: float) -> None:
        """Let the objects move on by ``frames`` frame periods, unseen."""
        noise, objects = self.noise, self.objects
        predict(
            objects.x, objects.v, objects.p, objects.w, frames, noise.walk, noise.course, noise.turn, noise.velocity
        )

    def link(
        self,
        places: Doubles,
        size: Doubles,
        intensity: Doubles,
        area_px2: float,
        next_id: int,
        widening: float = 1.0,
    ) -> Integers:
        """Identities (D,) of the detections at ``places`` (D, 2), after ``advance``; new ones count from ``next_id``.

        area_px2: of the field of view; widening: times the gate, where more than one frame period has passed.
        """
        described = np.log(np.maximum(np.column_stack([size, intensity]), 1e-6))
        self._learn_surroundings(described, area_px2)
        matched, alone = self._match(places, described, widening)
        objects = self.objects
        sums = update(objects.x, objects.v, objects.p, objects.w, matched, places, self.noise.measurement)
        self._learn_motion(sums, int((matched >= 0).sum()))
        self._note(matched, alone, described, size, intensity)
        ids = np.full(len(places), -1)
        seen = matched >= 0
        ids[matched[seen]] = objects.track_id[seen]
        lasting = np.where(objects.hits > 1, self._memory, min(self._memory, 1))
        objects.keep(objects.missed <= lasting)
        new = np.flatnonzero(ids < 0)
        ids[new] = next_id + np.arange(len(new))
        objects.append(self._newcomers(ids[new], places[new], described[new], size[new], intensity[new]))
        return ids

    def _match(self, places: Doubles, described: Doubles, widening: float) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """Detection of each object or -1, and which of those had no rival on either side."""
        objects = self.objects
        if not len(objects) or not len(places):
            return np.full(len(objects), -1), np.zeros(len(objects), bool)
        threshold = -math.log(1 - DETECTED) + math.log(DETECTED) - math.log(NEWCOMERS * self._density)
        start, detection, cost, dropped = candidates(
            objects.x, objects.p, objects.w, objects.features, places, described,
            self._gate * widening, self.noise.measurement, threshold, self._looks,
        )  # fmt: skip
        matched, cut = assign(start, detection, cost, threshold, len(places))
        self.cut_short += cut + dropped
        rivals = np.bincount(detection, minlength=len(places))
        alone = (matched >= 0) & (np.diff(start) == 1)
        alone[alone] = rivals[matched[alone]] == 1
        return matched, alone

    def _learn_surroundings(self, described: Doubles, area_px2: float) -> None:
        """Density of detections, and how sizes and brightnesses spread."""
        density = max(len(described), 1) / max(area_px2, 1.0)
        rate = 0.1 if self._density else 1.0
        self._density += rate * (density - self._density)
        if len(described) > 1:
            rate = 1.0 if self._looks[1].any() == 0 else min(0.1, len(described) / 500)
            self._looks[1] += rate * (described.mean(0) - self._looks[1])
            self._looks[2] += rate * (np.maximum(described.var(0), 1e-4) - self._looks[2])

    def _learn_motion(self, sums: Doubles, links: int) -> None:
        """Noise by innovation matching (Mehra, IEEE TAC 15:175, 1970), biased upward."""
        self._motion_links = min(self._motion_links + links, REMEMBERED_LINKS)
        rate = min(0.3, links / self._motion_links)
        if links:
            walk, course = (CAUTION * (sums[:, 0] + 1e-9) / (sums[:, 1] + 1e-9)) ** rate
            self.noise.learn(float(walk), float(course), self._gate)

    def _note(
        self,
        matched: Integers,
        alone: npt.NDArray[np.bool_],
        described: Doubles,
        size: Doubles,
        intensity: Doubles,
    ) -> None:
        """Write down what was seen of the known objects, and how much looks change from frame to frame."""
        objects = self.objects
        seen = matched >= 0
        row = matched[seen]
        if alone.any():
            change = (described[matched[alone]] - objects.features[alone]) ** 2
            limited = np.minimum(change, 9 * self._looks[0]).mean(0)
            self._alone_links = min(self._alone_links + alone.sum(), REMEMBERED_LINKS)
            rate = min(1.0, alone.sum() / self._alone_links)
            self._looks[0] += rate * (np.maximum(limited, 1e-4) - self._looks[0])
        gain = np.maximum(0.25, 1 / (1 + objects.hits[seen]))[:, None]
        objects.features[seen] += gain * (described[row] - objects.features[seen])
        objects.size[seen], objects.intensity[seen] = size[row], intensity[row]
        objects.hits[seen] += 1
        objects.age += 1
        objects.missed += 1
        objects.missed[seen] = 0

    def _newcomers(
        self, ids: Integers, places: Doubles, described: Doubles, size: Doubles, intensity: Doubles
    ) -> Objects:
        count, noise = len(ids), self.noise
        return Objects(
            track_id=ids,
            x=np.repeat(places[:, None], 2, axis=1),
            v=np.zeros((count, 2, 2)),
            p=np.tile([noise.measurement, 0.0, noise.velocity], (count, 2, 1)),
            w=np.full((count, 2), 0.5),
            features=described,
            size=size,
            intensity=intensity,
            age=np.zeros(count, np.int64),
            missed=np.zeros(count, np.int64),
            hits=np.ones(count, np.int64),
        )

"""One frame as the detectors of events look at it: where its tracks are in the specimen, and how much time has gone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smartscope.frame import Frame
from smartscope.result import Tracks
from smartscope_models.events.following import Doubles, Longs


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A frame with its tracks; places in the specimen, in sensor pixels, so that stage and ROI make no difference."""

    frame: Frame
    elapsed_s: float
    """Since the frame before, above 0; 0: unknown, or time went back."""
    origin: Doubles
    """(2,) place of the frame's top-left pixel."""
    tracks: Tracks | None
    ids: Longs
    """(N,) of all tracks, seen in this frame or not."""
    places: Doubles
    """(N, 2) where they were seen; NaN where they were not."""
    noise_px: float
    """Error of a place, per axis."""
    same_view: bool
    """Stage, focus, ROI, light and exposure are those of the frame before."""

    @property
    def now_s(self) -> float:
        """Middle of the exposure."""
        return self.frame.t_mid_ns / 1e9

    def nearest(self, x: float, y: float, reach_px: float) -> int:
        """The track nearest to a place in the specimen, -1 where none is within reach."""
        if not len(self.ids):
            return -1
        distance = np.hypot(self.places[:, 0] - x, self.places[:, 1] - y)
        distance[np.isnan(distance)] = np.inf
        row = int(distance.argmin())
        return int(self.ids[row]) if distance[row] <= reach_px else -1

"""All sightings of all objects of a movie in one table, with who came from whom and which frames were looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError

Column = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

SPOT = 0
"""Of ``TrackTable.label``: sizes of spots are the sigma of a Gaussian, of all others the radius of a disc."""
UNKNOWN_RADIUS_PX = 2.5
"""Drawn and told where a table says no size."""


@dataclass(frozen=True, slots=True)
class TrackTable:
    """N sightings, by frame and then by track; one origin for all frames: the centre of the top-left pixel."""

    frame: Whole
    """(N,) index of the frame."""
    track_id: Whole
    x_px: Column
    y_px: Column
    size_px: Column
    """As in ``Detections``; 0 where it is not known."""
    intensity: Column
    """Photo-electrons; 0 where it is not known."""
    label: Whole
    mothers: Mapping[int, int]
    """Track → mother, where there is one."""
    frames: Whole
    """(T,) indices of all frames that were looked at, ascending; there may be nothing in one."""
    t_s: Column
    """(T,) when they were exposed, since the first one."""
    shape: tuple[int, int]
    """(H, W) of the field that holds all frames, pixels."""
    pixel_size_um: float | None = None
    """None: not known; places are then told in pixels, and times in frames."""

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def step(self) -> Whole:
        """(N,) which of ``frames`` each sighting is in."""
        return np.searchsorted(self.frames, self.frame).astype(np.int64)

    @property
    def radius_px(self) -> Column:
        """(N,) of a disc: sqrt(2) sigma for a spot, as TrackMate's blob detectors understand it."""
        radius = np.where(self.label == SPOT, np.sqrt(2.0) * self.size_px, self.size_px)
        return np.where(radius > 0, radius, UNKNOWN_RADIUS_PX)


def ordered(table: TrackTable, where: str) -> TrackTable:
    """The same, by frame and then by track; tracks that are their own mothers have none.

    Raises:
        InputError: an object is in one frame twice.
    """
    order = np.lexsort((table.track_id, table.frame))
    columns = {
        name: getattr(table, name)[order]
        for name in ("frame", "track_id", "x_px", "y_px", "size_px", "intensity", "label")
    }
    frame, track = columns["frame"], columns["track_id"]
    twice = np.flatnonzero((np.diff(frame) == 0) & (np.diff(track) == 0))
    if twice.size:
        raise InputError(
            f"track {track[twice[0]]} is in frame {frame[twice[0]]} twice",
            where=where,
            remedy="give each object of a frame a track_id of its own",
        )
    mothers = {track: mother for track, mother in table.mothers.items() if track != mother}
    return TrackTable(
        **columns,
        mothers=mothers,
        frames=table.frames,
        t_s=table.t_s,
        shape=table.shape,
        pixel_size_um=table.pixel_size_um,
    )

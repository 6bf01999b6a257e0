"""Who tells what: numbers of events, each told once as provisional and once as confirmed or withdrawn."""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

import numpy as np

from smartscope.result import EVENT_KINDS, EVENT_STATUS, Events, columns_of
from smartscope_models.events.scene import Scene

FIRST_ID = 1_000_000_000
"""Numbers from here on are these events'; those below are left to the tracker's."""
LIKELIEST = 0.999


class Happening(NamedTuple):
    """An event as it is told; place in the specimen, sensor pixels."""

    kind: str
    onset_frame: int
    x: float
    y: float
    probability: float
    track_id: int = -1
    other_id: int = -1


class Telling:
    """Collects what is told of one frame."""

    def __init__(self) -> None:
        self._next_id = FIRST_ID
        self._rows: list[tuple[int, int, Happening]] = []

    def begin(self, happening: Happening, status: str = "provisional") -> int:
        """Tell of something new; its number."""
        event_id, self._next_id = self._next_id, self._next_id + 1
        self.end(event_id, happening, status)
        return event_id

    def end(self, event_id: int, happening: Happening, status: str) -> None:
        """Tell of something again."""
        self._rows.append((event_id, EVENT_STATUS.index(status), happening))

    def table(self, scene: Scene) -> Events | None:
        """All of it, places in ROI pixels of the frame; forgotten here. None: nothing."""
        rows, self._rows = self._rows, []
        latest = {event_id: (event_id, status, one) for event_id, status, one in rows}
        if not latest:
            return None
        ids, statuses, ones = zip(*latest.values(), strict=True)
        columns = {
            "event_id": ids,
            "kind": [EVENT_KINDS.index(one.kind) for one in ones],
            "status": statuses,
            "onset_frame": [min(max(one.onset_frame, 0), scene.frame.index) for one in ones],
            "x_px": [one.x - scene.origin[0] for one in ones],
            "y_px": [one.y - scene.origin[1] for one in ones],
            "probability": [min(max(one.probability, 0.0), LIKELIEST) for one in ones],
            "track_id": [one.track_id for one in ones],
            "other_id": [one.other_id for one in ones],
        }
        return Events(**{name: np.array(columns[name], dtype) for name, dtype in columns_of(Events).items()})


def joined(earlier: Events | None, newer: Events | None) -> Events | None:
    """What both tell, the earlier first."""
    if earlier is None or newer is None:
        return newer if earlier is None else earlier
    parts = ([getattr(part, column.name) for part in (earlier, newer)] for column in fields(Events))
    return Events(*(np.concatenate(pair) for pair in parts))

"""What was told against what is true: who was meant, how many frames off, and how late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smartscope.result import EVENT_KINDS, EVENT_STATUS, Events


@dataclass(slots=True)
class Told:
    """One event as it was told, first and last."""

    kind: str
    status: str
    onset_frame: int
    places: list[tuple[float, float]]
    first_frame: int
    """In which it was first told."""
    settled_frame: int
    """In which it was confirmed, or else told last."""
    track_id: int


@dataclass(frozen=True, slots=True)
class Truth:
    """One true event."""

    kind: str
    onset_frame: int
    change_frame: int
    x_px: float
    y_px: float
    object_id: int


class Listener:
    """Collects what is told, frame by frame."""

    def __init__(self) -> None:
        self.told: dict[int, Told] = {}

    def hear(self, frame: int, events: Events | None) -> None:
        """Take in one frame's table."""
        for row in range(0 if events is None else len(events)):
            status = EVENT_STATUS[events.status[row]]
            place = float(events.x_px[row]), float(events.y_px[row])
            one = self.told.get(int(events.event_id[row]))
            if one is None:
                kind, onset, track = EVENT_KINDS[events.kind[row]], events.onset_frame[row], events.track_id[row]
                self.told[int(events.event_id[row])] = Told(kind, status, int(onset), [place], frame, frame, int(track))
            else:
                one.status, one.settled_frame = status, frame
                one.places.append(place)

    def of(self, kind: str) -> list[Told]:
        """Those of a kind that were not withdrawn."""
        return [one for one in self.told.values() if one.kind == kind and one.status != "withdrawn"]


def judged(
    true: Sequence[Truth], told: Sequence[Told], by: str, reach_px: float, within: int
) -> dict[str, float | int]:
    """Counts for one kind; ``by``: ``onset`` (frames that are told as the first) or ``change`` (frame of confirming).

    Each true event takes the told one that is nearest in frames and not taken, among those within reach in space.
    """
    free, hits, errors, delays = set(range(len(told))), 0, [], []
    for event in true:
        frame = getattr(event, f"{by}_frame")
        off = {k: (told[k].onset_frame if by == "onset" else told[k].settled_frame) - frame for k in free}
        near = [k for k in free if _apart(told[k], event) <= reach_px]
        if not near:
            continue
        best = min(near, key=lambda k: (abs(off[k]), k))
        if abs(off[best]) <= within:
            hits += 1
            free.remove(best)
            errors.append(off[best])
            delays.append(told[best].first_frame - event.onset_frame)
    return {
        "true": len(true),
        "told": len(told),
        "hits": hits,
        "frames_off_sum": int(np.abs(errors).sum()),
        "delays": [int(value) for value in delays],  # type: ignore[dict-item]
    }


def _apart(told: Told, event: Truth) -> float:
    return min(float(np.hypot(x - event.x_px, y - event.y_px)) for x, y in told.places)


def pooled(parts: Sequence[dict[str, float | int]], rate_hz: float) -> dict[str, float]:
    """F1 over all movies, and how long after the onset events were told."""
    true, told, hits = (sum(int(part[name]) for part in parts) for name in ("true", "told", "hits"))
    delays = np.concatenate([np.array(part["delays"], float) for part in parts]) / rate_hz
    figures = {
        "true": true,
        "told": told,
        "precision": hits / max(told, 1),
        "recall": hits / max(true, 1),
        "f1": 2 * hits / max(true + told, 1),
    }
    if len(delays):
        figures |= {
            "delay_s_median": float(np.median(delays)),
            "delay_s_p90": float(np.percentile(delays, 90)),
        }
    return figures

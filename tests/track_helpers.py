"""A short story of objects, as a tracker tells it: a division, a gap, an identity taken back, an event withdrawn.

Object 1 divides into 2 and 3; object 4 is out of sight for two frames and comes back under the name 5 until frame 8,
when that is taken back. ``settled`` follows ``LAG`` frames behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from smartscope.command import Request, SetLight
from smartscope.frame import Frame
from smartscope.ports import Choice, Context, Instrument
from smartscope.result import Events, Result, Revisions, Settled, Tracks, columns_of

FRAMES, LAG = 12, 3
DIVIDES, GAP, KNOWN = 5, (4, 5), 8
"""First frame of the daughters; frames without object 4; when it is known who 5 was."""
TRUE = {
    1: (-1, range(DIVIDES)),
    2: (1, range(DIVIDES, FRAMES)),
    3: (1, range(DIVIDES, FRAMES)),
    4: (-1, [n for n in range(FRAMES) if n not in GAP]),
}
"""Identity → mother, and the frames in which it is seen."""


def table(of: type[Any], length: int, /, **columns: Any) -> Any:
    """A table with these columns; zeros in the others."""
    given = {name: np.asarray(values) for name, values in columns.items()}
    return of(
        **{name: np.broadcast_to(given.get(name, 0), (length,)).astype(dtype) for name, dtype in columns_of(of).items()}
    )


def place(track_id: int, frame: int) -> tuple[float, float]:
    """Where it is, px."""
    x_px = {1: 10.0, 2: 10.0, 3: 10.0, 4: 25.0, 5: 25.0}[track_id] + 0.5 * (frame % 10)
    return x_px, {1: 8.0, 2: 4.0, 3: 13.0, 4: 18.0, 5: 18.0}[track_id]


def tracks_of(frame: int, *, known: bool) -> Tracks:
    """Who is there, under the name that is true, or else the one that was told at the time."""
    there = [(track, mother) for track, (mother, frames) in TRUE.items() if frame in frames]
    ids = [5 if track == 4 and GAP[-1] < frame < KNOWN and not known else track for track, _ in there]
    x_px, y_px = zip(*(place(track, frame) for track in ids), strict=True)
    parents = [mother for _, mother in there]
    motion = {"vx_px_s": 50.0, "steady": 0.75, "v_error_px_s": 0.1, "diffusion_px2_s": 3.3, "sigma_px": 0.2}
    return table(  # type: ignore[no-any-return]
        Tracks, len(ids), track_id=ids, parent_id=parents, x_px=x_px, y_px=y_px, size_px=2.5, intensity=812.3, **motion
    )


EVENTS = {
    DIVIDES: (0, 0, 0, DIVIDES, 0.625, 1, 2),
    DIVIDES + 2: (0, 0, 1, DIVIDES, 0.97, 1, 2),
    6: (1, 4, 0, 3, 0.5, 4, -1),
    9: (1, 4, 2, 3, 0.125, 4, -1),
}
"""Frame → event_id, kind, status, onset_frame, probability, track_id, other_id."""


def events_at(frame: int) -> Events:
    """What becomes known with this frame: one thing or nothing."""
    again, step = divmod(frame, FRAMES)
    if step not in EVENTS:
        return table(Events, 0)  # type: ignore[no-any-return]
    names = ("event_id", "kind", "status", "onset_frame", "probability", "track_id", "other_id")
    told = dict(zip(names, ([value] for value in EVENTS[step]), strict=True))
    told |= {"event_id": [EVENTS[step][0] + 2 * again], "onset_frame": [EVENTS[step][3] + FRAMES * again]}
    return table(Events, 1, x_px=[11.5], y_px=[8.25], **told)  # type: ignore[no-any-return]


def told(so_far: Result) -> Result:
    """All that is known with this frame, from index 0 on; after its end the story begins again."""
    index, earlier = so_far.frame.index, so_far.frame.index - LAG
    settled = Settled(earlier, tracks_of(earlier % FRAMES, known=True)) if earlier >= 0 else None
    taken_back = table(Revisions, 1, since_frame=[index - 2], track_id=[5], now_id=[4], parent_id=[-1])
    return replace(
        so_far,
        tracks=tracks_of(index % FRAMES, known=False),
        settled=settled,
        revisions=taken_back if index % FRAMES == KNOWN else None,
        events=events_at(index),
    )


class MadeUpTracker:
    """Tells the story over and over; a test's YAML names ``track_helpers:MadeUpTracker``."""

    history = 0
    reads = frozenset[str]()

    def __init__(self, setup: Instrument) -> None:
        del setup

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Nothing to compile."""

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        return told(so_far)


class EventPolicy:
    """Light by the probability of the last event and by what is settled, to the last bit."""

    def __init__(self, *, light: str = "laser") -> None:
        self.light = light

    def decide(self, context: Context) -> Choice:
        result = context.result
        events, settled, revised = result.events, result.settled, result.revisions
        power_mw = 1.0 + (0.0 if settled is None else float(settled.tracks.x_px[-1]) / 100)
        power_mw += 0.0 if events is None or not len(events) else float(events.probability[-1])
        power_mw += 0.0 if revised is None else 0.5
        return Choice([Request(SetLight(self.light, power_mw), "as likely as the event")])

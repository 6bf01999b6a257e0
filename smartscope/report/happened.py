"""What happened in the specimen and who came from whom, read of a run's record as far as it can be read."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass

from smartscope.recorder import folder as files
from smartscope.report.record import Record

MOST_READ = 1_000_000
"""Lines of events.csv that are looked at."""


@dataclass(frozen=True, slots=True)
class SpecimenEvent:
    """One event as it was told last."""

    kind: str
    status: str
    told_frame: int
    """First told with this frame."""
    onset_frame: int
    x_um: float
    y_um: float
    probability: float
    track_id: int
    other_id: int


@dataclass(frozen=True, slots=True)
class Lineages:
    """Who came from whom, by identities as told last."""

    tracks: int
    daughters: int
    """Tracks with a mother."""
    mothers: int
    generations: int
    """Longest line of descent; 1 where nobody has a mother."""
    revised: int
    """Identities taken back."""


def events_of(record: Record) -> list[SpecimenEvent]:
    """All events of a run, by onset; lines that a crash or a hand has damaged are left out."""
    found: dict[str, SpecimenEvent] = {}
    try:
        with (record.folder / files.SPECIMEN_EVENTS).open(newline="", encoding="utf-8", errors="replace") as file:
            for _, row in zip(range(MOST_READ), csv.DictReader(file), strict=False):
                if (event := _event(row)) is not None:
                    first = found.get(row["event_id"], event).told_frame
                    found[row["event_id"]] = SpecimenEvent(event.kind, event.status, first, *_rest(event))
    except OSError:
        return []
    return sorted(found.values(), key=lambda event: event.onset_frame)


def lineages(record: Record) -> Lineages | None:
    """Of the results that the record read, settled identities where there are any; None where nothing was followed."""
    now = [row.tracks for row in record.results if row.tracks is not None]
    settled = [row.settled.tracks for row in record.results if row.settled is not None]
    mothers: dict[int, int] = {}
    for tracks in settled or now:
        mothers.update(zip(tracks.track_id.tolist(), tracks.parent_id.tolist(), strict=True))
    if not mothers:
        return None
    known = {track: mother for track, mother in mothers.items() if mother in mothers and mother != track}
    revised = sum(len(row.revisions) for row in record.results if row.revisions is not None)
    return Lineages(len(mothers), len(known), len(set(known.values())), _generations(known), revised)


def _event(row: Mapping[str, str | None]) -> SpecimenEvent | None:
    try:
        return SpecimenEvent(
            str(row["kind"]),
            str(row["status"]),
            *(int(row[name] or "") for name in ("frame", "onset_frame")),
            *(float(row[name] or "") for name in ("x_um", "y_um", "probability")),
            *(int(row[name] or "") for name in ("track_id", "other_id")),
        )
    except (KeyError, ValueError):
        return None


def _rest(event: SpecimenEvent) -> tuple[int, float, float, float, int, int]:
    return event.onset_frame, event.x_um, event.y_um, event.probability, event.track_id, event.other_id


def _generations(mothers: Mapping[int, int]) -> int:
    """Longest line; a circle, which no sane record has, ends where it closes."""
    longest = 1
    depth: dict[int, int] = {}
    for start in mothers:
        line = [start]
        while line[-1] in mothers and line[-1] not in depth and mothers[line[-1]] not in line:
            line.append(mothers[line[-1]])
        below = depth.get(line[-1], 1)
        for height, track in enumerate(reversed(line)):
            depth[track] = below + height
        longest = max(longest, depth[start])
    return longest

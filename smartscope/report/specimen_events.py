"""The part of the report on the specimen: each event at its onset, a table of them, and how lineages grew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

import numpy as np

from smartscope.recorder import folder as files
from smartscope.report.chart import Axis, Curve, chart, number
from smartscope.report.happened import Lineages, SpecimenEvent
from smartscope.report.record import Record
from smartscope.report.series import Series
from smartscope.report.tables import table
from smartscope.result import EVENT_KINDS

MOST_LISTED = 40
"""Events in the table; more are in events.csv."""


def events_chart(record: Record, events: Sequence[SpecimenEvent]) -> str:
    """Each event that stands at its onset, by its probability."""
    standing = [event for event in events if event.status != "withdrawn"]
    curves = []
    for colour, kind in enumerate(EVENT_KINDS):
        told = [
            (row["t_start_ns"], event.probability)
            for event in standing
            if event.kind == kind and (row := record.frame_row(event.onset_frame)) is not None
        ]
        if told:
            t_ns, probability = zip(*told, strict=True)
            series = Series(record.seconds(t_ns), np.array(probability, np.float64))
            curves.append(Curve(f"{kind} ({len(told)})", series, colour, points=True))
    return chart(Axis("Events at their onset", "probability"), curves)


def events_table(events: Sequence[SpecimenEvent]) -> str:
    """How many of each kind, then the first ones one by one."""
    if not events:
        return ""
    heads = ["onset, frame", "what*", "status*", "probability", "told after, frames", "x, µm", "y, µm", "tracks*"]
    lines = [_line(event) for event in events[:MOST_LISTED]]
    if (more := len(events) - MOST_LISTED) > 0:
        lines.append(f'<tr class="gap"><td colspan="8">… {more:,} more in {files.SPECIMEN_EVENTS} …</td></tr>')
    return _counts(events) + table(heads, lines)


def lineage_line(found: Lineages | None) -> str:
    """One line; empty where nothing was followed."""
    if found is None:
        return ""
    said = {
        "Tracks": found.tracks,
        "daughters": found.daughters,
        "mothers": found.mothers,
        "generations": found.generations if found.daughters else 0,
        "identities taken back": found.revised,
    }
    return f"<p>{'; '.join(f'{name}: {count:,}' for name, count in said.items() if count)}.</p>"


def _counts(events: Sequence[SpecimenEvent]) -> str:
    """A line for each kind."""
    rows = []
    for kind in EVENT_KINDS:
        own = [event for event in events if event.kind == kind]
        if not own:
            continue
        status = Counter(event.status for event in own)
        late = number(float(np.median([event.told_frame - event.onset_frame for event in own])))
        cells = "".join(f"<td>{status[name]:,}</td>" for name in ("confirmed", "provisional", "withdrawn"))
        rows.append(f"<tr><th>{kind}</th>{cells}<td>{late}</td></tr>")
    return table(["what*", "confirmed", "provisional", "withdrawn", "told after, frames (median)"], rows)


def _line(event: SpecimenEvent) -> str:
    who = ", ".join(str(track) for track in (event.track_id, event.other_id) if track >= 0) or "–"
    figures = (event.probability, event.told_frame - event.onset_frame, event.x_um, event.y_um)
    cells = "".join(f"<td>{number(float(value))}</td>" for value in figures)
    what = f'<th>{escape(event.kind)}</th><td class="text">{escape(event.status)}</td>'
    return f'<tr><td>{event.onset_frame:,}</td>{what}{cells}<td class="text">{who}</td></tr>'

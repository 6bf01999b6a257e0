"""The tables of the report: how long each step took, what was decided and why, what happened, where it came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import yaml

from smartscope.drops import DROPS
from smartscope.recorder.jsonl import Row
from smartscope.report import series
from smartscope.report.chart import number
from smartscope.report.record import Record
from smartscope.report.series import Series
from smartscope.report.summary import percentiles

FIRST, LAST, REFUSED = 8, 12, 20
"""How many decisions of each sort are listed."""
MOST_EVENTS = 60
QUIET_EVENTS = frozenset({"demand", "effect", "light", "stage"})
"""Kinds that repeat what the decisions say."""
CALM_EVENTS = frozenset({"state", "epoch"})
"""Kinds that belong to every run; all others are worth a look."""

_UNITS = {"exposure_ms": "ms", "power_mw": "mW", "x_um": "µm", "y_um": "µm", "z_um": "µm"}


def latency(record: Record) -> str:
    """Percentiles of each stage and of each part of the way from exposure to effect, with a bar for p95."""
    stages = {f"model {name}": values for name, values in series.stage_ms(record).items()}
    ready = {"frame in hand → result ready": series.frame_to_result_ms(record)}
    groups = [("Every analysed frame", {**stages, **ready}), ("Decisions carried out", series.chain_ms(record))]
    p95 = {name: figures["p95"] for _, group in groups for name, v in group.items() if (figures := percentiles(v))}
    if not p95:
        return ""
    longest = max(p95.values()) or 1.0
    rows = []
    for title, group in groups:
        lines = [_latency_row(name, values, longest) for name, values in group.items() if len(values)]
        if lines:
            rows.append(f'<tr class="group"><th colspan="6">{title}</th></tr>{"".join(lines)}')
    return table(["step*", "n", "p50", "p95", "p99", ""], rows)


def policies(record: Record) -> str:
    """How many requests each policy made, and what became of them."""
    names = Counter(row["policy"] for row in record.decisions)
    if not names:
        return ""
    rows = []
    for name, asked in names.most_common():
        own = [row for row in record.decisions if row["policy"] == name]
        granted = [row for row in own if row["granted"] is not None]
        by = Counter(row["clipped_by"] for row in own if row["clipped_by"])
        clipped = ", ".join(f"{escape(who)} {count:,}" for who, count in by.most_common()) or "–"
        cells = [len(granted), sum(not row["clipped_by"] for row in granted), asked - len(granted)]
        figures = "".join(f"<td>{count:,}</td>" for count in (asked, *cells))
        rows.append(f'<tr><th>{escape(name)}</th>{figures}<td class="text">{clipped}</td></tr>')
    return table(["who*", "asked", "granted", "as asked", "refused", "clipped or refused by*"], rows)


def decisions(record: Record) -> str:
    """The first, the last, and those that were refused or clipped."""
    rows = record.decisions
    if not rows:
        return ""
    numbers = {*range(min(FIRST, len(rows))), *range(max(0, len(rows) - LAST), len(rows))}
    numbers |= set([i for i, row in enumerate(rows) if row["clipped_by"] or row["granted"] is None][:REFUSED])
    lines, before = [], -1
    for i in sorted(numbers):
        if i > before + 1:
            lines.append(f'<tr class="gap"><td colspan="6">… {i - before - 1:,} more …</td></tr>')
        lines.append(_decision_row(record, rows[i]))
        before = i
    return table(["time, s", "who*", "asked*", "granted*", "why*", "latency, ms"], lines)


def drops(record: Record) -> str:
    """What drove nothing, and why; empty where the run did not come so far as to say."""
    counts = record.run.get("drops")
    if not isinstance(counts, Mapping):
        return ""
    rows = [
        f"<tr><th>{escape(what)}</th><td>{int(counts[name]):,}</td></tr>"
        for name, what in DROPS.items()
        if name in counts
    ]
    return table(["what*", "count"], rows)


def events(record: Record) -> str:
    """States, alarms, epochs and faults, in order."""
    rows = [row for row in record.events if row["kind"] not in QUIET_EVENTS]
    alarms = [row for row in rows if row["kind"] not in CALM_EVENTS]
    shown = rows if len(rows) <= MOST_EVENTS else alarms[:MOST_EVENTS]
    if not shown:
        return ""
    lines = [_event_row(record, row) for row in shown]
    if more := len(rows) - len(shown):
        lines.append(f'<tr class="gap"><td colspan="3">… {more:,} more in events.jsonl …</td></tr>')
    return table(["time, s", "what*", "details*"], lines)


def provenance(record: Record) -> str:
    """How the run ended, on what, with which versions, and its whole configuration."""
    run = record.run
    facts = {
        "state": run.get("state", "unknown"),
        "error": run.get("error"),
        "started": run.get("started_at"),
        "ended": run.get("ended_at"),
        "because": run.get("ended_because"),
        "seed": run.get("seed", record.config.get("seed")),
        "clock": run.get("clock"),
        "arm": record.config.get("arm"),
        "versions": _pairs(run.get("versions")),
        "machine": _pairs(run.get("machine")),
        "models": _pairs(run.get("models")),
    }
    lines = [
        f"<dt>{escape(name)}</dt><dd>{escape(str(fact))}</dd>" for name, fact in facts.items() if fact not in (None, "")
    ]
    text = yaml.safe_dump(record.config, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    config = f"<details><summary>Configuration</summary><pre>{escape(text)}</pre></details>" if record.config else ""
    return f"<dl>{''.join(lines)}</dl>{config}"


def table(heads: Sequence[str], rows: Sequence[str]) -> str:
    """A table that scrolls by itself on a narrow screen; columns of text are marked with a star."""
    cells = "".join(
        f'<th class="text">{escape(head[:-1])}</th>' if head.endswith("*") else f"<th>{escape(head)}</th>"
        for head in heads
    )
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _latency_row(name: str, values: Series, longest: float) -> str:
    figures = percentiles(values) or {}
    cells = "".join(f"<td>{number(figures[p])}</td>" for p in ("p50", "p95", "p99"))
    bar = f'<i style="width:{100 * figures["p95"] / longest:.1f}%"></i>'
    return f'<tr><th>{escape(name)}</th><td>{len(values):,}</td>{cells}<td class="bar">{bar}</td></tr>'


def _decision_row(record: Record, row: Row) -> str:
    t_s = record.seconds([row["t_ns"]])[0]
    if row["granted"] is None:
        granted = f'<b class="bad">{"shadow" if row["shadow"] else "refused"}</b>'
    else:
        granted = _command(row["granted"]) if row["granted"] != row["asked"] else "as asked"
    if row["clipped_by"]:
        granted += f' <span class="by">{escape(row["clipped_by"])}</span>'
    latency_ms = number(row["latency_ms"]) if row["latency_ms"] else "–"
    why = escape(row["why"].replace("->", "→"))
    return (
        f'<tr><td>{t_s:.2f}</td><th>{escape(row["policy"])}</th><td class="text">{_command(row["asked"])}</td>'
        f'<td class="text">{granted}</td><td class="text why">{why}</td><td>{latency_ms}</td></tr>'
    )


def _event_row(record: Record, row: Row) -> str:
    """Values under telling keys (``what``, ``state``) stand for themselves."""
    told = [
        _plain(value) if key in ("what", "state") else f"{key} {_plain(value)}"
        for key, value in row.items()
        if key not in ("t_ns", "kind")
    ]
    mark = "" if row["kind"] in CALM_EVENTS else ' class="alarming"'
    t_s, details = record.seconds([row["t_ns"]])[0], escape(", ".join(told))
    return f'<tr{mark}><td>{t_s:.2f}</td><th>{escape(row["kind"])}</th><td class="text">{details}</td></tr>'


def _command(row: Mapping[str, Any]) -> str:
    """``exposure 9.6 ms``, ``x 12, y 3.4 µm``, ``laser_488 2.4 mW``."""
    parts = []
    for key, value in row.items():
        if key == "type":
            continue
        if key == "roi":
            parts.append(f"{value[2]} × {value[3]} px at ({value[0]}, {value[1]})")
        elif key in _UNITS:
            name = {"power_mw": ""}.get(key, key.rpartition("_")[0])
            parts.append(f"{name} {number(float(value))} {_UNITS[key]}".strip())
        else:
            parts.append(_plain(value))
    return escape(" ".join(parts)) or escape(str(row["type"]))


def _pairs(found: object) -> str | None:
    return ", ".join(f"{key} {value}" for key, value in found.items() if value) if isinstance(found, Mapping) else None


def _plain(value: object) -> str:
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(_plain(item) for item in value)
    return str(value)

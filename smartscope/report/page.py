"""The page: one HTML file with everything inside, for laptop, phone and paper, in light and dark."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.recorder.folder import write_atomically
from smartscope.report import molecules, pictures, series, specimen_events, tables
from smartscope.report.chart import Axis, Curve, chart, number
from smartscope.report.following import Followed, followed
from smartscope.report.happened import events_of, lineages
from smartscope.report.record import Record, read
from smartscope.report.series import Series
from smartscope.report.summary import (
    DENSITY_SETTLING_S,
    SETTLING_S,
    TOLERANCE,
    achievements,
    goal_of,
    held_density,
    percent,
    summary_of,
    target_signal_to_noise,
)

REPORT = "report.html"
COLOURS = 6
"""How many series colours style.css has."""
WEAK = 0.1
"""A light counts as weak below this fraction of the strongest."""
LINKS = (
    "run.json",
    "frames.ome.zarr",
    "frames.jsonl",
    "decisions.jsonl",
    "events.jsonl",
    "results/results.jsonl",
    "results/tracks.csv",
    "results/settled_tracks.csv",
    "results/events.csv",
    "results/localizations.csv",
    "results/localizations.npy",
    "results/processed.ome.zarr",
    "results/super_resolved.ome.zarr",
)


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into a run folder, whatever state the run ended in; returns its path.

    Raises:
        InputError: this is no run folder.
        OSError: the folder cannot be written.
    """
    record = read(run_folder)
    path = run_folder / REPORT
    write_atomically(path, page(record))
    return path


def page(record: Record) -> str:
    """The HTML text."""
    target = followed(record)
    summary = summary_of(record, target)
    seen = (
        pictures.raw_beside_denoised(record)
        + (pictures.raw_beside_super_resolved(record) if record.molecules is None else molecules.pictures(record))
        + pictures.last_objects(record, target)
        + pictures.specimen_map(record, target)
    )
    sections = [
        _section("What the microscope saw", f'<div class="pictures">{seen}</div>' if seen else ""),
        _section("How it went", _curves(record, target)),
        _section("What happened in the specimen", _happened(record)),
        _section("Latency", tables.latency(record), "ms"),
        _section("Decisions", tables.policies(record) + tables.decisions(record)),
        _section("Passed over", tables.drops(record)),
        _section("Events", tables.events(record)),
        _section("Provenance", tables.provenance(record) + _links(record)),
    ]
    style = resources.files("smartscope.report").joinpath("style.css").read_text(encoding="utf-8")
    title = escape(f"{summary['name']} · smartscope")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head><body><main>"
        f"{_header(record, summary)}{''.join(sections)}"
        f"<footer>Written by smartscope {time.strftime('%Y-%m-%d %H:%M')} from the run folder alone.</footer>"
        "</main></body></html>\n"
    )


def _header(record: Record, summary: Mapping[str, Any]) -> str:
    state = escape(str(summary["state"]))
    started = escape(str(record.run.get("started_at", ""))[:16].replace("T", " "))
    duration = "" if summary["duration_s"] is None else f" · {number(summary['duration_s'])} s"
    description = escape(str(record.config.get("description", "")))
    error = f'<p class="error">{escape(str(summary["error"]))}</p>' if summary["error"] else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in record.notes)
    said = escape(", ".join(achievements(summary)))
    return (
        f'<header><p class="over"><span class="state {state}">{state}</span> {started}{duration}</p>'
        f'<h1>{escape(summary["name"])}</h1><p class="said">{said[:1].upper() + said[1:]}.</p>'
        f'<p class="description">{description}</p>{error}{_tiles(summary)}'
        f"{f'<ul class=notes>{notes}</ul>' if notes else ''}</header>"
    )


def _tiles(summary: Mapping[str, Any]) -> str:
    """The few figures that matter, large."""
    tiles: list[tuple[str, str, str]] = []
    if (held := summary["signal_to_noise_held"]) is not None:
        goal = number(summary["target_signal_to_noise"])
        tiles.append((percent(held), "", f"of the time within ±{100 * TOLERANCE:g} % of signal-to-noise {goal}"))
    if (seen := summary["target_in_view"]) is not None:
        count = summary["targets"]
        tiles.append((percent(seen), "", "target in view" + (f" ({count} tracks)" if count > 1 else "")))
    if (found := summary["molecules"]) is not None:
        error = summary["localization_error_nm"]
        tiles.append(
            (f"{found:,}", "", "molecules" + ("" if error is None else f", within {number(error)} nm (median)"))
        )
    if (resolution := summary["ring_resolution_nm"]) is not None:
        tiles.append((number(resolution), "nm", "resolution by Fourier rings"))
    if (rms := summary["density_rms"]) is not None:
        said = f"RMS of the density around its target; means of 1 s, after {DENSITY_SETTLING_S:g} s"
        tiles.append((number(100 * rms), "%", said))
    if (spent := summary["dose_spent_j_per_cm2"]) is not None:
        budget = summary["dose_budget_j_per_cm2"]
        tiles.append((number(spent), "J/cm²", f"dose, of {number(budget)} allowed" if budget else "dose, no budget"))
    rate = f", {number(summary['frames_per_s'])} per second" if summary["frames_per_s"] else ""
    tiles.append((f"{summary['frames']:,}", "frames", f"{summary['frames_lost']:,} lost{rate}"))
    if effect := summary["exposure_to_effect_ms"]:
        tiles.append((number(effect["p50"]), "ms", f"exposure to effect; p95 {number(effect['p95'])}"))
    elif ready := summary["frame_to_result_ms"]:
        tiles.append((number(ready["p50"]), "ms", f"frame to result; p95 {number(ready['p95'])}"))
    shown = (f"<li><b>{value}<small> {unit}</small></b>{escape(what)}</li>" for value, unit, what in tiles)
    return f'<ul class="tiles">{"".join(shown)}</ul>'


def _curves(record: Record, target: Sequence[Followed]) -> str:
    goal, budget = target_signal_to_noise(record), series.dose_budget_j_per_cm2(record)
    band = f"target, ±{100 * TOLERANCE:g} %; counted after {SETTLING_S:g} s"
    off = [row for row in target if row.off_um is not None]
    centred = Series(record.seconds([row.t_ns for row in off]), np.array([row.off_um for row in off], float))
    latency = [
        Curve("frame in hand → result", series.frame_to_result_ms(record), 0),
        Curve("exposure → in effect", series.chain_ms(record)["exposure mid-point → in effect"], 1, points=True),
    ]
    passed_over = [
        Curve("lost", series.lost(record), 4),
        Curve("displaced by newer ones", series.not_analysed(record), 0),
    ]
    resolution = [
        Curve("expected of the image", series.figure(record, "resolution_nm"), 0, points=True),
        Curve("of widefield", series.figure(record, "widefield_resolution_nm"), 2, points=True),
        Curve("measured between two images", series.figure(record, "frc_resolution_nm"), 1, points=True),
        Curve("of all molecules so far, by Fourier rings", series.figure(record, "ring_resolution_nm"), 3),
    ]
    finest = goal_of(record, "resolution_nm")
    found = series.figure(record, "localizations")
    drift = [
        Curve("since the start", series.drift_nm(record), 0),
        Curve("its standard error", series.figure(record, "drift_error_nm"), 2),
    ]
    charts = (
        chart(
            Axis("Signal-to-noise", "", goal, band, TOLERANCE), [Curve("measured", series.signal_to_noise(record), 0)]
        ),
        _density(record),
        _powers(series.power_mw(record)),
        chart(
            Axis("Localisation error", "nm"),
            [Curve("median, as stated", series.figure(record, "localization_error_nm"), 0)],
        ),
        chart(Axis("Resolution", "nm", finest, "target"), resolution),
        chart(Axis("Molecules found", "thousands"), [Curve("so far", Series(found.t_s, found.value / 1000), 0)]),
        chart(Axis("Drift", "nm"), drift),
        chart(Axis("Exposure", "ms"), [Curve("", series.exposure_ms(record), 0)]),
        chart(Axis("Dose", "J/cm²", budget, "budget"), [Curve("spent in view", series.dose_j_per_cm2(record), 0)]),
        chart(Axis("Target from the centre of the view", "µm"), [Curve("", centred, 0)]),
        chart(Axis("Time of each model", "ms"), _each(series.stage_ms(record))),
        chart(Axis("Latency", "ms"), latency),
        chart(Axis("Frames lost or passed over", "frames"), passed_over),
    )
    shown = "".join(charts)
    return f'<div class="charts">{shown}</div>' if shown else ""


def _happened(record: Record) -> str:
    events = events_of(record)
    drawn = specimen_events.events_chart(record, events)
    charts = f'<div class="charts">{drawn}</div>' if drawn else ""
    return specimen_events.lineage_line(lineages(record)) + charts + specimen_events.events_table(events)


def _density(record: Record) -> str:
    """How many molecules glow in a frame, or per area, beside what was to be held."""
    figure, goal = held_density(record)
    title, unit = {"emitters": ("Molecules glowing", "per frame"), "density_per_um2": ("Density", "per µm²")}[figure]
    return chart(
        Axis(title, unit, goal, "target, ±5 %", 0.05),
        [Curve("mean of 1 s", series.means(series.figure(record, figure)), 0)],
    )


def _powers(found: Mapping[str, Series]) -> str:
    """All lights in one chart; weak ones, whose changes would not be seen there, in one of their own each."""
    highest = {name: float(values.value.max(initial=0)) for name, values in found.items()}
    weak = [name for name, high in highest.items() if 0 < high < WEAK * max(highest.values())]
    together = chart(Axis("Light power", "mW"), [curve for curve in _each(found) if curve.name not in weak])
    alone = (chart(Axis(f"Power of {name}", "mW"), [Curve("", found[name], 0)]) for name in weak)
    return "".join([*alone, together])


def _each(found: Mapping[str, Series]) -> list[Curve]:
    """One curve per name, in the page's colours in turn."""
    return [Curve(name, values, i % COLOURS) for i, (name, values) in enumerate(found.items())]


def _section(title: str, content: str, unit: str = "") -> str:
    if not content:
        return ""
    if unit:
        title += f' <span class="unit">{unit}</span>'
    return f"<section><h2>{title}</h2>{content}</section>"


def _links(record: Record) -> str:
    there = [name for name in LINKS if (record.folder / name).exists()]
    files = "".join(f'<li><a href="{name}">{name}</a></li>' for name in there)
    return f'<h3>Files of this run</h3><ul class="files">{files}</ul>'

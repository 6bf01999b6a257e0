"""The figures as tables for ``docs/benchmarks.md``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from judging.figures import Row, groups
from judging.tables import table

Section = dict[str, Any]


def markdown(figures: dict[str, Any]) -> str:
    """All sections that were measured, in order."""
    seeds = figures["seeds"]
    parts = [f"Seeds {seeds[0]} to {seeds[-1]}."]
    for name, section in figures["sections"].items():
        body = section["skipped"] if "skipped" in section else TABLES[name](section)
        parts.append(f"### {name}\n{body}")
    return "\n\n".join(parts)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _between(ends: Sequence[float] | None, digits: int) -> str:
    return "" if ends is None else f" ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"


def _isolated(section: Section) -> str:
    head = ("photons", "", "molecules", "RMSE / CRLB (95 %)", "error / stated (95 %)")
    rows = [
        [
            row["photons"],
            row["model"],
            row["molecules"],
            _number(row["ratio"], 4) + _between(row["ratio_interval_95"], 3),
            _number(row["calibration"], 3) + _between(row["calibration_interval_95"], 3),
        ]
        for row in section.get("pooled", ())
    ]
    return levels(section["rows"]) + ("\n\nAll seeds together\n\n" + table(head, rows) if rows else "")


def levels(rows: Sequence[Row]) -> str:
    """Of molecules on their own."""
    head = (
        "photons", "", "found %", "RMSE / CRLB (95 %)", "stated / CRLB", "error / stated (95 %)", "axial RMSE / CRLB",
        "photons off %", "phase p", "phase bias nm", "CPU-ms",
    )  # fmt: skip
    return table(head, [_level(row) for row in rows])


def _level(row: Row) -> list[object]:
    between = (row["interval_95"] or {}).get("crlb_ratio")
    return [
        row["photons"],
        row["model"],
        _number(row["jaccard"], 2),
        _number(row["crlb_ratio"], 4) + _between(between, 3),
        _number(row["stated_over_limit"], 3),
        _number(row["calibration"], 3) + _between(row["calibration_interval_95"], 3),
        _number(row["crlb_ratio_axial"], 4),
        _number(row["photon_bias_percent"], 2),
        _number(row["pixel_phase_chi2_p"], 3),
        _number(row["pixel_phase_bias_nm"], 2),
        _number(row["cpu_ms"], 2),
    ]


def _speed(section: Section) -> str:
    cell = ("box_px", "photons", "background")
    rows = [
        [*(row[key] for key in cell), row["fit"], row["fits_per_s"], _number(row["rmse_over_limit"], 4)]
        for row in section["rows"]
    ]
    fits = table((*cell, "fit", "fits/s, one thread", "RMSE / CRLB"), rows)
    ratios = [
        [
            *(row[key] for key in cell),
            row["theirs"],
            row["ours"],
            f"{row['times']:.2f}{_between(row['interval_95'], 2)}",
        ]
        for row in section["ratios"]
    ]
    return f"{fits}\n\nTheir CPU time over ours, turn by turn, median (95 %)\n\n" + table(
        (*cell, "theirs", "ours", "times"), ratios
    )


SHOWN = (
    ("efficiency", "E", 1), ("jaccard", "J", 1), ("rmse_lateral_nm", "RMSE nm", 1), ("median_error_nm", "median nm", 1),
    ("uncertainty_calibration_robust", "error / stated, robust", 3), ("crlb_ratio", "CRLB ratio", 3),
    ("efficiency_3d", "E 3D", 1), ("rmse_axial_nm", "axial nm", 1), ("photon_bias_percent", "photons off %", 1),
    ("pixel_phase_chi2_p", "least phase p", 3), ("cpu_ms", "CPU-ms", 2),
)  # fmt: skip
"""Figure, its head in the table, digits."""


def _crowds(section: Section) -> str:
    return judged(section, ("density",))


def judged(section: Section, keys: Sequence[str]) -> str:
    """Medians over seeds, and ours minus theirs."""
    told = [shown for shown in SHOWN if any(row.get(shown[0]) for row in section["summary"])]
    rows = [
        [*(row[key] for key in keys), row["model"], *(_median(row, *shown) for shown in told)]
        for row in section["summary"]
    ]
    medians = table((*keys, "", *(head for _, head, _ in told)), rows)
    parts = [
        "Median (least to most) over the seeds",
        medians,
        *_families(section, keys),
        _minus(section["paired"], keys),
    ]
    return "\n\n".join(part for part in parts if part)


def _families(section: Section, keys: Sequence[str]) -> list[str]:
    rows = section.get("families", [])
    head = (*keys, "", "trained", "least mean E", "most")
    lines = [[*(row[key] for key in keys), row["family"], row["members"], row["least"], row["most"]] for row in rows]
    return ["Over the seeds of training", table(head, lines)] if lines else []


def _median(row: Row, figure: str, head: str, digits: int) -> str:
    found = row.get(figure)
    if found is None:
        return ""
    if head.startswith("least"):
        return _number(found["least"], digits)
    return f"{found['median']:.{digits}f} ({found['least']:.{digits}f} to {found['most']:.{digits}f})"


def _minus(rows: Sequence[Row], keys: Sequence[str]) -> str:
    lines = []
    for names, group in groups(rows, (*keys, "model", "against")).items():
        cells = {row["figure"]: f"{row['mean']:+.2f}{_between(row['interval_95'], 2)}" for row in group}
        lines.append([*names, *(cells.get(figure) for figure in ("efficiency", "median_error_nm", "efficiency_3d"))])
    if not lines:
        return ""
    title = "Ours minus theirs on the same movies, mean (bootstrap 95 % over the seeds)"
    return f"{title}\n\n" + table((*keys, "ours", "theirs", "E", "median nm", "E 3D"), lines)


def _mismatch(section: Section) -> str:
    names = list(dict.fromkeys(row["model"] for row in section["lost"]))
    lines = []
    for (condition,), group in groups(section["lost"], ("condition",)).items():
        cells = {row["model"]: row["gained"] for row in group}
        shown = (cells.get(name) for name in names)
        lines.append(
            [condition, *(found and f"{found['mean']:+.2f}{_between(found['interval_95'], 2)}" for found in shown)]
        )
    lost = table(("E against as told", *names), lines)
    return f"{lost}\n\n{judged(section, ('condition',))}"


def _markov(section: Section) -> str:
    return "\n\n".join(f"{name}\n\n{judged(part, ('density',))}" for name, part in section.items())


def _astigmatic(section: Section) -> str:
    return f"{levels(section['isolated'])}\n\n{judged(section, ('density',))}"


def _latency(section: Section) -> str:
    keys = ("size", "density", "molecules", "model", "median_ms", "p99_ms", "cpu_ms", "p99_cpu_ms")
    rows = table(keys, [[row[key] for key in keys] for row in section["rows"]])
    grown = ("density", "molecules", "model", "cpu_ms", "cost", "times")
    heads = ("density", "molecules", "", "CPU-ms", "cost", "times the molecules")
    return f"{rows}\n\nGrowth\n\n" + table(heads, [[row[key] for key in grown] for row in section["growth"]])


def _networks(section: Section) -> str:
    keys = ("network", "parameters", "gmac_window", "gmac_streamed", "over_ours", "cpu_ms_window")
    heads = ("", "parameters", "GMAC, three frames", "GMAC, earlier kept", "over ours", "CPU-ms, three frames")
    costs = table(heads, [[row[key] for key in keys] for row in section["costs"]])
    found = f"\n\n{judged(section, ('density',))}" if "summary" in section else ""
    return f"Of {section['side_px']}² pixels\n\n{costs}{found}"


TABLES: dict[str, Callable[[Section], str]] = {
    "isolated": _isolated,
    "speed": _speed,
    "crowds": _crowds,
    "mismatch": _mismatch,
    "markov": _markov,
    "astigmatic": _astigmatic,
    "latency": _latency,
    "networks": _networks,
}

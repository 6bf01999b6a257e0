"""The figures as tables for ``docs/benchmarks.md``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from judging.figures import Row, groups
from judging.tables import table

from .candidates import NETWORK, ORACLE, OURS
from .peer import Napari
from .quality import CELL
from .speed import NUMPY, OPENCV, OUR

Section = dict[str, Any]
NO = "not measured"


def markdown(figures: dict[str, Any]) -> str:
    """All sections that were measured, in order."""
    seeds = figures["seeds"]
    parts = [f"Seeds {seeds[0]} to {seeds[-1]}."]
    for name, section in figures["sections"].items():
        body = section["skipped"] if "skipped" in section else TABLES.get(name, str)(section)
        parts.append(f"### {name}\n{body}")
    return "\n\n".join(parts)


def _speed(section: Section) -> str:
    ours = [_asked(ratios) for ratios in section["ratios"]]
    sizes = [f"{ratios['size']}²" for ratios in section["ratios"]]
    asked = [[name, bound, *(column[name][0] for column in ours)] for name, (_, bound) in ours[0].items()]
    return "\n\n".join(
        [table(("asked", "bound", *sizes), asked), "CPU-ms, median / p99", _costs(section["rows"]), _growth(section)]
    )


def _asked(ratios: Row) -> dict[str, tuple[str, str]]:
    """Name of a target → what was measured and what was asked."""

    def shown(name: str, met: Callable[[float], bool]) -> str:
        value = ratios[name]
        return NO if value is None else f"{value:.3g}" if met(value) else f"**{value:.3g}**"

    return {
        "full: the peer's NumPy path over ours": (shown("full_numpy_over_ours", lambda v: v >= 4), "≥ 4"),
        "full: its OpenCV path over ours": (shown("full_opencv_over_ours", lambda v: v >= 2), "≥ 2"),
        "rolling over full, both ours": (shown("rolling_over_full", lambda v: v <= 0.7), "≤ 0.7"),
        "estimate, CPU-ms": (shown("estimate_cpu_ms", lambda v: v <= 150), "≤ 150"),
        "rolling: the peer's NumPy path over ours": (shown("rolling_numpy_over_ours", lambda v: True), ""),
        "rolling: its OpenCV path over ours": (shown("rolling_opencv_over_ours", lambda v: True), ""),
        "estimate and filters: the peer over ours": (shown("calibrate_numpy_over_ours", lambda v: True), ""),
        "the same, its phases measured as ours are": (shown("calibrate_phases_over_ours", lambda v: True), ""),
    }


def _costs(rows: list[Row]) -> str:
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    cost = {(row["step"], row["size"]): f"{row['cpu_ms']:.4g} / {row['p99_cpu_ms']:.4g}" for row in rows}
    steps = list(dict.fromkeys(step.split(": ")[1] for step, _ in cost))
    lines = [
        [step, f"{size}²", *(cost.get((who + step, size)) for who in (OUR, NUMPY, OPENCV))]
        for step in [*steps, *(["rolling"] if "rolling" not in steps else [])]
        for size in sizes
    ]
    return table(("", "raw pixels", "ours", "peer, NumPy", "peer, OpenCV"), lines)


def _growth(section: Section) -> str:
    head = ("step", "size", "pixels", "CPU-ms", "cost", "cost per pixel")
    keys = ("step", "size", "pixels", "cpu_ms", "cost", "per_pixel")
    rows = sorted(section["growth"], key=lambda row: row["step"])
    return "Growth of cost\n\n" + table(head, [[row[key] for key in keys] for row in rows])


def _mean(row: Row, figure: str, digits: int) -> str:
    return "" if row[figure] is None else f"{row[figure]['mean']:.{digits}f}"


SHOWN = (
    ("gain", "gain", 2), ("truth_resolution_nm", "truth nm", 0), ("frc_resolution_nm", "FRC nm", 0),
    ("correlation", "corr.", 4), ("correlation_equalised", "equalised", 4), ("linearity_r2", "lin. r²", 4),
    ("border_artefact_ratio", "border", 2), ("carrier_error_px", "carrier px", 3), ("phase_error_deg", "phase °", 2),
    ("modulation_error_percent", "mod. %", 1), ("energy_beyond_support", "beyond support", 5),
)  # fmt: skip
"""Figure, its head in the table, digits."""


def _quality(section: Section) -> str:
    lines = [
        [
            f"{row['size']}²",
            row["electrons"],
            row["model"],
            *(_mean(row, figure, digits) for figure, _, digits in SHOWN),
        ]
        for row in section["summary"]
    ]
    means = table(("", "e-", "", *(head for _, head, _ in SHOWN)), lines)
    pairs = ((OURS, ORACLE), (OURS, Napari.label), (NETWORK, ORACLE))
    return "\n\n".join([means, *(_minus(section, mine, rival) for mine, rival in pairs)])


def _minus(section: Section, mine: str, rival: str) -> str:
    chosen = [row for row in section["paired"] if (row["model"], row["against"]) == (mine, rival)]
    told = {row["figure"] for row in chosen}
    named = {figure: head for figure, head, _ in SHOWN if figure in told}
    lines = []
    for (size, electrons), group in groups(chosen, CELL).items():
        cells = {row["figure"]: f"{row['mean']:+.4g} ({_ends(row)})" for row in group}
        lines.append([f"{size}²", electrons, *(cells.get(figure) for figure in named)])
    title = f"{mine} − {rival} on the same files, mean (bootstrap 95 % over the seeds)"
    return f"{title}\n\n" + table(("", "e-", *named.values()), lines)


def _ends(row: Row) -> str:
    low, high = row["interval_95"]
    return f"{low:+.3g} to {high:+.3g}"


def _controls(section: Section) -> str:
    keys = ("control", "figure", "asked", "as_it_is", "spoilt", "caught")
    head = ("control", "figure", "asked", "ours as it is", "spoilt", "caught", "also caught by")
    rows = [[*(row[key] for key in keys), _others(row)] for row in section["rows"]]
    return table(head, rows)


def _others(row: Row) -> str:
    return ", ".join(figure for figure in row["caught_by"] if figure != row["figure"])


def _verdicts(section: Section) -> str:
    low, high = section["fits_interval_95"]
    share = f"Fits: {100 * section['fits']:.0f} % of {section['stacks']} ({100 * low:.0f} to {100 * high:.0f} %)"
    keys = ("verdict", "worth_it", "not_worth_it")
    confusion = table(
        ("verdict", "gain ≥ 1.2", "gain < 1.2"), [[row[key] for key in keys] for row in section["confusion"]]
    )
    failed = section["correlation_minus_widefields_at_fail"]
    after = (
        "never failed" if failed is None else f"{failed['mean']:+.4f} (least {failed['least']:+.4f}) of {failed['n']}"
    )
    lost = ", ".join(f"{label} {count}" for label, count in section["given_up_though_gained"].items())
    missed = f"`fail` where another gains 1.2 or more on the same stack: {lost}"
    return f"{share}\n\n{confusion}\n\n{missed}\n\nCorrelation at `fail` minus the widefield's: {after}"


TABLES: dict[str, Callable[[Section], str]] = {
    "speed": _speed,
    "quality": _quality,
    "controls": _controls,
    "verdict": _verdicts,
}

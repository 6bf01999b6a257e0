"""The figures as tables for ``docs/benchmarks.md``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .figures import Row, groups

Section = dict[str, Any]


def markdown(figures: dict[str, Any]) -> str:
    """All sections that were measured, in order."""
    parts = [f"Seeds {figures['seeds'][0]} to {figures['seeds'][-1]}, {figures['size']} x {figures['size']}."]
    for name, section in figures["sections"].items():
        body = f"{section['skipped']}" if "skipped" in section else TABLES[name](section)
        parts.append(f"### {name}\n{body}")
    return "\n\n".join(parts)


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:g}" if value == int(value) else f"{value:.3g}"
    return "" if value is None else str(value)


def _pivot(rows: Sequence[Row], down: Sequence[str], across: str, show: Callable[[Row], str]) -> str:
    """One line for each combination of ``down``, one column for each value of ``across``."""
    columns = list(dict.fromkeys(row[across] for row in rows))
    lines = []
    for names, group in groups(rows, down).items():
        cells = {row[across]: show(row) for row in group}
        lines.append([*names, *(cells.get(column) for column in columns)])
    return table([*down, *columns], lines)


def _scenes(section: Section) -> str:
    def quality(row: Row) -> str:
        return f"{row['psnr_db']:.2f} / {row['ssim']:.3f}"

    parts = ["PSNR dB / SSIM after the fit", _pivot(section["summary"], ("scene", "electrons"), "model", quality)]
    gains = [row for row in section["paired"] if row["figure"] == "psnr_db"]
    if gains:
        named = [{**row, "pair": f"{row['model']} − {row['against']}"} for row in gains]
        parts += ["Difference in dB, mean and bootstrap 95 % interval", _pivot(named, CELL, "pair", _difference)]
    if section["spread"]:
        shown = lambda row: f"{row['psnr_spread_db']:.2f} dB of {row['members']}"  # noqa: E731
        parts += ["Spread over training seeds", _pivot(section["spread"], ("scene", "electrons"), "family", shown)]
    return "\n\n".join(parts)


CELL = ("scene", "electrons")


def _difference(row: Row) -> str:
    low, high = row["interval_95"]
    return f"{row['mean']:+.2f} ({low:+.2f} to {high:+.2f})"


def _pairs(section: Section) -> str:
    def line(row: Row) -> list[object]:
        kinds = (row[kind] for kind in ("as_given", "registered", "registered_each"))
        away = row["displacement"]
        mean = " ".join(f"{axis:+.3f}" for axis in away["by_mean_px"]["mean"])
        return [
            row["model"],
            *(f"{kind['psnr_db']:.2f} / {kind['ssim']:.3f}" for kind in kinds),
            f"{mean} ({away['by_mean_px']['largest']:.3f})",
            f"{away['own_input_px']['largest']:.3f}",
            row.get("cpu_ms"),
        ]

    head = (
        "", "as given", "registered", "each moved to its best",
        "displacement by the mean, px: dy dx (largest)", "by its input, largest", "CPU ms",
    )  # fmt: skip
    return table(head, [line(row) for row in [*section["rows"], *section["control_shifted"]]])


def _linearity(section: Section) -> str:
    def slopes(row: Row) -> str:
        return f"{row['linearity_slope']:.3f} / {row['linearity_slope_dim']:.3f}"

    return "Slope / slope of the dimmer half\n\n" + _pivot(section["summary"], ("electrons",), "model", slopes)


def _residual(section: Section) -> str:
    figures = ("plain", "independent", "divergence", "output_variance", "bias", "noise_kept", "whiteness")
    rows = [[row["electrons"], row["model"], *(f"{row[f]:.3f}" for f in figures)] for row in section["summary"]]
    return table(("electrons", "model", *figures), rows)


def _empty(section: Section) -> str:
    def structures(row: Row) -> str:
        return f"{row['false_structures']:.2f} / {row['false_structures_psf']:.2f}"

    return "False structures / after a PSF-wide filter\n\n" + _pivot(
        section["summary"], ("electrons",), "model", structures
    )


def _moving(section: Section) -> str:
    def lag(row: Row) -> str:
        return f"{row['temporal_lag_frames']:+.3f}; {row['psnr_db']:.2f} dB"

    return _pivot(section["summary"], ("motion_px", "electrons"), "model", lag)


def _displaced(section: Section) -> str:
    rows = []
    for row in section["summary"]:
        axes = (f"{row[axis]['mean']:+.4f} ({row[axis]['interval_95']})" for axis in ("dy_px", "dx_px"))
        rows.append([row["model"], *axes, f"{row['largest_px']:.4f}"])
    return table(("", "dy px, mean (95 %)", "dx px", "largest of one image"), rows)


def _controls(section: Section) -> str:
    head = ("control", "figure", "asked", f"{section['model']} as it is", "spoilt", "caught")
    return table(head, [list(row.values()) for row in _ordered(section["rows"])])


def _ordered(rows: Sequence[Row]) -> list[Row]:
    return [{key: row[key] for key in ("control", "figure", "asked", "as_it_is", "spoilt", "caught")} for row in rows]


def _speed(section: Section) -> str:
    figures = ("size", "median_ms", "p99_ms", "cpu_ms_per_frame")
    return table(("model", *figures), [[row["model"], *(row[f] for f in figures)] for row in section["rows"]])


TABLES: dict[str, Callable[[Section], str]] = {
    "pairs": _pairs,
    "ceiling": _pairs,
    "scenes": _scenes,
    "maps": _scenes,
    "emccd": _scenes,
    "linearity": _linearity,
    "residual": _residual,
    "empty": _empty,
    "moving": _moving,
    "displaced": _displaced,
    "controls": _controls,
    "speed": _speed,
}

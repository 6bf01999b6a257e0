"""The curves of a run: each figure against time, taken from the rows of the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartscope.report.record import Record

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Series:
    """A figure against time, in order of time; both of length N."""

    t_s: Floats
    """Since the origin of the run."""
    value: Floats

    def __len__(self) -> int:
        return len(self.t_s)


def signal_to_noise(record: Record) -> Series:
    """As the models measured it, at the time when the result was ready."""
    return figure(record, "signal_to_noise")


def figure(record: Record, name: str) -> Series:
    """One of the figures in ``quality``, at the time when the result was ready."""
    rows = [row for row in record.results if name in row.quality]
    return _series(record, [row.ready_ns for row in rows], [row.quality[name] for row in rows])


def drift_nm(record: Record) -> Series:
    """How far the specimen has drifted since the start, as the models measured it."""
    x_nm, y_nm = figure(record, "drift_x_nm"), figure(record, "drift_y_nm")
    return Series(x_nm.t_s, np.hypot(x_nm.value, y_nm.value))


def means(series: Series, span_s: float = 1.0) -> Series:
    """Means over spans of time, each at its middle; spans without a value are left out."""
    if not len(series):
        return series
    span = ((series.t_s - series.t_s[0]) // span_s).astype(int)
    counts, sums = np.bincount(span), np.bincount(span, series.value)
    there = np.flatnonzero(counts)
    return Series(series.t_s[0] + (there + 0.5) * span_s, sums[there] / counts[there])


def exposure_ms(record: Record) -> Series:
    """Of each frame."""
    return _of_frames(record, [float(row["exposure_ms"]) for row in record.frames])


def power_mw(record: Record) -> dict[str, Series]:
    """Of each light, of each frame."""
    lights = sorted({light for row in record.frames for light in row["lights_mw"]})
    return {
        light: _of_frames(record, [float(row["lights_mw"].get(light, 0.0)) for row in record.frames])
        for light in lights
    }


def dose_j_per_cm2(record: Record) -> Series:
    """Spent at the place that was in view."""
    rows = [row.context for row in record.results if row.context]
    return _series(record, [row["t_ns"] for row in rows], [float(row["dose"]["spent_j_per_cm2"]) for row in rows])


def dose_budget_j_per_cm2(record: Record) -> float | None:
    """None where the run had none."""
    budgets = (float(row.context["dose"]["budget_j_per_cm2"]) for row in record.results if row.context)
    budget = next(budgets, float("inf"))
    return budget if np.isfinite(budget) else None


def lost(record: Record) -> Series:
    """Frames lost by camera or grabber until each frame; exact also where rows are sampled."""
    total, counts, last = 0, [], None
    for row in record.frames:
        if last is not None and row["epoch"] == last["epoch"]:
            total += (row["number"] - last["number"]) - (row["index"] - last["index"])
        else:
            total += int(row["lost_before"])
        counts.append(float(total))
        last = row
    return _of_frames(record, counts)


def not_analysed(record: Record) -> Series:
    """Frames that newer ones displaced before the models, until each result."""
    total, counts, times, before = 0, [], [], -1
    sampled = len(record.results) < record.counts.get("results/results.jsonl", 0)
    for row in [] if sampled else record.results:
        total += max(0, row.frame - before - 1)
        counts.append(float(total))
        times.append(row.ready_ns)
        before = row.frame
    return _series(record, times, counts)


def stage_ms(record: Record) -> dict[str, Series]:
    """Time that each model took, in the order of the pipeline; skipped ones left out."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for row in record.results:
        for stage, started_ns, ended_ns, outcome, _ in row.timings:
            times, values = found.setdefault(stage, ([], []))
            if outcome != "skipped":
                times.append(row.ready_ns)
                values.append((ended_ns - started_ns) / 1e6)
    return {stage: _series(record, times, values) for stage, (times, values) in found.items()}


def frame_to_result_ms(record: Record) -> Series:
    """Frame in hand → result ready, waiting included."""
    pairs = [(row, frame) for row in record.results if (frame := record.frame_row(row.frame)) is not None]
    values = [(row.ready_ns - frame["t_received_ns"]) / 1e6 for row, frame in pairs]
    return _series(record, [row.ready_ns for row, _ in pairs], values)


def chain_ms(record: Record) -> Mapping[str, Series]:
    """Parts of the way from exposure to effect, of decisions that were carried out."""
    rows = [row for row in record.decisions if row["t_applied_ns"] and row["t_received_ns"]]
    steps = {
        "exposure mid-point → frame in hand": ("t_exposure_mid_ns", "t_received_ns"),
        "frame in hand → result": ("t_received_ns", "t_result_ns"),
        "result → decision": ("t_result_ns", "t_ns"),
        "decision → in effect": ("t_ns", "t_applied_ns"),
        "frame in hand → in effect": ("t_received_ns", "t_applied_ns"),
        "exposure mid-point → in effect": ("t_exposure_mid_ns", "t_applied_ns"),
    }
    times = [row["t_applied_ns"] for row in rows]
    return {
        name: _series(record, times, [(row[end] - row[begin]) / 1e6 for row in rows])
        for name, (begin, end) in steps.items()
    }


def _of_frames(record: Record, values: list[float]) -> Series:
    middles = [(row["t_start_ns"] + row["t_end_ns"]) // 2 for row in record.frames]
    return _series(record, middles, values)


def _series(record: Record, t_ns: list[int], values: list[float]) -> Series:
    t_s = record.seconds(t_ns)
    order = np.argsort(t_s, kind="stable")
    return Series(t_s[order], np.asarray(values, np.float64)[order])

"""What a run achieved, in figures and in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.recorder import folder as files
from smartscope.report import series
from smartscope.report.following import Followed, followed
from smartscope.report.record import Record, read
from smartscope.report.series import Series

TOLERANCE = 0.10
"""Signal-to-noise counts as held within this fraction of its target."""
SETTLING_S = 2.0
"""What happens before is settling, and not counted."""
WORTH_TELLING = {
    "stale_results": "too old to act on",
    "untrusted_results": "not trusted",
    "fallback_results": "by fall-back",
}


def summarise(run_folder: Path) -> dict[str, Any]:
    """The figures of a run, from its folder alone; None where the record says nothing of one.

    Raises:
        InputError: this is no run folder.
    """
    record = read(run_folder)
    return summary_of(record, followed(record))


def summary_of(record: Record, target: Sequence[Followed]) -> dict[str, Any]:
    """The figures of a record; ``target`` is what its field-of-view policy followed."""
    chain = series.chain_ms(record)
    lost = series.lost(record)
    dose = series.dose_j_per_cm2(record)
    goal = target_signal_to_noise(record)
    granted = [row for row in record.decisions if row["granted"] is not None]
    frames = record.counts.get(files.FRAMES, 0)
    summary: dict[str, Any] = {
        "name": record.run.get("name") or record.folder.name,
        "state": record.run.get("state", "unknown"),
        "error": record.run.get("error"),
        "duration_s": _duration_s(record),
        "frames": frames,
        "frames_lost": int(lost.value[-1]) if len(lost) else 0,
        "frames_analysed": record.counts.get(files.RESULTS, 0),
        "frames_per_s": None if not (duration := _duration_s(record)) else frames / duration,
        "target_signal_to_noise": goal,
        "signal_to_noise_held": None if goal is None else _held(series.signal_to_noise(record), goal),
        "target_in_view": sum(row.seen for row in target) / len(target) if target else None,
        "targets": len({row.track_id for row in target}) if target else None,
        "dose_spent_j_per_cm2": float(dose.value.max()) if len(dose) else None,
        "dose_budget_j_per_cm2": series.dose_budget_j_per_cm2(record),
        "drops": record.run.get("drops"),
        "decisions": record.counts.get(files.DECISIONS, 0),
        "decisions_granted": len(granted),
        "decisions_clipped": sum(bool(row["clipped_by"]) for row in granted),
        "decisions_refused": len(record.decisions) - len(granted),
        "frame_to_result_ms": percentiles(series.frame_to_result_ms(record)),
        "frame_to_effect_ms": percentiles(chain["frame in hand → in effect"]),
        "exposure_to_effect_ms": percentiles(chain["exposure mid-point → in effect"]),
    }
    return {**summary, "line": line(summary)}


def line(summary: Mapping[str, Any]) -> str:
    """What was achieved, for a terminal or a title."""
    return f"{summary['name']} {summary['state']}: " + ", ".join(achievements(summary))


def achievements(summary: Mapping[str, Any]) -> list[str]:
    """The same, each figure for itself; only what the run was about."""
    said = []
    if (held := summary["signal_to_noise_held"]) is not None:
        goal = summary["target_signal_to_noise"]
        said.append(f"signal-to-noise within ±{100 * TOLERANCE:g} % of {goal:g} for {percent(held)} of the time")
    if (seen := summary["target_in_view"]) is not None:
        said.append(f"target in view {percent(seen)}")
    if (spent := summary["dose_spent_j_per_cm2"]) is not None:
        budget = summary["dose_budget_j_per_cm2"]
        said.append(f"dose {spent:.3g}" + (f" of {budget:g}" if budget else "") + " J/cm²")
    said.append(f"{summary['frames']:,} frames ({summary['frames_lost']:,} lost)")
    if effect := summary["exposure_to_effect_ms"]:
        said.append(f"exposure to effect {effect['p50']:.3g} ms (p95 {effect['p95']:.3g})")
    elif ready := summary["frame_to_result_ms"]:
        said.append(f"frame to result {ready['p50']:.3g} ms (p95 {ready['p95']:.3g})")
    drops = summary.get("drops") or {}
    said += [f"{drops[name]:,} results {how}" for name, how in WORTH_TELLING.items() if drops.get(name)]
    return said


def target_signal_to_noise(record: Record) -> float | None:
    """What the run's exposure policy was to hold; None where it had none."""
    for policy in record.config.get("policies", ()):
        goal = policy.get("options", {}).get("target_signal_to_noise")
        if goal is not None and policy.get("enabled", True):
            return float(goal)
    return None


def percentiles(values: Series) -> dict[str, float] | None:
    """p50, p95 and p99; None of nothing."""
    if not len(values):
        return None
    p50, p95, p99 = np.percentile(values.value, (50, 95, 99)).tolist()
    return {"p50": p50, "p95": p95, "p99": p99}


def percent(share: float) -> str:
    """Never rounded up to a hundred."""
    return "100 %" if share == 1 else f"{min(99.9, round(100 * share, 1)):g} %"


def _held(ratio: Series, goal: float) -> float | None:
    """Share of the time, after settling, within the tolerance; each result stands until the next one."""
    if len(ratio) < 2:
        return None
    stands_s = np.diff(ratio.t_s)
    settled = ratio.t_s[:-1] - ratio.t_s[0] >= SETTLING_S
    if not settled.any() or stands_s[settled].sum() <= 0:
        return None
    within = np.abs(ratio.value[:-1] / goal - 1) <= TOLERANCE
    return float(stands_s[settled & within].sum() / stands_s[settled].sum())


def _duration_s(record: Record) -> float | None:
    if not record.frames:
        return None
    return float(record.frames[-1]["t_end_ns"] - record.frames[0]["t_start_ns"]) / 1e9

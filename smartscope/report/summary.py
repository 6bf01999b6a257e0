"""What a run achieved, in figures and in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.recorder import folder as files
from smartscope.report import series
from smartscope.report.following import Followed, followed
from smartscope.report.happened import events_of
from smartscope.report.record import Record, read
from smartscope.report.series import Series

TOLERANCE = 0.10
"""Signal-to-noise counts as held within this fraction of its target."""
SETTLING_S = 2.0
"""What happens before is settling, and not counted."""
DENSITY_SETTLING_S = 15.0
"""The same for the density of molecules, which takes longer to answer."""
DENSITIES = {"density_per_um2": "target_density_per_um2", "emitters": "target_emitters"}
"""How many molecules glow: name of the figure → of what a policy holds it at."""
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
        **_molecules(record),
        "events": _events(record),
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
    if summary["molecules"]:
        said += _of_molecules(summary)
    if events := summary["events"]:
        said.append("events: " + ", ".join(f"{count:,} {kind}" for kind, count in events.items()))
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
    return goal_of(record, "target_signal_to_noise")


def goal_of(record: Record, option: str) -> float | None:
    """What one of the run's policies was given to hold or to reach; None where none was."""
    for policy in record.config.get("policies", ()):
        goal = policy.get("options", {}).get(option)
        if goal is not None and policy.get("enabled", True):
            return float(goal)
    return None


def held_density(record: Record) -> tuple[str, float | None]:
    """Which of ``DENSITIES`` was held at what; the density per area, at nothing, where none was."""
    goals = ((figure, goal_of(record, option)) for figure, option in DENSITIES.items())
    return next(((figure, goal) for figure, goal in goals if goal is not None), ("density_per_um2", None))


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


def _molecules(record: Record) -> dict[str, Any]:
    """How many single molecules were found how well, and how steadily they glowed; None of what nobody told."""
    by_network, (figure, goal) = series.figure(record, "localizer").value, held_density(record)
    return {
        "molecules": None if record.molecules is None else len(record.molecules),
        "localization_error_nm": _median(series.figure(record, "localization_error_nm")),
        "ring_resolution_nm": _last(series.figure(record, "ring_resolution_nm")),
        "on_time_ms": _last(series.figure(record, "on_time_ms")),
        "drift_nm": _last(series.drift_nm(record)),
        "frames_by_network": float(by_network.mean()) if by_network.size else None,
        "target_" + figure: goal,
        "density_rms": None if goal is None else _rms(series.figure(record, figure), goal),
    }


def _events(record: Record) -> dict[str, int] | None:
    """How often each kind of event happened, those withdrawn left out; None where the run told none."""
    standing = [event.kind for event in events_of(record) if event.status != "withdrawn"]
    return {kind: standing.count(kind) for kind in dict.fromkeys(standing)} or None


def _of_molecules(summary: Mapping[str, Any]) -> list[str]:
    within = "" if (error := summary["localization_error_nm"]) is None else f" within {error:.3g} nm (median)"
    said = [f"{summary['molecules']:,} molecules localised{within}{_how(summary['frames_by_network'])}"]
    if (resolution := summary["ring_resolution_nm"]) is not None:
        said.append(f"ring resolution {resolution:.3g} nm")
    if (on_time := summary["on_time_ms"]) is not None:
        said.append(f"a molecule glows {on_time:.3g} ms")
    if (rms := summary["density_rms"]) is not None:
        said.append(f"density held within {100 * rms:.2g} % RMS")
    return said


def _how(by_network: float | None) -> str:
    if by_network is None or by_network in (0.0, 1.0):
        return {None: "", 0.0: " by fits", 1.0: " by the network"}[by_network]
    return f" by the network in {percent(by_network)} of the frames, else by fits"


def _median(values: Series) -> float | None:
    return float(np.median(values.value)) if len(values) else None


def _last(values: Series) -> float | None:
    return float(values.value[-1]) if len(values) else None


def _rms(density: Series, goal: float) -> float | None:
    """Deviation of the means of each second from their goal, as a fraction of it, after settling."""
    seconds = series.means(density)
    settled = seconds.t_s - density.t_s[:1].sum() >= DENSITY_SETTLING_S
    return float(np.sqrt(np.mean((seconds.value[settled] / goal - 1) ** 2))) if settled.any() else None


def _duration_s(record: Record) -> float | None:
    if not record.frames:
        return None
    return float(record.frames[-1]["t_end_ns"] - record.frames[0]["t_start_ns"]) / 1e9

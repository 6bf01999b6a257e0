"""Density held by the activating laser, in the whole loop on simulated molecules: ours, htSMLM's law, fixed power.

Runs `configs/storm.yaml` in virtual time. All arms see the same molecules. *ours*: the policy `activation`. *htsmlm*:
the published counter and law, its N0 calibrated as a user would, on our run: what its counter says at our target.
*htsmlm_frame*: the law at its own pace with our count of each frame. *htsmlm_mean*: the same once a second with the
mean of 50 frames. *fixed*: one power, the mean of ours, and so the same dose of it; nobody knows it beforehand.
*fixed_at_first*: the power that first held the target, as one would find it by hand. *failing*: ours, with a counter
that fails at half time, another way for each seed. Equal durations mean equal dose of the exciting laser, which is
nearly all. Truth is the simulated specimen's; a localisation is right within 250 nm of a molecule of its own. Prints
JSON.
``python tests/benchmarks/bench_activation.py [--seeds 5] [--duration 250] [--localizer localize | stand-in]``
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from judging.activation.failing import WAYS
from judging.activation.figures import after_failure, held, per_second
from judging.activation.witness import Diary, OnLooker
from judging.bench import say

from smartscope.app import run_experiment
from smartscope.doctor import machine
from smartscope.loading import load

CONFIG = Path(__file__).parents[2] / "configs" / "storm.yaml"
LIGHT = "laser_405"
OURS = "smartscope.policies.activation:ActivationPolicy"
PUBLISHED = "judging.activation.rivals:PulseLaw"
ARMS = ("htsmlm", "htsmlm_frame", "htsmlm_mean", "fixed", "fixed_at_first", "failing")
MW_PER_UNIT = 0.002
"""Of the published pulse: at about 80 units, as in the published comparison of laws, the target is held here."""
LOCALIZERS = {
    "localize": {"model": "smartscope_models.localization.localizer:MoleculeLocalizer"},
    "stand-in": {"model": "judging.activation.witness:StandIn"},
}


def one(
    seed: int,
    duration_s: float,
    localizer: str,
    policy: dict[str, Any] | None,
    power_mw: float | None = None,
    failing: dict[str, Any] | None = None,
) -> tuple[Diary, dict[str, Any]]:
    """A run: its truth, and its decisions in brief."""
    stages = [
        {"model": "quality", "virtual_ms": 1},
        {"model": "judging.activation.rivals:PeakCounter", "virtual_ms": 1},
        {**LOCALIZERS[localizer], "virtual_ms": 8},
        {"model": "judging.activation.witness:Witness", "virtual_ms": 0},
    ]
    if failing:
        stages.insert(3, {"model": "judging.activation.failing:Failing", "virtual_ms": 0, "options": failing})
    policies = [] if policy is None else [{"priority": 10, **policy}]
    changes = [
        f"seed={seed}",
        f"duration_s={duration_s}",
        "clock=virtual",
        "bus.enabled=false",
        "recorder.enabled=false",
        "dose.budget_j_per_cm2=null",
        f"pipeline={json.dumps(stages)}",
        f"policies={json.dumps(policies)}",
    ]
    if power_mw is not None:
        changes.append(f"start.lights_mw.{LIGHT}={power_mw}")
    diary = OnLooker.diary = Diary()
    why: list[str] = []
    loops = []

    def look(rig: Any) -> None:
        diary.world = rig.microscope.world
        loops.append(rig.loop)
        rig.diary.decision = lambda decision: why.append(decision.why) if decision.frame >= 0 else None

    outcome = run_experiment(load(CONFIG, changes), on_rig=look)
    diary.world = None
    caught = [said for said in why if "; at most" in said or "no estimate" in said]
    return diary, {
        "state": outcome.state,
        "dose_j_per_cm2": loops[0].dose.spent_j_per_cm2,
        "decisions": len(why),
        "caught": len(caught),
        "first": caught[:1],
    }


def arms(
    seed: int, duration_s: float, localizer: str, target: float, way: str, wanted: Sequence[str]
) -> dict[str, Any]:
    """Ours, and the arms wanted beside it, on one specimen."""
    options: dict[str, Any] = {"light": LIGHT, "target_emitters": target}
    ours, said = one(seed, duration_s, localizer, {"policy": OURS, "options": options})
    found = {"ours": {**held(ours, target), **said}}
    say(f"seed {seed} ours: {found['ours']}")
    power_mw = found["ours"]["power_mw_mean"]
    peaks = per_second(ours.peaks, ours.t_s)
    first = found["ours"]["settled_at_own_level_s"] or 0
    n0, powers = float(np.nanmean(peaks[first:])), per_second(ours.power_mw, ours.t_s)
    published = {"light": LIGHT, "n0": n0, "mw_per_unit": MW_PER_UNIT}
    lent = {**published, "n0": target, "reads_figure": "emitters"}
    slow = {**lent, "every_s": 1.0, "frames": 50}
    laws: dict[str, dict[str, Any]] = {
        "htsmlm": {"policy": {"policy": PUBLISHED, "options": published}},
        "htsmlm_frame": {"policy": {"policy": PUBLISHED, "options": lent}},
        "htsmlm_mean": {"policy": {"policy": PUBLISHED, "options": slow}},
        "fixed": {"policy": None, "power_mw": power_mw},
        "fixed_at_first": {"policy": None, "power_mw": float(np.mean(powers[first : first + 10]))},
    }
    for name, law in ((name, law) for name, law in laws.items() if name in wanted):
        diary, said = one(seed, duration_s, localizer, **law)
        found[name] = {**held(diary, target), **said}
        say(f"seed {seed} {name}: {found[name]}")
    if "failing" in wanted:
        half_s = duration_s / 2
        broken = {"way": way, "from_s": half_s}
        diary, said = one(seed, duration_s, localizer, {"policy": OURS, "options": options}, failing=broken)
        found["failing"] = {"way": way, **after_failure(diary, half_s, target), **said}
        say(f"seed {seed} failing: {found['failing']}")
    return {**found, "n0_peaks": n0}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and worst values over seeds."""
    laws = {}
    for law in (law for law in ("ours", *ARMS[:-1]) if law in runs[0]):
        rows = [run[law] for run in runs]
        settled = [row["settled_s"] for row in rows]
        laws[law] = {
            "settled_s": settled,
            "settled_at_own_level_s": [row["settled_at_own_level_s"] for row in rows],
            "own_level": [row["own_level"] for row in rows],
            "rms_about_own_level_median": float(np.median([row["rms_about_own_level"] for row in rows])),
            "plain": {name: [row["plain"][name] for row in rows] for name in ("settled_s", "peak", "rms")},
            **{f"{name}_median": float(np.median([row[name] for row in rows])) for name in ("peak", "rms")},
            **{f"{name}_worst": float(max(row[name] for row in rows)) for name in ("peak", "rms")},
            "blinking_bound_median": float(np.median([row["blinking_bound"] for row in rows])),
            "mean_active": float(np.mean([row["mean_active"] for row in rows])),
            "right": sum(row["right"] for row in rows),
            "localizations": sum(row["localizations"] for row in rows),
            "right_share": sum(row["right"] for row in rows) / max(1, sum(row["localizations"] for row in rows)),
            "dose_j_per_cm2": sum(row["dose_j_per_cm2"] for row in rows),
            "activation_mw_mean": float(np.mean([row["power_mw_mean"] for row in rows])),
        }
    for law in laws.values():
        law["right_over_ours"] = law["right"] / max(1, laws["ours"]["right"])
        law["right_per_dose_over_ours"] = (
            law["right_over_ours"] * laws["ours"]["dose_j_per_cm2"] / law["dose_j_per_cm2"]
        )
    return laws


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=101)
    parser.add_argument("--duration", type=float, default=250.0)
    parser.add_argument("--target", type=float, default=60.0)
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=ARMS, help="beside ours")
    parser.add_argument("--localizer", choices=LOCALIZERS, default="localize")
    told = parser.parse_args()
    seeds, ways, began = range(told.first_seed, told.first_seed + told.seeds), list(WAYS), time.process_time()
    runs = [
        {"seed": seed, **arms(seed, told.duration, told.localizer, told.target, ways[i % len(ways)], told.arms)}
        for i, seed in enumerate(seeds)
    ]
    figures = {
        "machine": machine(),
        "localizer": told.localizer,
        "target": told.target,
        "duration_s": told.duration,
        "cpu_s": time.process_time() - began,
        "summary": summary(runs),
        "runs": runs,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

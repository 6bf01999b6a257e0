"""Light held by the verdict against fixed light at equal dose, on specimens whose brightness nobody knows beforehand.

Runs `configs/structured_illumination.yaml` in virtual time: one stack a second on filaments that bleach. Four arms see
the same specimens: light held by the policy; fixed light of the same dose on each specimen, as somebody would set it
who knew it beforehand; fixed light of the same dose on all specimens together, as a protocol is. A fourth shows how
much less would do: fixed light of half of what the policy settled on. Prints JSON.
``python tests/benchmarks/bench_structured_illumination_loop.py [--seeds 5] [--duration 60]``
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.app import run_experiment
from smartscope.doctor import machine
from smartscope.loading import load
from smartscope.recorder.reader import RunReader

CONFIG = Path(__file__).parents[2] / "configs" / "structured_illumination.yaml"
DIM, BRIGHT = 0.5, 8.0
"""Dye molecules in an emitter, drawn evenly in the logarithm."""
EXPOSURE_MS, POWER_MW = 10.0, 1.0
"""Of the first stack where the light is held: the same for all specimens."""
SETTLED = 5
"""Stacks that the policy may take to find its light."""


def molecules(seed: int) -> float:
    """Brightness of a specimen."""
    return float(DIM * (BRIGHT / DIM) ** np.random.default_rng((seed, 7)).uniform())


def one(seed: int, duration_s: float, light_ms_mw: float, hold: bool) -> dict[str, Any]:
    """Figures of one run."""
    options = {
        "exposure_ms": EXPOSURE_MS,
        "power_mw": light_ms_mw / EXPOSURE_MS,
        "hold": str(hold).lower(),
    }
    changes = [
        f"seed={seed}",
        f"duration_s={duration_s}",
        "clock=virtual",
        "bus.enabled=false",
        "recorder.frames=false",
        "recorder.super_resolved_every=0",
        "limits.lights.laser_488.max_power_mw=100",
        "dose.budget_j_per_cm2=100000",
        f"microscope.options.specimen_options.molecules={molecules(seed)}",
        *(f"policies.0.options.{name}={value}" for name, value in options.items()),
    ]
    with tempfile.TemporaryDirectory() as folder:
        run_experiment(load(CONFIG, changes), output=Path(folder) / "run")
        results = list(RunReader(Path(folder) / "run").results)
    stacks = [row for row in results if "super_resolved" in row]
    settled = stacks[SETTLED:]
    return {
        "stacks": len(stacks),
        "ok": sum(row["super_resolved"]["verdict"] == "ok" for row in stacks),
        "failed": sum(row["super_resolved"]["verdict"] == "fail" for row in stacks),
        "ok_settled": float(np.mean([row["super_resolved"]["verdict"] == "ok" for row in settled])),
        "resolution_nm_median": float(np.median([row["quality"]["resolution_nm"] for row in settled])),
        "dose_j_per_cm2": max(row["context"]["dose"]["spent_j_per_cm2"] for row in results if row.get("context")),
        "light_ms_mw": [
            float(
                row["super_resolved"]["settings"]["exposure_ms"]
                * sum(row["super_resolved"]["settings"]["lights_mw"].values())
            )
            for row in stacks
        ],
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=901)
    parser.add_argument("--duration", type=float, default=60.0)
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    held = {seed: one(seed, arguments.duration, EXPOSURE_MS * POWER_MW, True) for seed in seeds}
    means = {seed: float(np.mean(run["light_ms_mw"])) for seed, run in held.items()}
    settled = {seed: float(np.median(run["light_ms_mw"][SETTLED:])) for seed, run in held.items()}
    common = float(np.mean(list(means.values())))
    runs = [
        {
            "seed": seed,
            "molecules": molecules(seed),
            "held": held[seed],
            "fixed_equal_dose": one(seed, arguments.duration, means[seed], False),
            "fixed_half_of_settled": one(seed, arguments.duration, settled[seed] / 2, False),
            "fixed_for_all": one(seed, arguments.duration, common, False),
        }
        for seed in seeds
    ]
    arms = ("held", "fixed_equal_dose", "fixed_half_of_settled", "fixed_for_all")
    summary = {
        arm: {
            "ok_share": sum(run[arm]["ok"] for run in runs) / sum(run[arm]["stacks"] for run in runs),
            "ok_share_worst": min(run[arm]["ok"] / run[arm]["stacks"] for run in runs),
            "ok_settled": float(np.mean([run[arm]["ok_settled"] for run in runs])),
            "dose_j_per_cm2": sum(run[arm]["dose_j_per_cm2"] for run in runs),
            "dose_j_per_cm2_per_ok_stack": sum(run[arm]["dose_j_per_cm2"] for run in runs)
            / max(1, sum(run[arm]["ok"] for run in runs)),
        }
        for arm in arms
    }
    print(json.dumps({"machine": machine(), "seeds": list(seeds), "summary": summary, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()

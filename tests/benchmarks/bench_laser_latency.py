"""From a frame in hand to the activating laser's new power: how long, in a live run on simulated molecules.

Runs `configs/storm.yaml` on the machine's own clock, the policy `activation` deciding ten times a second, simulated
camera, models, recorder and the process that owns the lasers all beside each other. Times are those of the run's own
diary: frame received → result ready → power confirmed by the laser. Wants a quiet machine. Prints JSON.
``python tests/benchmarks/bench_laser_latency.py [--duration 40]``
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.app import run_experiment
from smartscope.decision import Decision
from smartscope.doctor import machine
from smartscope.loading import load
from smartscope.recorder.reader import RunReader

CONFIG = Path(__file__).parents[2] / "configs" / "storm.yaml"
OPTIONS = {"light": "laser_405", "target_emitters": 60, "window_s": 0.1}
SETTLED_S = 5.0
"""The first seconds warm caches up and raise the density."""


def one(seed: int, duration_s: float) -> dict[str, Any]:
    """Figures of one live run."""
    decisions: list[Decision] = []

    def look(rig: Any) -> None:
        rig.diary.decision = decisions.append

    changes = [
        f"seed={seed}",
        f"duration_s={duration_s}",
        "bus.enabled=false",
        f"policies={json.dumps([{'policy': 'activation', 'priority': 10, 'options': OPTIONS}])}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_experiment(load(CONFIG, changes), output=Path(folder) / "run", on_rig=look)
        reader = RunReader(Path(folder) / "run")
        rows, frames = list(reader.results), list(reader.frame_rows)
    begin_ns = frames[0]["t_start_ns"] + SETTLED_S * 1e9
    made = [one for one in decisions if one.frame >= 0 and one.t_applied_ns and one.t_received_ns > begin_ns]
    received = {row["index"]: row["t_received_ns"] for row in frames}
    results = [1e-6 * (row["ready_ns"] - received[row["frame"]]) for row in rows if received[row["frame"]] > begin_ns]
    late = [row["quality"]["emitters"] for row in rows[len(rows) // 2 :] if "emitters" in row["quality"]]
    return {
        "seed": seed,
        "state": outcome.state,
        "emitters_median": float(np.median(late)),
        "frames": len(frames),
        "frames_understood": len(rows),
        "decisions": len(made),
        "frame_to_density_ms": spread(results),
        "frame_to_laser_ms": spread([one.latency_ms for one in made]),
        "density_to_laser_ms": spread([1e-6 * (one.t_applied_ns - one.t_result_ns) for one in made]),
    }


def spread(values_ms: list[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile, worst."""
    median, p95, p99 = np.percentile(values_ms, [50, 95, 99])
    return {"median": float(median), "p95": float(p95), "p99": float(p99), "worst": float(np.max(values_ms))}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=901)
    parser.add_argument("--duration", type=float, default=40.0)
    told = parser.parse_args()
    load_1_min = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    runs = [one(seed, told.duration) for seed in range(told.first_seed, told.first_seed + told.seeds)]
    print(json.dumps({"machine": machine(), "load_1_min": load_1_min, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()

"""The demo with its policies on and off: signal-to-noise held, target kept in view, dose never above its budget.

Runs `configs/demo.yaml` in virtual time on several seeds; what is judged against is the specimen's ground truth, which
the controller never sees. Prints JSON. ``python tests/benchmarks/bench_demo.py [--seeds 5] [--duration 12]``
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
from smartscope.frame import Frame
from smartscope.loading import load
from smartscope.recorder.reader import RunReader

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"
SETTLED_S = 2.0
TOLERANCE = 0.10


class Watcher:
    """Looks at the ground truth beside the run: is the cell that began nearest the centre still in view?"""

    def __init__(self) -> None:
        self.target: int | None = None
        self.in_view: list[tuple[float, bool]] = []

    def __call__(self, rig: Any) -> None:
        self._world, self._see = rig.microscope.world, rig.loop.see_frame
        rig.loop.see_frame = self.see

    def see(self, frame: Frame) -> None:
        """Every tenth frame: the target's true place in its pixels."""
        self._see(frame)
        if frame.index % 10:
            return
        truth, roi = self._world.truth(frame.t_end_ns), frame.settings.roi
        places = truth.to_pixels(truth.specimen.cells_um, roi)
        if self.target is None:
            self.target = int(np.argmin(np.hypot(*(places - [roi.width / 2, roi.height / 2]).T)))
        x_px, y_px = places[self.target]
        self.in_view.append((frame.t_end_ns / 1e9, 0 <= x_px < roi.width and 0 <= y_px < roi.height))


def one(seed: int, policies: bool, duration_s: float, extra: list[str]) -> dict[str, Any]:
    """Figures of one run."""
    changes = [
        f"seed={seed}",
        f"duration_s={duration_s}",
        "clock=virtual",
        "bus.enabled=false",
        "recorder.frames=false",
    ]
    if not policies:
        changes += [f"policies.{i}.enabled=false" for i in range(3)]
    config = load(DEMO, changes + extra)
    watcher = Watcher()
    with tempfile.TemporaryDirectory() as folder:
        run_experiment(config, output=Path(folder) / "run", on_rig=watcher)
        reader = RunReader(Path(folder) / "run")
        results, frames = list(reader.results), list(reader.frame_rows)
    return judge(config, watcher, results, frames)


def judge(config: Any, watcher: Watcher, results: list[Any], frames: list[Any]) -> dict[str, Any]:
    """Figures of a run from its rows and from the truth seen beside it; signal-to-noise after settling."""
    t0_ns = frames[0]["t_start_ns"]
    inside = [seen for _, seen in watcher.in_view]
    snr: list[float] = []
    goal = next(p.options["target_signal_to_noise"] for p in config.policies if "target_signal_to_noise" in p.options)
    for row in results:
        if (row["ready_ns"] - t0_ns) / 1e9 >= SETTLED_S and "signal_to_noise" in row["quality"]:
            snr.append(row["quality"]["signal_to_noise"])
    spent = [row["context"]["dose"]["spent_j_per_cm2"] for row in results if row.get("context")]
    ratio = np.array(snr) / goal
    return {
        "frames": len(frames),
        "signal_to_noise_median": float(np.median(snr)),
        "signal_to_noise_within_10_percent": float(np.mean(np.abs(ratio - 1) <= TOLERANCE)),
        "signal_to_noise_rms_error_percent": float(100 * np.sqrt(np.mean((ratio - 1) ** 2))),
        "exposure_ms_median": float(np.median([row["exposure_ms"] for row in frames])),
        "power_mw_median": float(np.median([sum(row["lights_mw"].values()) for row in frames])),
        "target_in_view": float(np.mean(inside)),
        "dose_j_per_cm2": max(spent),
        "dose_over_budget": max(spent) > config.dose.budget_j_per_cm2,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=101)
    parser.add_argument("--duration", type=float, default=20.0)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = []
    for seed in seeds:
        with_policies = one(seed, True, arguments.duration, arguments.set)
        without = one(seed, False, arguments.duration, arguments.set)
        power_mw = 2.0 * with_policies["dose_j_per_cm2"] / max(without["dose_j_per_cm2"], 1e-9)
        equal_dose = one(seed, False, arguments.duration, [*arguments.set, f"start.lights_mw.laser_488={power_mw:.4f}"])
        best_constant = [
            f"start.exposure_ms={with_policies['exposure_ms_median']:.4f}",
            f"start.lights_mw.laser_488={with_policies['power_mw_median']:.4f}",
        ]
        runs.append(
            {
                "seed": seed,
                "policies": with_policies,
                "none": without,
                "none_at_equal_dose": equal_dose,
                "constant_at_their_median": one(seed, False, arguments.duration, [*arguments.set, *best_constant]),
            }
        )
    summary = {
        arm: {
            figure: {"median": float(np.median(values)), "worst": float(np.min(values) if low else np.max(values))}
            for figure, low in (
                ("signal_to_noise_within_10_percent", True),
                ("signal_to_noise_rms_error_percent", False),
                ("target_in_view", True),
                ("dose_j_per_cm2", False),
            )
            for values in [[run[arm][figure] for run in runs]]  # type: ignore[index]
        }
        for arm in ("policies", "none", "none_at_equal_dose", "constant_at_their_median")
    }
    print(json.dumps({"machine": machine(), "seeds": list(seeds), "summary": summary, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()

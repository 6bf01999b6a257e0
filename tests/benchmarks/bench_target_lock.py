"""Where an object will be when the command takes effect: the policies' forecast, hold-last, finite difference.

The forecast is made from what the live tracker says of each track, its noise learned and not given. Motions as in
`judging/target_lock/motions.py`, 30 runs of 200 frames a seed. `--closed-loop`: `configs/target_lock.yaml` in virtual
time, with the forecast and with the last place in its stead, same specimens. `--bound`: also the best forecast that
there can be on switching motion, by a filter that knows all of it. Prints JSON.
``python tests/benchmarks/bench_target_lock.py [--seeds 30] [--first-seed 100] [--bound] [--closed-loop SEEDS]``
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from judging.bench import rounded, say
from judging.target_lock import closed_loop
from judging.target_lock.bound import best_forecasts
from judging.target_lock.motions import KINDS, NOISE_PX, paths
from judging.target_lock.tracked import forecasts, rivals, rms_px

from smartscope.doctor import machine

DELAYS = (1, 2, 3, 4, 6, 8)
"""Frames."""
RUNS, FRAMES = 30, 200
OURS = "forecast"
RESAMPLED = 2000


def one(seed: int, kind: str, bound: bool) -> dict[int, dict[str, float]]:
    """Delay -> predictor -> RMS error, px."""
    rng = np.random.default_rng(seed)
    truth = paths(kind, RUNS, FRAMES, rng)
    seen = truth + rng.normal(0, NOISE_PX, truth.shape)
    ours = forecasts(seen, DELAYS)
    best = best_forecasts(seen, DELAYS, seed) if bound and kind == "switching" else {}
    found: dict[int, dict[str, float]] = {}
    for delay in DELAYS:
        predicted = {OURS: ours[delay], **rivals(seen, delay)}
        if delay in best:
            predicted["bound"] = best[delay]
        found[delay] = {name: rms_px(places, truth, delay) for name, places in predicted.items()}
        found[delay]["lost_share"] = float(np.isnan(ours[delay][..., 0]).mean())
    return found


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """RMS over all seeds with 95 % intervals (bootstrap over seeds), and ours over hold-last with its interval."""
    drawn = np.random.default_rng(0).integers(0, len(rows), (RESAMPLED, len(rows)))
    squared = {name: np.square([row[name] for row in rows]) for name in rows[0] if name != "lost_share"}
    figures: dict[str, Any] = {
        name: {"rms_px": float(np.sqrt(values.mean())), "interval": _interval(np.sqrt(values[drawn].mean(1)))}
        for name, values in squared.items()
    }
    ratio = np.sqrt(squared[OURS][drawn].mean(1) / squared["hold_last"][drawn].mean(1))
    over = figures[OURS]["rms_px"] / figures["hold_last"]["rms_px"]
    lost = float(np.mean([row["lost_share"] for row in rows]))
    return {**figures, "over_hold_last": {"ratio": over, "interval": _interval(ratio)}, "lost_share": lost}


def _interval(values: Any) -> list[float]:
    return [float(v) for v in np.percentile(values, [2.5, 97.5])]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--closed-loop", type=int, default=0, metavar="SEEDS", help="runs in the simulated microscope")
    parser.add_argument("--bound", action="store_true", help="the best forecast there can be, too (slow)")
    told = parser.parse_args()
    seeds, began = range(told.first_seed, told.first_seed + told.seeds), time.process_time()
    judged: dict[str, list[dict[int, dict[str, float]]]] = {kind: [] for kind in KINDS}
    for seed in seeds:
        for kind in KINDS:
            judged[kind].append(one(seed, kind, told.bound))
        say(f"seed {seed}: {rounded({kind: rows[-1][4] for kind, rows in judged.items()})}")
    figures: dict[str, Any] = {
        "machine": machine(),
        "seeds": [seeds.start, seeds.stop - 1],
        "motions": {
            kind: {str(delay): summary([row[delay] for row in rows]) for delay in DELAYS}
            for kind, rows in judged.items()
            if rows
        },
    }
    if told.closed_loop:
        looped = range(told.first_seed, told.first_seed + told.closed_loop)
        figures["closed_loop"] = [closed_loop.compared(seed) for seed in looped]
    print(json.dumps(rounded({**figures, "cpu_s": time.process_time() - began}), indent=1))


if __name__ == "__main__":
    main()

"""Frames inside events per dose: event-driven pace against fixed, random, published and all-knowing ones.

Simulated division of mitochondria: times of events and a noisy detector (`judging/event_driven/days.py`), slow 0.2 and
fast 3.8 frames/s, events of 30 s. *ours*: the policy `event_driven`; *ours_30*: with a budget of 30 % of fixed fast's
dose; *published*: two thresholds, at their own settings and the best of a grid (*published_best*); *oracle*: knows
the events; *fixed_slow*, *fixed_fast*; and with as many frames as *ours*: *fixed_equal*, *random_equal*. A frame is a
dose: exposure and power are the same for all. `--images`: `configs/event_driven.yaml` on simulated mitochondria in
virtual time, with its model and policy; no stand-ins. `--latency`: the same live, from the end of the frame that tells
to the command carried out. Prints JSON.
``python tests/benchmarks/bench_event_driven.py [--seeds 20] [--hours 1] [--present 0.15] [--latency SECONDS]``
``python tests/benchmarks/bench_event_driven.py --seeds 0 --images 20 [--minutes 15] [--kinds fission fusion]``
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from judging.bench import rounded, say
from judging.event_driven import images
from judging.event_driven.days import Day
from judging.event_driven.figures import Figures, figures, most_inside, summary
from judging.event_driven.latency import trigger_latency
from judging.event_driven.rules import FAST_S, SLOW_S, Rule, fixed, oracle, ours, published, random_times, taken

from smartscope.doctor import machine

OPTIONS: dict[str, Any] = {"fast_at": 0.5, "slow_below": 0.35, "min_fast_s": 1.0}
GRID = [(upper, lower, frames) for upper in (0.5, 0.6, 0.7, 0.8) for lower in (0.2, 0.4) for frames in (4, 10, 40)]


def one(seed: int, seconds: float, present: float, noise: float) -> dict[str, Figures]:
    """All rules on one day."""
    day = Day.of(seed, seconds, present, noise)
    most = most_inside(day)
    rules: dict[str, Callable[[], Rule]] = {
        "ours": lambda: ours(day, None, OPTIONS),
        "ours_30": lambda: ours(day, 0.3, OPTIONS),
        "published": published,
        "oracle": lambda: oracle(day),
        "fixed_slow": lambda: fixed(SLOW_S),
        "fixed_fast": lambda: fixed(FAST_S),
        **{f"published {told}": lambda told=told: published(*told) for told in GRID},
    }
    found = {name: figures(day, taken(day, rule()), most) for name, rule in rules.items()}
    dose = found["ours"]["dose_share"]
    fast = (dose - FAST_S / SLOW_S) / (1 - FAST_S / SLOW_S)
    found["fixed_equal"] = figures(day, taken(day, fixed(FAST_S / dose)), most)
    found["random_equal"] = figures(day, taken(day, random_times(day, fast)), most)
    say(f"seed {seed}: {rounded({name: found[name] for name in ('ours', 'ours_30', 'published', 'oracle')})}")
    return found


def best_of_grid(runs: list[dict[str, Figures]]) -> dict[str, Any]:
    """Means with intervals of all rules; of the published rule's grid the best that costs no more than ours."""
    dose = np.mean([run["ours"]["dose_share"] for run in runs])
    grid = {
        name: np.mean([run[name]["inside_share"] for run in runs]) for name in runs[0] if name.startswith("published (")
    }
    cheap = [name for name in grid if np.mean([run[name]["dose_share"] for run in runs]) <= dose]
    best = max(cheap or grid, key=lambda name: grid[name])
    rows = summary(runs)
    return {
        "columns": ["mean", "low", "high"],
        "rules": {name: row for name, row in rows.items() if name not in grid} | {"published_best": rows[best]},
        "published_best": best,
        "within_dose_of_ours": bool(cheap),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--present", type=float, default=0.15, help="part of the time that holds an event")
    parser.add_argument("--noise", type=float, default=0.2, help="of the detector's signal, which is 1 in an event")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="live run in the simulated microscope"
    )
    parser.add_argument("--images", type=int, default=0, metavar="SEEDS", help="runs on simulated mitochondria")
    parser.add_argument("--minutes", type=float, default=15.0, help="of each run on images")
    parser.add_argument("--kinds", nargs="+", choices=("fission", "fusion"), default=["fission"])
    told = parser.parse_args()
    seeds, began = range(told.first_seed, told.first_seed + told.seeds), time.process_time()
    found: dict[str, Any] = {"machine": machine(), "seeds": [seeds.start, seeds.stop - 1], "noise": told.noise}
    if told.seeds:
        runs = [one(seed, told.hours * 3600, told.present, told.noise) for seed in seeds]
        found |= {"hours": told.hours, "present": told.present, **best_of_grid(runs)}
    if told.images:
        seen = [images.one(told.first_seed + k, told.minutes, told.kinds) for k in range(told.images)]
        found["images"] = {"seeds": told.images, "minutes": told.minutes, "kinds": told.kinds, "rules": summary(seen)}
    if told.latency:
        found["latency"] = trigger_latency(told.latency)
    print(json.dumps(rounded({**found, "cpu_s": time.process_time() - began}), indent=1))


if __name__ == "__main__":
    main()

"""Events caught per dose and per minute on an overview: the policy against raster, random, greedy and an oracle.

36 fields, one in eight lively (`judging/overview/fields.py`). *ours*: the policy `overview`; *greedy*: the same with no
boldness; *raster*: one field after the other; *random*; *oracle*: knows who is lively now and stays. Prints JSON.
``python tests/benchmarks/bench_overview.py [--seeds 20] [--minutes 20] [--lively 300]``
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from judging.bench import rounded, say
from judging.overview.fields import QUIET_RATE, SETTLE_S, STAGE_UM_S, Fields, visiting, watched

from smartscope.doctor import machine
from smartscope.policies.overview import OverviewPolicy

SIDE, SPACING_UM = 6, 50.0
RESAMPLED = 2000


def one(seed: int, seconds: float, lively_s: float) -> dict[str, dict[str, float]]:
    """All rules on the same fields."""
    fields = Fields(SIDE**2, seconds, lively_s, seed)
    known: dict[str, Any] = {
        "columns": SIDE, "rows": SIDE, "spacing_um": SPACING_UM, "counts": "figure", "figure": "count",
        "prior_rate": 3 * QUIET_RATE, "prior_s": 2.0, "forget_s": lively_s, "stage_um_per_s": STAGE_UM_S,
        "settle_s": SETTLE_S,
    }  # fmt: skip
    ours, greedy = OverviewPolicy(**known), OverviewPolicy(**known, boldness=0.0)
    rng = np.random.default_rng((seed, 3))
    rules = {
        "ours": (ours, ours.decide),
        "greedy": (greedy, greedy.decide),
        "raster": (ours, visiting(ours, lambda visit, t_s: visit % SIDE**2)),
        "random": (ours, visiting(ours, lambda visit, t_s: int(rng.integers(SIDE**2)))),
        "oracle": (ours, visiting(ours, lambda visit, t_s: max(range(SIDE**2), key=lambda k: fields.rate(k, t_s)))),
    }
    found = {name: watched(fields, policy, decide) for name, (policy, decide) in rules.items()}
    say(f"seed {seed}: {rounded({name: row['events_per_1000_frames'] for name, row in found.items()})}")
    return found


def summary(runs: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Means with 95 % intervals (bootstrap over seeds), and events per frame over those of raster."""
    drawn = np.random.default_rng(0).integers(0, len(runs), (RESAMPLED, len(runs)))
    raster = np.array([run["raster"]["events_per_1000_frames"] for run in runs])
    rows: dict[str, Any] = {}
    for name in runs[0]:
        table = {key: np.array([run[name][key] for run in runs]) for key in runs[0][name]}
        rows[name] = {key: _with_interval(v.mean(), v[drawn].mean(1)) for key, v in table.items()}
        mine = table["events_per_1000_frames"]
        rows[name]["over_raster"] = _with_interval(
            mine.mean() / raster.mean(), mine[drawn].mean(1) / raster[drawn].mean(1)
        )
    return rows


def _with_interval(mean: Any, resampled: Any) -> list[float]:
    return [float(mean), *(float(p) for p in np.percentile(resampled, [2.5, 97.5]))]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument(
        "--lively", type=float, default=300.0, help="seconds for which a field stays lively, on average"
    )
    told = parser.parse_args()
    seeds, began = range(told.first_seed, told.first_seed + told.seeds), time.process_time()
    runs = [one(seed, 60 * told.minutes, told.lively) for seed in seeds]
    found = {
        "machine": machine(),
        "seeds": [seeds.start, seeds.stop - 1],
        "minutes": told.minutes,
        "lively_s": told.lively,
        "columns": ["mean", "low", "high"],
        "rules": summary(runs),
        "cpu_s": time.process_time() - began,
    }
    print(json.dumps(rounded(found), indent=1))


if __name__ == "__main__":
    main()

"""The laws of activation alone, on molecules as counts: the plant and the figures of the published comparison.

A dark pool of 120,000 molecules, 20 ms frames, 60 to be held for 250 s while the pool depletes; counts are nine in ten
of those in view, divided by 0.9. *ours*: the policy. *htsmlm_frame*: the published law on the count of each frame at
its own pace (140 ms); *htsmlm_mean*: on the mean of 50 frames once a second; both with gains 0.2 and 0.4. *fixed*: the
mean power of ours. *failing*: ours, with a counter that fails after half of the time, in each of five ways. Seconds of
CPU time per run; the whole loop on pictures is ``bench_activation.py``. Prints JSON.
``PYTHONPATH=tests python tests/benchmarks/bench_activation_plant.py [--seeds 5] [--duration 250]``
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from activation_plant import FRAME_S, LIGHT, Driven, Plant, drive
from judging.activation.failing import WAYS
from judging.activation.figures import after_failure, held
from judging.activation.rivals import PulseLaw
from judging.activation.witness import Diary

from smartscope.doctor import machine
from smartscope.policies.activation import ActivationPolicy
from smartscope.ports import Choice, Context

TARGET, START_MW = 60.0, 10.0


class Fixed:
    """Leaves the light as it is."""

    reads: frozenset[str] = frozenset()

    def decide(self, context: Context) -> Choice:
        """Nothing."""
        return Choice()


def as_diary(driven: Driven) -> Diary:
    """What the figures are made from."""
    frames = len(driven.visible)
    return Diary(
        t_s=[k * FRAME_S for k in range(frames)],
        active=driven.visible.tolist(),
        plain=driven.visible.tolist(),
        counted=[float("nan")] * frames,
        found=[0] * frames,
        right=[0] * frames,
        power_mw=driven.power_mw.tolist(),
        visits=driven.plant.activated,
    )


def arms(seed: int, duration_s: float) -> dict[str, Any]:
    """All laws on one plant."""

    def ours() -> ActivationPolicy:
        return ActivationPolicy(LIGHT, target_emitters=TARGET)

    lent = {"light": LIGHT, "n0": TARGET, "reads_figure": "emitters", "mw_per_unit": 1.0}
    laws: dict[str, Any] = {"ours": ours()}
    for gain in (0.2, 0.4):
        laws[f"htsmlm_frame_{gain:g}"] = PulseLaw(**lent, feedback=gain)
        laws[f"htsmlm_mean_{gain:g}"] = PulseLaw(**lent, feedback=gain, every_s=1.0, frames=50)
    runs = {name: drive(law, duration_s, Plant(seed), start_mw=START_MW) for name, law in laws.items()}
    runs["fixed"] = drive(Fixed(), duration_s, Plant(seed), start_mw=float(runs["ours"].power_mw.mean()))
    found = {name: held(as_diary(run), TARGET) for name, run in runs.items()}
    half_s = duration_s / 2
    for name, way in WAYS.items():
        rng = np.random.default_rng(seed)
        failing = drive(
            ours(),
            duration_s,
            Plant(seed),
            start_mw=START_MW,
            breaks=lambda t_s, figures, plant, way=way, rng=rng: way(figures, rng),
            breaks_at_s=half_s,
        )
        found[f"failing_{name}"] = after_failure(as_diary(failing), half_s, TARGET)
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=101)
    parser.add_argument("--duration", type=float, default=250.0)
    told = parser.parse_args()
    runs = [
        {"seed": seed, **arms(seed, told.duration)} for seed in range(told.first_seed, told.first_seed + told.seeds)
    ]
    wanted = {
        "held": ("settled_s", "peak", "rms", "blinking_bound", "mean_active", "power_mw_mean"),
        "failing": ("highest_power_over_before", "highest_density_over_target", "density_over_target_end"),
    }
    summary = {
        law: {name: [run[law][name] for run in runs] for name in wanted["failing" if "failing" in law else "held"]}
        for law in runs[0]
        if law != "seed"
    }
    print(json.dumps({"machine": machine(), "duration_s": told.duration, "summary": summary, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()

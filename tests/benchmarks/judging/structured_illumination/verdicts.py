"""Is the verdict right? Many stacks from almost no light to plenty: what was said beside what was gained.

After ``fail`` widefield is shown, whose gain is 1, so that giving up too early would always seem right. What the plain
method and the oracle gain on the same stack tells.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from judging.bench import say
from judging.figures import Row, spread

from .bench import Bench
from .candidates import ORACLE, REFERENCE, Ours, Reference
from .stacks import Scene, Stack, made_folder, simulated

DIMMEST_E, BRIGHTEST_E = 5.0, 2000.0
OWN_SEEDS = 10_000
"""Added to the first seed, so that no stack of another section comes again."""
WORTH = 1.2
"""Gain from which the evaluator expects ``ok``."""
STATES = ("ok", "weak", "fail")
OTHERS = {label: f"gain_of_{label}" for label in (REFERENCE, ORACLE)}


def verdicts(bench: Bench) -> dict[str, Any]:
    """Levels of light are drawn evenly on a logarithmic scale."""
    first = bench.seeds[0] + OWN_SEEDS
    levels = np.exp(np.random.default_rng(first).uniform(np.log(DIMMEST_E), np.log(BRIGHTEST_E), bench.verdicts))
    scenes = [Scene(bench.sizes[0], round(float(level), 1), first + k) for k, level in enumerate(levels)]
    rows = [_judged(bench, scene) for scene in scenes]
    return {"rows": rows, **told(rows)}


def _judged(bench: Bench, scene: Scene) -> Row:
    say(f"verdict: {scene.row()}")
    with simulated(bench.evaluator, scene) as stack, made_folder() as out:
        Ours().reconstruct(stack, out)
        found = stack.score(out)
        why = json.loads((out / "report.json").read_text())["why"]
        others = _others(bench, stack) if found["verdict"] == "fail" else dict.fromkeys(OTHERS.values())
    kept = ("verdict", "verdict_fits", "gain", "correlation", "widefield_correlation")
    return {**scene.row(), **{figure: found[figure] for figure in kept}, **others, "why": why}


def _others(bench: Bench, stack: Stack) -> Row:
    """Their gain."""
    gains = {}
    for label, figure in OTHERS.items():
        with made_folder() as out:
            Reference(bench.evaluator, label).reconstruct(stack, out)
            gains[figure] = stack.score(out)["gain"]
    return gains


def told(rows: Sequence[Row]) -> Row:
    """Share of verdicts that fit, the table behind it, and what is shown after ``fail``."""
    confusion = [
        {
            "verdict": state,
            "worth_it": sum(row["verdict"] == state and row["gain"] >= WORTH for row in rows),
            "not_worth_it": sum(row["verdict"] == state and row["gain"] < WORTH for row in rows),
        }
        for state in STATES
    ]
    fitting = sum(row["verdict_fits"] for row in rows)
    exact = binomtest(fitting, len(rows)).proportion_ci()  # Clopper and Pearson: resampling sees no doubt in 60 of 60
    failed = [row for row in rows if row["verdict"] == "fail"]
    better = [row["correlation"] - row["widefield_correlation"] for row in failed]
    return {
        "stacks": len(rows),
        "fits": fitting / len(rows),
        "fits_interval_95": [float(exact.low), float(exact.high)],
        "confusion": confusion,
        "correlation_minus_widefields_at_fail": spread(better) if better else None,
        "given_up_though_gained": {
            label: sum(row[figure] >= WORTH for row in failed) for label, figure in OTHERS.items()
        },
    }

"""Is the verdict right? Many stacks from almost no light to plenty: what was said beside what was gained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from judging.bench import say
from judging.figures import Row, interval, spread

from .bench import Bench
from .candidates import Ours
from .stacks import Scene, made_folder, simulated

DIMMEST_E, BRIGHTEST_E = 5.0, 2000.0
OWN_SEEDS = 10_000
"""Added to the first seed, so that no stack of another section comes again."""
WORTH = 1.2
"""Gain from which the evaluator expects ``ok``."""
STATES = ("ok", "weak", "fail")


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
    kept = ("verdict", "verdict_fits", "gain", "correlation", "widefield_correlation")
    return {**scene.row(), **{figure: found[figure] for figure in kept}, "why": why}


def told(rows: Sequence[Row]) -> Row:
    """Share of verdicts that fit, the table behind it, and what is shown after ``fail``."""
    fits = [float(row["verdict_fits"]) for row in rows]
    confusion = [
        {
            "verdict": state,
            "worth_it": sum(row["verdict"] == state and row["gain"] >= WORTH for row in rows),
            "not_worth_it": sum(row["verdict"] == state and row["gain"] < WORTH for row in rows),
        }
        for state in STATES
    ]
    failed = [row["correlation"] - row["widefield_correlation"] for row in rows if row["verdict"] == "fail"]
    return {
        "stacks": len(rows),
        "fits": sum(fits) / len(fits),
        "fits_interval_95": interval(fits),
        "confusion": confusion,
        "correlation_minus_widefields_at_fail": spread(failed) if failed else None,
    }

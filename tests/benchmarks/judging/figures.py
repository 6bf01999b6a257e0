"""Many numbers made one: means, and how sure one is of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

DRAWS = 10_000
Row = dict[str, Any]


def interval(values: Sequence[float], level: float = 0.95) -> list[float]:
    """Percentile bootstrap interval of the mean (Efron, Ann Stat 7:1, 1979), the same at every call."""
    sample = np.asarray(values, float)
    drawn = np.random.default_rng(0).integers(0, len(sample), (DRAWS, len(sample)))
    low, high = np.quantile(sample[drawn].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return [round(float(low), 4), round(float(high), 4)]


def spread(values: Sequence[float]) -> Row:
    """Mean with its interval, least and most."""
    sample = np.asarray(values, float)
    ends = {"least": round(float(sample.min()), 4), "most": round(float(sample.max()), 4)}
    return {"n": len(sample), "mean": round(float(sample.mean()), 4), "interval_95": interval(values), **ends}


def times(wall_ms: Sequence[float], cpu_ms: Sequence[float]) -> Row:
    """Median and 99th percentile of wall time, mean of processor time."""
    median, p99 = np.percentile(wall_ms, [50, 99])
    named = {"median_ms": median, "p99_ms": p99, "cpu_ms_per_frame": np.mean(cpu_ms)}
    return {name: round(float(value), 3) for name, value in named.items()} | {"frames": len(wall_ms)}


def groups(rows: Iterable[Row], keys: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows of equal values in ``keys``, in order of appearance."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def paired(rows: Iterable[Row], keys: Sequence[str], figure: str, model: str, against: str) -> list[Row]:
    """``model`` minus ``against`` in ``figure``, seed by seed, for each group of rows."""
    answers = []
    for names, group in groups(rows, keys).items():
        mine, theirs = (_by_seed(group, who, figure) for who in (model, against))
        differences = [mine[seed] - theirs[seed] for seed in mine if seed in theirs]
        if differences:
            cell = dict(zip(keys, names, strict=True))
            answers.append({**cell, "model": model, "against": against, "figure": figure, **spread(differences)})
    return answers


def _by_seed(rows: Iterable[Row], model: str, figure: str) -> dict[Any, float]:
    return {row["seed"]: row[figure] for row in rows if row["model"] == model}

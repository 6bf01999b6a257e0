"""What a run's frames are worth: how many lie within events, at which dose, how long until each event is seen fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .days import EVENT_S, Day
from .rules import FAST_S, fixed, taken

Times = npt.NDArray[np.float64]
Figures = dict[str, float]


def most_inside(day: Day) -> int:
    """Frames inside events of fixed fast."""
    return sum(day.happens(t_s) for t_s in taken(day, fixed(FAST_S)))


def figures(day: Day, times: Times, most: int) -> Figures:
    """Of the frames at ``times`` (N,), s, in order; ``most``: frames inside events of fixed fast."""
    onsets = np.array(day.onsets)
    event = np.searchsorted(onsets, times, side="right") - 1
    inside = (event >= 0) & (times < onsets[event] + EVENT_S)
    close = inside[1:] & inside[:-1] & (np.diff(times) < 1.5 * FAST_S) & (event[1:] == event[:-1])
    delays = [
        float(times[1:][close & (event[1:] == k)].min(initial=onset + EVENT_S) - onset)
        for k, onset in enumerate(onsets)
    ]
    return {
        "inside_share": float(inside.sum()) / most,
        "dose_share": len(times) * FAST_S / day.seconds,
        "caught_share": float(np.mean(np.array(delays) < EVENT_S - FAST_S)),
        "delay_s_median": float(np.median(delays)),
    }


def summary(runs: list[dict[str, Figures]], resampled: int = 2000) -> dict[str, dict[str, Any]]:
    """Rule -> figure -> mean over seeds with its 95 % interval (bootstrap)."""
    drawn = np.random.default_rng(0).integers(0, len(runs), (resampled, len(runs)))
    rows: dict[str, dict[str, Any]] = {}
    for name in runs[0]:
        table = {key: np.array([run[name][key] for run in runs]) for key in runs[0][name]}
        rows[name] = {
            key: [float(v.mean()), *(float(p) for p in np.percentile(v[drawn].mean(1), [2.5, 97.5]))]
            for key, v in table.items()
        }
    return rows

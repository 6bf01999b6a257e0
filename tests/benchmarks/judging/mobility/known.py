"""Other lengths, noise, blur and gaps than the evaluator's, on a simulation of our own with finer steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from mobility_tracks import Motion, Sight, fractional, simulated

from smartscope_models.mobility.table import CLASSES, Mobility
from smartscope_models.mobility.whole import Conditions, whole_tracks

PLAIN = Sight()
DIFFUSION = 0.1
CASES: dict[str, tuple[int, Sight, float]] = {
    "plain: 100 frames, 30 nm, exposure 0.8, 5 % missing": (100, PLAIN, 1.0),
    "no blur": (100, replace(PLAIN, exposure=0.0), 1.0),
    "exposure as long as the interval": (100, replace(PLAIN, exposure=1.0), 1.0),
    "noise 10 nm": (100, replace(PLAIN, noise_um=0.01), 1.0),
    "noise 60 nm": (100, replace(PLAIN, noise_um=0.06), 1.0),
    "noise 100 nm": (100, replace(PLAIN, noise_um=0.1), 1.0),
    "noise told 1.3 times too high": (100, PLAIN, 1.3),
    "noise told 1.3 times too low": (100, PLAIN, 1 / 1.3),
    "30 % missing": (100, replace(PLAIN, missing=0.3), 1.0),
    "30 frames": (30, PLAIN, 1.0),
    "50 frames": (50, PLAIN, 1.0),
    "300 frames": (300, PLAIN, 1.0),
    "1000 frames": (1000, PLAIN, 1.0),
}
"""Name → frames, how they are seen, and the noise told over the true one."""


def motions(sight: Sight) -> dict[str, list[Motion]]:
    """Radii of 1, 2, 4 and speeds of 0.25, 0.5, 1 root mean square steps, each class with as many tracks."""
    step = float(np.sqrt(4 * DIFFUSION * sight.interval_s))
    return {
        "confined": [Motion(DIFFUSION, radius=r * step) for r in (1, 2, 4)],
        "brownian": [Motion(DIFFUSION)] * 3,
        "directed": [Motion(DIFFUSION, speed=v * step / sight.interval_s) for v in (0.25, 0.5, 1)],
    }


def known(seeds: Sequence[int], tracks: int) -> dict[str, Any]:
    """By case and class: median ratio of D, factor of 68 %, share within one error, recall."""
    return {name: _case(frames, sight, told, seeds, tracks) for name, (frames, sight, told) in CASES.items()}


def _case(frames: int, sight: Sight, told: float, seeds: Sequence[int], tracks: int) -> dict[str, Any]:
    taken = Conditions(sight.interval_s, sight.exposure * sight.interval_s, told * sight.noise_um)
    out = {}
    for kind, ways in motions(sight).items():
        found = []
        for seed in seeds:
            for k, motion in enumerate(ways):
                table = simulated(motion, tracks, frames, sight, 10 * seed + k)
                found.append(whole_tracks(table.track_id, table.times_s(sight), table.x_um, table.y_um, taken))
        out[kind] = _figures(found, CLASSES.index(kind))
    return out


def _figures(found: Sequence[Mobility], kind: int) -> dict[str, float]:
    diffusion = np.concatenate([one.diffusion_um2_s for one in found])
    error = np.concatenate([one.diffusion_error_um2_s for one in found]) / diffusion
    ratio = np.log(diffusion / DIFFUSION)
    return {
        "d_ratio": float(np.exp(np.median(ratio))),
        "d_factor_68": float(np.exp(np.quantile(np.abs(ratio), 0.68))),
        "within_one_error": float(np.mean(np.abs(ratio) < error)),
        "recall": float(np.mean(np.concatenate([one.kind for one in found]) == kind)),
    }


def calibration(seeds: Sequence[int], tracks: int) -> list[dict[str, float]]:
    """Of tracks with motions drawn from the priors: how often the class is right, by how sure it was."""
    right, sure = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        for k in range(tracks):
            motion, kind = _drawn(rng, 100)
            table = simulated(motion, 1, 100, PLAIN, 1000 * seed + k)
            taken = Conditions(PLAIN.interval_s, PLAIN.exposure * PLAIN.interval_s, PLAIN.noise_um)
            found = whole_tracks(table.track_id, table.times_s(PLAIN), table.x_um, table.y_um, taken)
            right.append(found.kind[0] == kind)
            sure.append(found.confidence[0])
    edges, hits, told = (0.33, 0.5, 0.65, 0.8, 0.95, 1.001), np.array(right), np.array(sure)
    bins = [(told >= low) & (told < high) for low, high in pairwise(edges)]
    return [
        {"confidence": float(told[b].mean()), "right": float(hits[b].mean()), "tracks": int(b.sum())}
        for b in bins
        if b.any()
    ]


def _drawn(rng: np.random.Generator, frames: int) -> tuple[Motion, int]:
    """A motion as the priors have it: D from 0.02 to 0.5 um²/s, all else as ``verdict`` and ``fit`` state."""
    diffusion, kind = 10 ** rng.uniform(-1.7, -0.3), int(rng.integers(3))
    step = np.sqrt(2 * diffusion * PLAIN.interval_s)
    if kind == CLASSES.index("confined"):
        relaxation = np.exp(rng.uniform(0, np.log(frames / 8)))
        return Motion(diffusion, radius=float(step * np.sqrt(3.39 / 2 * relaxation))), kind
    if kind == CLASSES.index("directed"):
        drift = rng.choice([0.03, 0.1, 0.3, 1.0, 3.0]) * np.hypot(*rng.normal(size=2))
        return Motion(diffusion, speed=float(drift * step / PLAIN.interval_s)), kind
    return Motion(diffusion), kind


def anomalous(seed: int, tracks: int) -> dict[str, dict[str, float]]:
    """Fractional Brownian motion, which is none of the classes: both exponents, medians."""
    out, sight = {}, replace(PLAIN, exposure=0.0)
    for alpha in (0.4, 0.7, 0.9, 1.3, 1.6):
        table = fractional(alpha, tracks, 200, sight, seed)
        taken = Conditions(sight.interval_s, 0.0, sight.noise_um)
        found = whole_tracks(table.track_id, table.times_s(sight), table.x_um, table.y_um, taken)
        measured = found.alpha_measured
        out[f"{alpha}"] = {
            "alpha": float(np.median(found.alpha)),
            "alpha_measured": float(np.nanmedian(measured)),
            "mae": float(np.mean(np.abs(found.alpha - alpha))),
            "mae_measured": float(np.nanmean(np.abs(measured - alpha))),
        }
    return out

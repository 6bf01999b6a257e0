"""Molecules on their own, against the Cramér–Rao bound: precision, honesty of the stated errors, bias, gridding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from judging.figures import Row

from .bench import Bench
from .movies import Doubles, Movie, Scene, isolated_frames, read_columns

PAIRED_NM = 250.0
DRAWS = 2000
KEPT = (
    "jaccard", "counted_truth", "crlb_ratio", "crlb_ratio_axial", "uncertainty_calibration",
    "uncertainty_calibration_robust", "photon_bias_percent", "bias_x_nm", "bias_y_nm", "bias_z_nm",
    "pixel_phase_chi2_p", "pixel_phase_bias_nm", "rmse_lateral_nm", "rmse_axial_nm", "efficiency", "efficiency_3d",
    "interval_95", "cpu_ms", "box_px", "gradient",
)  # fmt: skip


def isolated(bench: Bench) -> dict[str, Any]:
    """All levels of light on the first seed: one movie holds all emitters of a level."""
    return {"rows": rows(bench, bench.photons, "gaussian")}


def rows(bench: Bench, photons: list[float] | tuple[float, ...] | Any, psf: str) -> list[Row]:
    """One for each level and tool."""
    frames = isolated_frames(bench.emitters)
    scenes = [Scene(bench.seeds[0], frames=frames, photons=level, psf=psf) for level in photons]
    judged = bench.rows(scenes, extra=own_figures)
    levels = [level for level in photons for _ in range(len(judged) // max(len(scenes), 1))]
    told = [{"photons": level, "model": row["model"], **row} for level, row in zip(levels, judged, strict=True)]
    own = ("ratio", "ratio_interval_95", "stated_over_limit", "calibration", "calibration_interval_95", "outliers")
    return [{key: row.get(key) for key in ("photons", "model", "seed", *KEPT, *own)} for row in told]


def own_figures(movie: Movie, out: Path) -> Row:
    """What the evaluator does not give an interval for; resampled over molecules, whose errors are independent."""
    error, limit, stated = paired_with_truth(movie, out)
    if not len(error):
        return {}
    relative = error / limit
    ratio, between = resampled(lambda draw: float(np.sqrt(np.mean(relative[draw] ** 2))), len(error))
    found: Row = {"ratio": ratio, "ratio_interval_95": between}
    found["outliers"] = int(np.sum(np.abs(relative).max(1) > 5))
    if stated is not None:
        honest = error / stated[:, None]
        found["stated_over_limit"] = float(np.median(stated / np.sqrt(np.mean(limit**2, axis=1))))
        value, ends = resampled(lambda draw: float(np.std(honest[draw])), len(error))
        found |= {"calibration": value, "calibration_interval_95": ends}
    return found


def paired_with_truth(movie: Movie, out: Path) -> tuple[Doubles, Doubles, Doubles | None]:
    """(N, 2) errors and bounds along x and y, (N,) stated errors, nm, of the molecules that were found."""
    truth, found = movie.truth(), read_columns(out)
    first = 0 if (found["frame"] == 0).any() else found["frame"].min(initial=1) // 1
    far = 1e7  # so that frames do not meet
    places = np.column_stack([truth["x_nm"], truth["y_nm"], far * truth["frame"]])
    seen = np.column_stack([found["x [nm]"], found["y [nm]"], far * (found["frame"] - min(first, 1))])
    if not len(seen):
        return np.empty((0, 2)), np.empty((0, 2)), None
    distance, nearest = cKDTree(seen).query(places)
    good = distance <= PAIRED_NM
    error = (seen[nearest] - places)[good, :2]
    limit = np.column_stack([truth["crlb_x_nm"], truth["crlb_y_nm"]])[good]
    stated = found.get("uncertainty_xy [nm]")
    return error, limit, None if stated is None else stated[nearest][good]


def resampled(statistic: Callable[[Any], float], number: int) -> tuple[float, list[float]]:
    """Of all, and the percentile bootstrap's 95 % (Efron, Ann Stat 7:1, 1979)."""
    rng = np.random.default_rng(0)
    draws = [statistic(rng.integers(0, number, number)) for _ in range(DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return statistic(slice(None)), [float(low), float(high)]

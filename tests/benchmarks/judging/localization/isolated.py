"""Molecules on their own, against the Cramér–Rao bound: precision, honesty of the stated errors, bias, gridding."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from judging.bench import say
from judging.figures import Row

from .bench import Bench
from .candidates import Candidate
from .movies import Doubles, Movie, Scene, isolated_frames, read_columns, simulated

PAIRED_NM = 250.0
APART_NM = 1e7
"""Between frames, so that they do not meet."""
DRAWS = 2000
KEPT = (
    "model", "seed", "jaccard", "counted_truth", "crlb_ratio", "crlb_ratio_axial", "uncertainty_calibration",
    "uncertainty_calibration_robust", "photon_bias_percent", "bias_x_nm", "bias_y_nm", "bias_z_nm",
    "pixel_phase_chi2_p", "pixel_phase_bias_nm", "rmse_lateral_nm", "rmse_axial_nm", "efficiency", "efficiency_3d",
    "interval_95", "ratio", "ratio_interval_95", "stated_over_limit", "calibration", "calibration_interval_95",
    "outliers", "not_stated", "cpu_ms", "box_px", "gradient",
)  # fmt: skip


def isolated(bench: Bench) -> dict[str, Any]:
    """All levels of light on the first seed, whose movie holds all emitters of a level; and ours over all seeds."""
    return {"rows": levels(bench, bench.photons, "gaussian"), "pooled": pooled(bench)}


def pooled(bench: Bench) -> list[Row]:
    """Ours at each level of light, all seeds together: narrower intervals than one movie bears."""
    rows, frames = [], isolated_frames(bench.emitters)
    for ours in bench.ours:
        for level in bench.photons:
            parts = [_of(bench, ours, Scene(seed, frames=frames, photons=level)) for seed in bench.seeds]
            relative, honest = (np.concatenate(side) for side in zip(*parts, strict=True))
            ratio, between = resampled(_root_mean_square(relative), len(relative))
            told, told_between = resampled(_root_mean_square(honest), len(honest))
            row = {"photons": level, "model": ours.label, "molecules": len(relative)}
            rows.append(
                {**row, "ratio": ratio, "ratio_interval_95": between}
                | {"calibration": told, "calibration_interval_95": told_between}
            )
    return rows


def _root_mean_square(values: Doubles) -> Callable[[Any], float]:
    return lambda draw: float(np.sqrt(np.mean(values[draw] ** 2)))


def _of(bench: Bench, ours: Candidate, scene: Scene) -> tuple[Doubles, Doubles]:
    """(N, 2) errors over the bound and over the stated error, of one movie."""
    with simulated(bench.evaluator, scene) as movie, tempfile.TemporaryDirectory() as folder:
        say(f"{scene.row()} {ours.label}, all seeds")
        out = Path(folder) / "found.csv"
        ours.localize(movie, out)
        error, limit, stated = paired_with_truth(movie, out)
    assert stated is not None
    return error / limit, error / stated[:, None]


def levels(bench: Bench, photons: Sequence[float], psf: str) -> list[Row]:
    """A row for each level and tool."""
    frames = isolated_frames(bench.emitters)
    scenes = [Scene(bench.seeds[0], frames=frames, photons=level, psf=psf) for level in photons]
    judged = bench.rows(scenes, extra=own_figures)
    return [{"photons": row.get("photons", Scene(0).photons), **{key: row.get(key) for key in KEPT}} for row in judged]


def own_figures(movie: Movie, out: Path) -> Row:
    """What the evaluator does not give an interval for; resampled over molecules, whose errors are independent."""
    error, limit, stated = paired_with_truth(movie, out)
    if not len(error):
        return {}
    relative = error / limit
    ratio, between = resampled(lambda draw: float(np.sqrt(np.mean(relative[draw] ** 2))), len(error))
    found: Row = {"ratio": ratio, "ratio_interval_95": between}
    found["outliers"] = int(np.sum(np.abs(relative).max(1) > 5))
    told = np.zeros(len(error), bool) if stated is None else np.isfinite(stated) & (stated > 0)
    if stated is not None and told.any():
        honest = (error / stated[:, None])[told]
        found["stated_over_limit"] = float(np.median((stated / np.sqrt(np.mean(limit**2, axis=1)))[told]))
        value, ends = resampled(lambda draw: float(np.std(honest[draw])), len(honest))
        found |= {"calibration": value, "calibration_interval_95": ends, "not_stated": int(np.sum(~told))}
    return found


def paired_with_truth(movie: Movie, out: Path) -> tuple[Doubles, Doubles, Doubles | None]:
    """(N, 2) errors and bounds along x and y, (N,) stated errors, nm, of the molecules that were found."""
    truth, found = movie.truth(), read_columns(out)
    if not len(found["frame"]):
        return np.empty((0, 2)), np.empty((0, 2)), None
    frame = found["frame"] - (found["frame"].min() > 0)  # lists may count from 1
    places = np.column_stack([truth["x_nm"], truth["y_nm"], APART_NM * truth["frame"]])
    seen = np.column_stack([found["x [nm]"], found["y [nm]"], APART_NM * frame])
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

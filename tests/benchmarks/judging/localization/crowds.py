"""Molecules in crowds: efficiency and all that it is made of, everybody on the same movies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from judging.figures import Row

from .bench import Bench, differences, families, summary
from .candidates import Candidate
from .isolated import levels
from .movies import Movie, Scene

FIGURES = (
    "efficiency", "jaccard", "precision", "recall", "rmse_lateral_nm", "median_error_nm",
    "uncertainty_calibration_robust", "crlb_ratio", "photon_bias_percent", "pixel_phase_chi2_p", "pixel_phase_bias_nm",
    "pixel_phase_histogram_p", "rmse_axial_nm", "efficiency_axial", "efficiency_3d", "crlb_ratio_axial", "cpu_ms",
    "localizer",
)  # fmt: skip
COMPARED = ("efficiency", "jaccard", "rmse_lateral_nm", "median_error_nm", "efficiency_3d")
Section = dict[str, Any]


def crowds(bench: Bench) -> Section:
    """All densities and seeds."""
    return judged(bench, crowded(bench), ("density",))


def crowded(bench: Bench) -> list[Scene]:
    """Flat scenes as told."""
    return [Scene(seed, density, bench.frames) for density, seed in product(bench.densities, bench.seeds)]


def judged(
    bench: Bench,
    scenes: Sequence[Scene],
    keys: Sequence[str],
    candidates: Sequence[Candidate] | None = None,
) -> Section:
    """Rows, medians over seeds, and paired differences; of everybody or of ``candidates``, the first of them ours."""
    rows = bench.rows(scenes, candidates=candidates)
    return compared(rows, keys, bench.ours if candidates is None else candidates[:1])


def compared(rows: Sequence[Row], keys: Sequence[str], ours: Sequence[Candidate]) -> Section:
    """The same of rows."""
    kept = [{key: row.get(key) for key in (*keys, "seed", "model", *FIGURES, "interval_95")} for row in rows]
    told = {"rows": kept, "summary": summary(kept, keys, FIGURES)}
    return {**told, "families": families(kept, keys, "efficiency"), "paired": differences(kept, keys, COMPARED, ours)}


MISJUDGED: dict[str, Row] = {
    "as told": {},
    "spots 10 % wider": {"sigma_error": 0.1},
    "spots 10 % narrower": {"sigma_error": -0.1},
    "background 20 % more": {"background": 12.0},
    "background 20 % less": {"background": 8.0},
    "background uneven by 0.2": {"gradient": 0.2},
    "background uneven by 0.5": {"gradient": 0.5},
    "wider by 10 %, uneven by 0.5": {"sigma_error": 0.1, "gradient": 0.5},
    "brightness spread 0.6": {"photon_spread": 0.6},
    "brightness spread 1.0": {"photon_spread": 1.0},
}
"""What is not as ``camera.json`` says, or as usual."""


def mismatch(bench: Bench) -> Section:
    """The middle density where the microscope is not as it says; what is lost against the same seed where it is."""
    middle = sorted(bench.densities)[len(bench.densities) // 2]
    rows = []
    for name, other in MISJUDGED.items():
        scenes = [replace(Scene(seed, middle, bench.frames), **other) for seed in bench.seeds]
        rows += [{**row, "condition": name} for row in judged(bench, scenes, ("density",))["rows"]]
    keys = ("density", "condition")
    told = {"rows": rows, "summary": summary(rows, keys, FIGURES), "lost": lost(rows)}
    return {**told, "paired": differences(rows, keys, ("efficiency",), bench.ours)}


def lost(rows: Sequence[Row]) -> list[Row]:
    """Efficiency minus that of the same tool and seed where all is as told."""
    usual = {(row["model"], row["seed"]): row["efficiency"] for row in rows if row["condition"] == "as told"}
    changed = [row for row in rows if row["condition"] != "as told" and (row["model"], row["seed"]) in usual]
    moved = [{**row, "gained": row["efficiency"] - usual[row["model"], row["seed"]]} for row in changed]
    return summary(moved, ("condition",), ("gained",))


def markov(bench: Bench) -> Section:
    """Molecules that blink for parts of frames, on a camera with maps; with and without those under 100 photons."""
    kind = {"blinking": "markov", "maps": True, "quantum_efficiency": 0.8}
    middle = sorted(bench.densities)[len(bench.densities) // 2]
    scenes = [replace(Scene(seed, middle, bench.frames), **kind) for seed in bench.seeds]  # type: ignore[arg-type]
    block = ("--bootstrap-block", 20)

    def without_faint(movie: Movie, out: Path) -> Row:
        return {"bright": movie.score(out, *block, "--min-photons", 100)}

    rows = bench.rows(scenes, block, without_faint)
    bright = [{**row, **row["bright"]} for row in rows]
    named = {"every molecule": rows, "above 100 photons": bright}
    return {name: compared(some, ("density",), bench.ours) for name, some in named.items()}


def astigmatic(bench: Bench) -> Section:
    """Heights from the shape of the spot: on their own against the bound, and in crowds."""
    scenes = [
        Scene(seed, density, bench.frames, psf="astigmatic") for density, seed in product(bench.densities, bench.seeds)
    ]
    return {"isolated": levels(bench, (1000.0, 5000.0), "astigmatic"), **judged(bench, scenes, ("density",))}

"""Images judged against the truth: everybody on the same files, and what is ours minus what is theirs, seed by seed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from judging.bench import say
from judging.figures import Row, groups, paired, spread

from .bench import Bench
from .candidates import NETWORK, ORACLE, OURS, REFERENCE, WIDEFIELD
from .peer import Napari
from .stacks import Scene, made_folder, simulated

FIGURES = (
    "gain",
    "frc_resolution_nm",
    "truth_resolution_nm",
    "correlation",
    "correlation_equalised",
    "linearity_r2",
    "linearity_curvature_percent",
    "carrier_error_px",
    "phase_error_deg",
    "modulation_error_percent",
    "border_artefact_ratio",
    "energy_beyond_support",
)
COMPARED = (*FIGURES[:6], "border_artefact_ratio", "modulation_error_percent")
CELL = ("size", "electrons")


def quality(bench: Bench) -> dict[str, Any]:
    """All sizes, levels and seeds."""
    rows = []
    for size, electrons, seed in product(bench.sizes, bench.electrons, bench.seeds):
        with simulated(bench.evaluator, Scene(size, electrons, seed)) as stack:
            for candidate in bench.everybody:
                say(f"{stack.scene.row()} {candidate.label}")
                with made_folder() as out:
                    candidate.reconstruct(stack, out)
                    found = stack.score(out)
                kept = {figure: found.get(figure) for figure in (*FIGURES, "verdict", "verdict_fits")}
                rows.append({**stack.scene.row(), "model": candidate.label, **kept})
    return {"rows": rows, "summary": summary(rows), "paired": differences(rows)}


def summary(rows: Iterable[Row]) -> list[Row]:
    """Mean, least and most of every figure over the seeds; nothing where a tool does not tell."""
    answers = []
    for names, group in groups(rows, (*CELL, "model")).items():
        cell: Row = dict(zip((*CELL, "model"), names, strict=True))
        for figure in FIGURES:
            values = [row[figure] for row in group if row[figure] is not None]
            cell[figure] = spread(values) if values else None
        answers.append(cell)
    return answers


def differences(rows: Iterable[Row]) -> list[Row]:
    """Ours minus everybody else's on the same files, with bootstrap intervals over the seeds."""
    answers = []
    for figure in COMPARED:
        told = [row for row in rows if row[figure] is not None]
        for mine, rival in product((OURS, NETWORK), (ORACLE, REFERENCE, Napari.label, WIDEFIELD)):
            answers += paired(told, CELL, figure, mine, rival)
    return answers

"""What every section shares: the judge, who is judged, seeds, and how one movie is gone through by everybody."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from judging.bench import say
from judging.evaluator import Evaluator
from judging.figures import Row, groups, paired, spread

from .candidates import Candidate, Ours, PeakFinder
from .joint_bound import JointBound
from .movies import Movie, Scene, simulated
from .picasso_peer import BOXES_PX, CODES, USUAL_BOX_PX, PicassoProcess, TunedPicasso

Extra = Callable[[Movie, Path], Row]


@dataclass(frozen=True, slots=True)
class Bench:
    """The set-up of one call of the benchmark."""

    evaluator: Evaluator
    ours: Sequence[Ours]
    picasso: PicassoProcess | None
    seeds: Sequence[int]
    tuning_seed: int
    """Picasso's settings are found on it; nobody is judged on it."""
    densities: Sequence[float]
    photons: Sequence[float]
    frames: int
    emitters: int
    """Isolated ones for each level of light."""
    turns: int
    """Of the clock."""
    sizes: Sequence[int]
    """Pixels along each edge, for latency."""
    alone: Sequence[Candidate] = ()
    """Networks without what follows them, ours first."""

    def quick(self) -> Bench:
        """A taste of each section."""
        small = {"densities": self.densities[-2:-1], "photons": (1000.0,), "frames": 10, "emitters": 640}
        return replace(self, seeds=self.seeds[:1], turns=2, sizes=(64, 128), **small)  # type: ignore[arg-type]

    @property
    def rivals(self) -> list[Candidate]:
        """Everybody else, the bound last."""
        bounds = JointBound(), JointBound("joint bound, brightness told", brightness_told=True)
        return [*self._picassos(), PeakFinder(), *bounds]

    def _picassos(self) -> list[Candidate]:
        """Both methods with every setting tuned, and with its usual box."""
        if self.picasso is None:
            return []
        told = (self.picasso, self.evaluator)
        boxes = (BOXES_PX, (USUAL_BOX_PX,))
        return [TunedPicasso(*told, method, self.tuning_seed, some) for method, some in product(CODES, boxes)]

    @property
    def everybody(self) -> list[Candidate]:
        """Ours first."""
        return [*self.ours, *self.rivals]

    def rows(
        self,
        scenes: Iterable[Scene],
        options: Sequence[object] = (),
        extra: Extra | None = None,
        candidates: Sequence[Candidate] | None = None,
    ) -> list[Row]:
        """Everybody, or ``candidates``, on every scene; ``extra`` adds figures of a movie and a list."""
        rows, everybody = [], self.everybody if candidates is None else candidates
        for scene in scenes:
            with simulated(self.evaluator, scene) as movie, tempfile.TemporaryDirectory() as folder:
                for candidate in everybody:
                    say(f"{scene.row()} {candidate.label}")
                    out = Path(folder) / "found.csv"
                    cost = candidate.localize(movie, out)
                    figures = {**movie.score(out, *options), **(extra(movie, out) if extra else {}), **cost}
                    rows.append({**scene.row(), "model": candidate.label, **figures})
        return rows


def summary(rows: Sequence[Row], keys: Sequence[str], figures: Sequence[str]) -> list[Row]:
    """Median over the seeds with least, most and the mean's interval, of the figures that are told."""
    answers = []
    for names, group in groups(rows, (*keys, "model")).items():
        cell: Row = dict(zip((*keys, "model"), names, strict=True))
        for figure in figures:
            values = [float(row[figure]) for row in group if row.get(figure) is not None]
            cell[figure] = {"median": float(np.median(values)), **spread(values)} if values else None
        answers.append(cell)
    return answers


def families(rows: Sequence[Row], keys: Sequence[str], figure: str) -> list[Row]:
    """Models labelled NAME#1, NAME#2 … differ in the seed of their training: least and most of their means."""
    members = [{**row, "family": row["model"].split("#")[0]} for row in rows if "#" in row["model"]]
    answers = []
    for names, group in groups(members, (*keys, "family")).items():
        means = [float(np.mean([row[figure] for row in one])) for one in groups(group, ("model",)).values()]
        cell = dict(zip((*keys, "family"), names, strict=True))
        answers.append({**cell, "figure": figure, "members": len(means), "least": min(means), "most": max(means)})
    return answers


def differences(
    rows: Sequence[Row], keys: Sequence[str], figures: Sequence[str], ours: Sequence[Candidate]
) -> list[Row]:
    """Each of ours minus everybody else on the same movies, with bootstrap intervals over the seeds."""
    mine, answers = [candidate.label for candidate in ours], []
    pairs = [(one, other) for one in mine for other in dict.fromkeys(row["model"] for row in rows) if other != one]
    for figure in figures:
        told = [row for row in rows if row.get(figure) is not None]
        for one, other in pairs:
            answers += paired(told, keys, figure, one, other)
    return answers

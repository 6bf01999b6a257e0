"""What every section of the denoising benchmark shares: who is judged, on which seeds, where files lie meanwhile."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .candidates import Candidate, Ours, Peer
from .cases import Case, Scene
from .evaluator import Evaluator
from .figures import Row

Judge = Callable[[Case, Candidate], Row]
BASELINE = "bm3d"


@dataclass(frozen=True, slots=True)
class Bench:
    """The set-up of one call of the benchmark."""

    evaluator: Evaluator
    ours: Sequence[Ours]
    peers: Sequence[Peer]
    seeds: Sequence[int]
    electrons: Sequence[float]
    scenes: Sequence[str]
    size: int
    data: Path | None = None
    """Folder of the real pairs."""

    @property
    def everybody(self) -> list[Candidate]:
        """Peers first."""
        return [*self.peers, *self.ours]

    @property
    def quick_peers(self) -> list[Peer]:
        """Without those that take seconds a frame: for sections in which they are no rivals but zero lines."""
        return [peer for peer in self.peers if peer.label in ("identity", "gaussian")]

    @contextmanager
    def case(self, scene: Scene) -> Iterator[Case]:
        """A simulated movie, gone afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="smartscope-bench-"))
        try:
            yield Case(self.evaluator, folder, scene)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def rows(self, scenes: Sequence[Scene], judge: Judge, candidates: Sequence[Candidate] | None = None) -> list[Row]:
        """Every candidate on every scene; one line of progress each."""
        rows = []
        for scene in scenes:
            with self.case(scene) as case:
                for candidate in self.everybody if candidates is None else candidates:
                    say(f"{scene.row()} {candidate.label}")
                    rows.append({**scene.row(), "model": candidate.label, **judge(case, candidate)})
        return rows


def say(what: str) -> None:
    """Progress, beside the JSON."""
    print(what, file=sys.stderr, flush=True)


def rounded(value: Any, digits: int = 4) -> Any:
    """Floats of a tree, shortened."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    return round(value, digits) if isinstance(value, float) else value

"""What every section shares: the judge, the peer if it is there, seeds, sizes and levels of light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from judging.evaluator import Evaluator

from .candidates import ORACLE, REFERENCE, Candidate, Ours, Reference, Widefield, with_network
from .peer import Napari


@dataclass(frozen=True, slots=True)
class Bench:
    """The set-up of one call of the benchmark."""

    evaluator: Evaluator
    peer: Napari | None
    seeds: Sequence[int]
    sizes: Sequence[int]
    """Raw pixels along each edge."""
    electrons: Sequence[float]
    verdicts: int
    """Stacks in the section of that name."""
    growth: Sequence[int]
    """Sizes over which the growth of cost is measured."""
    turns: int
    """Of the clock; each runs everything three times."""
    data: str | None

    def quick(self) -> Bench:
        """One small stack for each section."""
        return replace(
            self, seeds=self.seeds[:1], sizes=(128,), electrons=(2000.0,), verdicts=1, growth=(64, 128), turns=1
        )

    @property
    def everybody(self) -> list[Candidate]:
        """Ours first."""
        rivals: list[Candidate] = [self.peer] if self.peer else []
        references = [Reference(self.evaluator, label) for label in (REFERENCE, ORACLE)]
        return [Ours(), with_network(), *references, *rivals, Widefield()]

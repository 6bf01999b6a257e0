"""Where a weighted band lands in the half-spectrum of the fine image: rectangles, worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Rows and columns to add to, and those of the band (in the order of a transform) that are added."""

    rows: Span
    columns: Span
    from_rows: Span
    from_columns: Span


def runs(source: Tensor, target: Tensor) -> list[tuple[Span, Span]]:
    """Pairs of spans in which source and target both go up by one, (first, last + 1) each."""
    if not len(source):
        return []
    breaks = torch.nonzero((source.diff() != 1) | (target.diff() != 1)).flatten() + 1
    edges = [0, *breaks.tolist(), len(source)]
    spans = []
    for first, last in pairwise(edges):
        s, t = int(source[first]), int(target[first])
        spans.append(((t, t + last - first), (s, s + last - first)))
    return spans


def direct(shift: tuple[int, int], whole: int) -> list[Rectangle]:
    """Of the part of a band that comes to lie at kx >= 0."""
    return _rectangles(shift, whole, torch.arange(-(whole // 2), (whole + 1) // 2), 1)


def mirrored(shift: tuple[int, int], whole: int) -> list[Rectangle]:
    """Of the part at kx <= 0, of which the conjugate is added at -k; the source is the band turned by half a turn.

    Turned: element q of the turned array is element (P - q) % P of the band, frequency -q.
    """
    return _rectangles((-shift[0], -shift[1]), whole, torch.arange(-(whole // 2) + 1, whole // 2 + 1), -1)


def _rectangles(shift: tuple[int, int], whole: int, own: Tensor, turn: int) -> list[Rectangle]:
    columns, rows = own + shift[0], own + shift[1]
    kept = (columns >= 0) & (columns <= whole)
    across = runs((own % whole)[kept], columns[kept])
    down = runs(own % whole, rows % (2 * whole))
    return [Rectangle(row, column, from_row, from_column) for row, from_row in down for column, from_column in across]

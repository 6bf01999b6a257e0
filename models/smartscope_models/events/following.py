"""What is remembered of each track, frame by frame: rows of a structure of arrays that follow the table of tracks.

Nothing is kept of a track that the tracker has given up, so memory is bounded by what the tracker holds.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]
Rows = TypeVar("Rows", bound=tuple[Any, ...])
"""A NamedTuple of columns."""


def row_of(ids_before: Longs, ids_now: Longs) -> Longs:
    """(N,) the row that each track had before, -1 for a new one."""
    if not len(ids_before):
        return np.full(len(ids_now), -1, np.int64)
    order = np.argsort(ids_before, kind="stable")
    place = np.minimum(np.searchsorted(ids_before[order], ids_now), len(order) - 1)
    row = order[place]
    return np.where(ids_before[row] == ids_now, row, -1)


def carried(state: Rows, row: Longs) -> Rows:
    """The state (M, ...) of before in the order of now (N, ...); new rows are those of ``blank``: NaN or 0."""
    known = row >= 0
    columns = []
    for column in state:
        fresh = np.zeros((len(row), *column.shape[1:]), column.dtype)
        if column.dtype.kind == "f":
            fresh.fill(np.nan)
        fresh[known] = column[row[known]]
        columns.append(fresh)
    return type(state)._make(columns)  # type: ignore[attr-defined,no-any-return]

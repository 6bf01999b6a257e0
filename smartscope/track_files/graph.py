"""Tracks as a graph: one node for each sighting, one edge to the next one of the same object or of its daughters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from smartscope.track_files.table import TrackTable

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Graph:
    """Numbers of rows of a ``TrackTable``."""

    links: Whole
    """(M, 2) earlier → later row, at most one into each row."""
    divides: npt.NDArray[np.bool_]
    """(M,) the link is from a mother to a daughter."""
    nodes: int

    @property
    def branches(self) -> npt.NDArray[np.bool_]:
        """(M,) more than one link leaves where this one does."""
        leaving = np.bincount(self.links[:, 0], minlength=self.nodes)
        return np.asarray(leaving[self.links[:, 0]] > 1)

    def lineages(self) -> Whole:
        """(N,) 0, 1 …: sightings that any links connect."""
        return self._components(np.ones(len(self.links), bool))

    def tracklets(self) -> Whole:
        """(N,) 0, 1 …: the longest paths without a branch; GEFF's tracklets."""
        return self._components(~self.branches)

    def pieces(self, step: Whole) -> tuple[Whole, Whole]:
        """(N,) 0, 1 … in order of their beginning, and (P,) the piece before each, -1 for none.

        A piece is one object in consecutive frames without a branch; ``step``: (N,) number of each row's frame.
        """
        gap = step[self.links[:, 1]] - step[self.links[:, 0]] > 1
        whole = ~(gap | self.divides | self.branches)
        piece = self._components(whole)
        before = np.full(int(piece.max(initial=-1)) + 1, -1, np.int64)
        broken = self.links[~whole]
        before[piece[broken[:, 1]]] = piece[broken[:, 0]]
        return piece, before

    def _components(self, kept: npt.NDArray[np.bool_]) -> Whole:
        source, target = self.links[kept].T
        joined = coo_array((np.ones(len(source), np.int8), (source, target)), shape=(self.nodes, self.nodes))
        _, component = connected_components(joined, directed=False)
        _, first, number = np.unique(component, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[number].astype(np.int64)


def graph_of(table: TrackTable) -> Graph:
    """The graph of an ordered table. A daughter hangs on the last sighting of its mother before it was seen itself."""
    order = np.lexsort((table.frame, table.track_id))
    track = table.track_id[order]
    same = track[1:] == track[:-1]
    along = np.stack([order[:-1][same], order[1:][same]], axis=1)
    starts = np.flatnonzero(np.r_[True, ~same][: len(track)])
    parts = np.split(order, starts[1:]) if len(track) else []
    rows_of = {int(table.track_id[rows[0]]): rows for rows in parts}
    born = []
    for daughter, mother in table.mothers.items():
        if daughter not in rows_of or mother not in rows_of:
            continue
        first, rows = rows_of[daughter][0], rows_of[mother]
        earlier = rows[table.frame[rows] < table.frame[first]]
        if earlier.size:
            born.append((int(earlier[-1]), int(first)))
    links = np.concatenate([along, np.array(born, np.int64).reshape(-1, 2)])
    divides = np.r_[np.zeros(len(along), bool), np.ones(len(born), bool)]
    by_target = np.argsort(links[:, 1], kind="stable")
    return Graph(links[by_target], divides[by_target], len(table))

"""How planes become whole chunks, and why a row is written only when the pixels it names are on disk."""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.recorder.image_stack import ImageStack, Written
from smartscope.recorder.jsonl import JsonLinesWriter, Row

Image = npt.NDArray[Any]

IN_FLIGHT = 4
"""Chunks being written at once: fewer leave the disk idle between syncs, more gained nothing."""


def planes_per_chunk(plane_bytes: int, chunk_mb: float) -> int:
    """As many whole planes as come nearest to ``chunk_mb`` (1e6 bytes), at least one."""
    return max(1, round(chunk_mb * 1e6 / plane_bytes))


@dataclass(slots=True)
class Tally:
    """Counts of one kind of image, over all its stacks."""

    taken: int = 0
    listed: int = 0
    """On disk, row included."""
    listed_bytes: int = 0
    """Their pixels, before compression."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A chunk under way with the rows to write once it has arrived."""

    written: Written
    rows: list[Row]


class ChunkWriter:
    """Appends planes to one image stack and their rows to a log.

    Not thread-safe: one writer thread owns it. Any error of the disk comes out of the call that meets it first.
    """

    def __init__(
        self,
        stack: ImageStack,
        plane_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        per_chunk: int,
        log: JsonLinesWriter,
        tally: Tally,
    ) -> None:
        self.plane_shape = plane_shape
        self.planes = 0
        """Planes taken."""
        self._listed = 0
        self._stack, self._log, self._dtype, self._tally = stack, log, dtype, tally
        self._plane_bytes = math.prod(plane_shape) * dtype.itemsize
        self._chunk_shape = (per_chunk, *plane_shape)
        self._chunk: Image | None = None
        self._rows: list[Row] = []
        self._filled = 0
        self._pending: deque[_Pending] = deque()

    @property
    def busy(self) -> bool:
        """Whether chunks are under way."""
        return bool(self._pending)

    def add(self, image: Image, row: Row) -> None:
        """Take one (H, W) plane and its row. A plane that is a chunk by itself is not copied."""
        self.planes += 1
        if self._chunk_shape[0] == 1:
            self._start(image[None], [row])
            return
        if self._chunk is None:
            # new memory for each chunk: the one before belongs to the write under way
            self._chunk = np.empty(self._chunk_shape, self._dtype)
        self._chunk[self._filled] = image
        self._filled += 1
        self._rows.append(row)
        if self._filled == len(self._chunk):
            chunk, rows = self._chunk, self._rows
            self._chunk, self._rows, self._filled = None, [], 0
            self._start(chunk, rows)

    def settle(self, *, wait: bool = False) -> None:
        """List what has arrived on disk; ``wait`` for the oldest chunk under way first."""
        while self._pending and (wait or self._pending[0].written.done()):
            self._settle_oldest()
            wait = False

    def flush(self) -> None:
        """Put everything taken so far on disk, a chunk that is not full included, and list it."""
        while self._pending:
            self._settle_oldest()
        if self._chunk is not None and self._rows:
            self._chunk[self._filled :] = 0  # whatever the memory held before must not reach the disk
            # copied: the chunk fills up further, and is then written once more
            self._stack.write(self.planes - self._filled, self._chunk, copy=True).result()
            rows, self._rows = self._rows, []
            self._list(rows)

    def abandon(self) -> None:
        """Give up every plane that is not listed; ``finish`` then cuts the stack before them."""
        for pending in self._pending:
            with suppress(Exception):  # nothing may be writing any more once the recorder has ended
                pending.written.result()
        self._pending.clear()
        self._chunk, self._rows, self._filled = None, [], 0
        self.planes = self._listed

    def finish(self, interval_s: float) -> None:
        """Flush, and cut the stack to its true length."""
        self.flush()
        self._stack.finish(self.planes, interval_s)

    def _start(self, chunk: Image, rows: list[Row]) -> None:
        while len(self._pending) >= IN_FLIGHT:
            self._settle_oldest()
        self._pending.append(_Pending(self._stack.write(self.planes - len(chunk), chunk), rows))

    def _settle_oldest(self) -> None:
        oldest = self._pending.popleft()
        oldest.written.result()
        self._list(oldest.rows)

    def _list(self, rows: list[Row]) -> None:
        self._log.append(*rows)
        self._listed += len(rows)
        self._tally.listed += len(rows)
        self._tally.listed_bytes += len(rows) * self._plane_bytes

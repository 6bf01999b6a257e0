"""Only this file knows how to tell who comes next out of very many: a binary heap of numbers, ordered by a field."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(nogil=True, cache=True)
def push(heap: Any, size: int, number: int, left: Any) -> Any:
    """Add ``number`` to the first ``size`` of ``heap`` (N,); ``left`` (N,) says when each is due. The new size."""
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if left[heap[parent]] <= left[number]:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = number
    return size + 1


@njit(nogil=True, cache=True)
def drop_first(heap: Any, size: int, left: Any) -> Any:
    """Take ``heap[0]``, who is due first, out of the first ``size``. The new size."""
    size -= 1
    last = heap[size]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and left[heap[child + 1]] < left[heap[child]]:
            child += 1
        if left[last] <= left[heap[child]]:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = last
    return size

"""When the memory of an output may be written again: once nobody holds the array, or a view of it, any more."""

from __future__ import annotations

import math
import mmap
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
BOUND = 8
"""Outputs that a pool keeps: more than the recorder and the clients hold while all is well."""


def pages(size: int) -> mmap.mmap:
    """``size`` bytes of memory that begin at a page, as the runtimes like them; free when nothing refers to them."""
    return mmap.mmap(-1, max(size, 1))


class BufferPool:
    """Arrays of one shape and dtype, written by an engine and handed out without a copy.

    An array is known to be free by a weak reference to it. Views, memory views and tensors made from an array all hold
    that very array, because its base is no array itself but bare memory, so that NumPy cannot shorten the chain.
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        *,
        bound: int = BOUND,
        allocate: Callable[[int], Any] = pages,
    ) -> None:
        """``allocate`` gives bytes as an object with the buffer protocol that is no NumPy array (pinned memory)."""
        self._shape, self._dtype = tuple(shape), np.dtype(dtype)
        self._bound, self._allocate = bound, allocate
        self._kept: list[tuple[Any, weakref.ref[Array]]] = []
        self.extra = 0
        """Arrays made beyond the bound because all others were held: somebody hoards results."""

    def take(self) -> Array:
        """An array, C-contiguous and with arbitrary content, that nobody else holds."""
        for place, (memory, handed_out) in enumerate(self._kept):
            if handed_out() is None:
                array = self._array(memory)
                self._kept[place] = memory, weakref.ref(array)
                return array
        if len(self._kept) >= self._bound:
            self.extra += 1
            return np.empty(self._shape, self._dtype)
        memory = self._allocate(math.prod(self._shape) * self._dtype.itemsize)
        array = self._array(memory)
        self._kept.append((memory, weakref.ref(array)))
        return array

    def _array(self, memory: Any) -> Array:
        return np.ndarray(self._shape, self._dtype, buffer=memory)

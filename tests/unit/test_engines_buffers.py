"""Outputs are handed out without a copy, and their memory is written again only when nobody holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from smartscope_models.engines.buffers import BufferPool

VIEWS = {
    "itself": lambda array: array,
    "a slice": lambda array: array[1:, 1:],
    "a view of a view": lambda array: array[1:].reshape(-1)[1:],
    "other type": lambda array: array.view(np.uint8),
    "memory view": lambda array: memoryview(array)[1:],
    "transposed": lambda array: array.T[1:],
    "read-only": lambda array: np.broadcast_to(array, (2, 3, 4)),
}


class Holders(RuleBasedStateMachine):
    """Engine and holders take turns; the engine fills each array it gets with a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BufferPool((3, 4), np.int32, bound=3)
        self.held: list[tuple[int, Any]] = []
        self.number = 0

    @rule(how=st.sampled_from(sorted(VIEWS)))
    def run(self, how: str) -> None:
        array = self.pool.take()
        self.number += 1
        array[:] = self.number * 0x01010101
        self.held.append((self.number % 256, VIEWS[how](array)))

    @rule()
    def run_and_drop(self) -> None:
        self.pool.take()[:] = -1

    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        if self.held:
            self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))

    @invariant()
    def nothing_held_was_written(self) -> None:
        for number, view in self.held:
            assert set(np.ascontiguousarray(view).tobytes()) == {number}


TestHolders = Holders.TestCase
TestHolders.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_is_used_again() -> None:
    pool = BufferPool((100, 100), np.float32)
    places = {address(pool.take()) for _ in range(10)}
    assert len(places) == 1
    assert pool.extra == 0


def test_beyond_the_bound_memory_is_fresh_and_counted() -> None:
    pool = BufferPool((8,), np.float32, bound=3)
    held = [pool.take() for _ in range(5)]
    assert len({address(array) for array in held}) == 5
    assert pool.extra == 2
    kept = address(held[0])
    held[0] = pool.take()
    held.clear()
    assert pool.extra == 3
    assert kept in {address(array) for array in [pool.take(), pool.take(), pool.take()]}
    assert pool.extra == 3


def test_shape_order_and_place() -> None:
    array = BufferPool([2, 3], "u2").take()
    assert (array.shape, array.dtype) == ((2, 3), np.uint16)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert address(array) % 64 == 0
    assert BufferPool((), np.float32).take().shape == ()
    assert BufferPool((0, 4), np.float32).take().size == 0


def test_own_memory() -> None:
    sizes: list[int] = []

    def allocate(size: int) -> bytearray:
        sizes.append(size)
        return bytearray(size)

    pool = BufferPool((2, 3), np.float64, allocate=allocate)
    array = pool.take()
    array[:] = 5
    another = pool.take()
    assert sizes == [48, 48]
    assert array.tolist() == [[5, 5, 5], [5, 5, 5]]
    assert another.shape == (2, 3)

"""The hand-overs count what they do, keep the newest or refuse the too many, and wake who waits."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from smartscope.mailbox import BoundedQueue, NewestWins


@given(st.lists(st.one_of(st.integers(), st.none())))
def test_newest_wins_and_every_item_is_accounted_for(actions: list[int | None]) -> None:
    box: NewestWins[int] = NewestWins()
    newest: int | None = None
    for action in actions:
        if action is None:
            assert box.take() == newest
            newest = None
        else:
            assert box.put(action) == newest
            newest = action
    counts = box.statistics()
    assert counts.put == counts.taken + counts.displaced + counts.waiting


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 100))
def test_queue_keeps_order_and_never_exceeds_its_capacity(weights: list[int], capacity: int) -> None:
    queue: BoundedQueue[int] = BoundedQueue(capacity)
    kept, total = [], 0
    for number, weight in enumerate(weights):
        fits = not kept or total + weight <= capacity
        assert queue.offer(number, weight) is fits
        if fits:
            kept.append(number)
            total += weight
        assert queue.fullness <= max(1.0, weights[kept[0]] / capacity if kept else 0.0)
    assert [queue.take() for _ in kept] == kept
    assert queue.take() is None
    assert queue.statistics().displaced == len(weights) - len(kept)


def test_close_wakes_the_reader() -> None:
    for box in (NewestWins[int](), BoundedQueue[int](1)):
        woken = threading.Event()

        def read(box: NewestWins[int] | BoundedQueue[int] = box, woken: threading.Event = woken) -> None:
            assert box.take(timeout_s=60) is None
            woken.set()

        thread = threading.Thread(target=read)
        thread.start()
        box.close()
        assert woken.wait(10)
        thread.join()


def test_an_item_put_while_the_reader_waits_arrives() -> None:
    box: NewestWins[str] = NewestWins()
    got: list[str | None] = []
    thread = threading.Thread(target=lambda: got.append(box.take(timeout_s=60)))
    thread.start()
    box.put("frame")
    thread.join()
    assert got == ["frame"]

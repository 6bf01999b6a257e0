"""The hand-overs count what they do, keep the newest or refuse the too many, and wake who waits."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from smartscope.mailbox import BoundedQueue, NewestOfEach, NewestWins


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


@given(st.lists(st.one_of(st.integers(0, 30), st.none()), max_size=40), st.integers(1, 3))
def test_newest_of_each_kind_waits_for_its_turn(actions: list[int | None], kept: int) -> None:
    box: NewestOfEach[int] = NewestOfEach(lambda item: item // 10, kept)
    waiting: list[int] = []
    for action in actions:
        if action is None:
            assert box.take() == (waiting.pop(0) if waiting else None)
            continue
        displaced = None
        if waiting and waiting[-1] // 10 == action // 10:
            displaced = waiting.pop()
        waiting.append(action)
        if len(waiting) > kept + 1:
            displaced = waiting.pop(0)
        assert box.put(action) == displaced
    counts = box.statistics()
    assert counts.waiting == len(waiting)
    assert counts.put == counts.taken + counts.displaced + counts.waiting


def test_a_writer_can_wait_for_its_reader() -> None:
    box: NewestWins[str] = NewestWins()
    assert box.wait_until_taken(0.0)
    box.put("item")
    assert not box.wait_until_taken(0.0)
    reader = threading.Thread(target=box.take, args=(1.0,))
    reader.start()
    assert box.wait_until_taken(5.0)
    reader.join()
    box.put("another")
    box.close()
    assert box.wait_until_taken(5.0)


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

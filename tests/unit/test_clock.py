"""The machine's clock runs by itself, the virtual one only when it is told to."""

import pytest

from smartscope.clock import LiveClock, VirtualClock
from smartscope.ports import Clock


@pytest.mark.parametrize("clock", [LiveClock(), VirtualClock(7)])
def test_time_never_runs_backward(clock: LiveClock | VirtualClock) -> None:
    assert isinstance(clock, Clock)
    before_ns = clock.now_ns()
    clock.sleep(0.001)
    assert clock.now_ns() >= before_ns + 1_000_000
    rested_ns = clock.now_ns()
    clock.sleep(-1.0)
    assert clock.now_ns() >= rested_ns


def test_virtual_time_stands_still_between_events() -> None:
    clock = VirtualClock(5)
    assert clock.now_ns() == clock.now_ns() == 5
    clock.advance_to(3)
    assert clock.now_ns() == 5
    clock.advance_to(9)
    assert clock.now_ns() == 9


def test_the_sleep_of_a_guest_is_anothers_affair() -> None:
    clock, wakes_ns = VirtualClock(10), list[int]()
    clock.welcome(wakes_ns.append)
    clock.sleep(1e-6)
    assert (clock.now_ns(), wakes_ns) == (10, [1_010])
    clock.farewell()
    clock.sleep(1e-6)
    assert clock.now_ns() == 1_010

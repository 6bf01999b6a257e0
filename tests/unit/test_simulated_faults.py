"""Faults strike when they were told to, once, and let go when the world closes."""

import threading
import time

import pytest

from smartscope.clock import LiveClock, VirtualClock
from smartscope.errors import DeviceError
from smartscope_drivers.simulated.faults import BlockedCall, FaultOptions, Faults


def faults(clock=None, **options) -> Faults:
    """On a virtual clock unless told otherwise."""
    return Faults(FaultOptions(**options), clock or VirtualClock())


def test_nothing_goes_wrong_by_default() -> None:
    clock = VirtualClock()
    none = faults(clock)
    assert all(none.frame(number) and not none.sequence_ends(number) for number in range(100))
    assert [none.call("stage") for _ in range(3)] == [0, 1, 2]
    assert not none.stage_stalls(0)
    assert clock.now_ns() == 0


def test_the_nth_call_blocks_once() -> None:
    clock = VirtualClock()
    blocked = faults(clock, block=(BlockedCall(device="stage", at_call=1, for_ms=300),))
    blocked.call("stage")
    blocked.call("light")
    blocked.call("light")
    assert clock.now_ns() == 0
    blocked.call("stage")
    assert clock.now_ns() == 300_000_000
    blocked.call("stage")
    assert clock.now_ns() == 300_000_000


def test_the_first_call_after_a_frame_blocks_once() -> None:
    clock = VirtualClock()
    blocked = faults(clock, block=(BlockedCall(device="focus", after_frame=2, for_ms=50),))
    for number in range(3):
        blocked.call("focus")
        blocked.frame(number)
    assert clock.now_ns() == 0
    blocked.call("focus")
    blocked.call("focus")
    assert clock.now_ns() == 50_000_000


def test_a_blocked_call_is_let_go_when_the_world_closes() -> None:
    blocked = faults(LiveClock(), block=(BlockedCall(device="light", at_call=0, for_ms=60_000),))
    thread = threading.Thread(target=blocked.call, args=("light",))
    began = time.perf_counter()
    thread.start()
    blocked.release()
    thread.join()
    assert time.perf_counter() - began < 30


def test_frames_are_lost_as_told() -> None:
    every = faults(lose_every=4, lose_frames=frozenset({1}))
    assert [number for number in range(10) if not every.frame(number)] == [1, 3, 7]


def test_the_camera_dies_or_raises_as_told() -> None:
    dying = faults(stop_after_frame=5, raise_at_frame=3)
    assert [dying.sequence_ends(number) for number in (4, 5, 6, 7)] == [False, False, True, True]
    with pytest.raises(DeviceError, match="told to fail at frame 3"):
        dying.frame(3)
    assert faults(stall_stage_at_call=2).stage_stalls(2)

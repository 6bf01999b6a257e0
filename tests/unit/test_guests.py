"""Device calls that wait give way in virtual time; only one thread ever runs."""

import pytest
from fakes import ScriptedPolicy, VirtualRig

from smartscope.clock import VirtualClock
from smartscope.command import Applied, Command, MoveFocus, MoveStage, Request
from smartscope.decider import RankedPolicy
from smartscope.errors import DeviceError, DeviceTimeout
from smartscope.guests import Guest
from smartscope.ports import Choice, Context


def test_a_guest_sleeps_and_wakes_when_it_is_resumed() -> None:
    clock, seen = VirtualClock(), list[int]()

    def call() -> str:
        for _ in range(2):
            clock.sleep(0.001)
            seen.append(clock.now_ns())
        return "there"

    guest = Guest(clock, call)
    while (wake_ns := guest.resume()) is not None:
        clock.advance_to(wake_ns)
    assert seen == [1_000_000, 2_000_000]
    assert guest.future.result() == "there"


def test_a_guest_that_fails_tells_so() -> None:
    def call() -> None:
        raise DeviceError("stalled")

    guest = Guest(VirtualClock(), call)
    assert guest.resume() is None
    with pytest.raises(DeviceError):
        guest.future.result()


def rig_with_slow_stage(move_ms: float, **config: object) -> VirtualRig:
    def walk(context: Context) -> Choice:
        return Choice([Request(MoveStage(context.settings.x_um + 1.0, 0.0), "on")])

    rig = VirtualRig([RankedPolicy("walk", ScriptedPolicy(walk))], **config)
    apply = rig.microscope.apply

    def slow(command: Command) -> Applied:
        if isinstance(command, (MoveStage, MoveFocus)):
            rig.clock.sleep(move_ms / 1e3)
        return apply(command)

    rig.microscope.apply = slow  # type: ignore[method-assign]
    return rig


def test_frames_and_decisions_go_on_while_the_stage_moves() -> None:
    rig = rig_with_slow_stage(18.0)
    rig.go()
    busy = [decision for decision in rig.diary.decisions if decision.clipped_by == "busy"]
    moved = [decision for decision in rig.diary.decisions if decision.granted and decision.policy == "walk"]
    assert len(busy) >= 10
    assert len(moved) >= 3
    assert all(decision.t_applied_ns - decision.t_ns == 18_000_000 for decision in moved)
    assert [frame.t_received_ns for frame in rig.diary.frames] == [5_000_000 * (i + 1) for i in range(20)]


def test_a_device_that_takes_too_long_ends_the_run() -> None:
    rig = rig_with_slow_stage(300.0, safety={"device_call_ms": 100}, frames=None, duration_s=2.0)
    with pytest.raises(DeviceTimeout, match="xy has been on its way"):
        rig.go()
    assert rig.microscope.settings().lights_mw == {"laser": 0.0}

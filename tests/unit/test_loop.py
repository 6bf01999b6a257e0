"""The loop: start, decide, carry out, account, darken, end; in virtual time on a fake microscope."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import useq
from fakes import ScriptedModel, ScriptedPolicy, VirtualRig, mixed, small_roi

from smartscope.command import Applied, Command, EndRun, MoveStage, Request, RunPlan, SetExposure, SetLight, SetRoi
from smartscope.config import LimitsConfig
from smartscope.decider import RankedPolicy
from smartscope.errors import DeviceError, DeviceTimeout, RecorderError, Refused, SmartscopeError, StageFailed
from smartscope.frame import Certainty, Frame
from smartscope.pipeline import Stage
from smartscope.ports import Choice, Context
from smartscope.result import Events, Result


def always(command: Command, name: str = "p", priority: int = 0) -> RankedPolicy:
    return RankedPolicy(name, ScriptedPolicy(lambda context: Choice([Request(command, "because")])), priority)


def test_a_run_starts_through_the_gate_counts_its_frames_and_ends_dark() -> None:
    rig = VirtualRig(start={"exposure_ms": 5.0, "lights_mw": {"laser": 99.0}, "x_um": 3.0, "z_um": 1.0})
    rig.go()
    assert rig.grabber.statistics().received == 20
    assert rig.microscope.applied[:3] == [MoveStage(3.0, 0.0), rig.microscope.applied[1], SetExposure(5.0)]
    assert rig.granted("start")[-1] == SetLight("laser", 10.0)
    assert rig.diary.decisions[3].clipped_by == "limits.lights.laser.max_power_mw"
    assert rig.microscope.settings().lights_mw == {"laser": 0.0}
    assert [data["state"] for kind, data in rig.diary.events if kind == "state"] == ["running", "ended"]


def test_granted_commands_reach_the_hardware_and_the_next_frame() -> None:
    rig = VirtualRig([always(SetExposure(7.0))])
    rig.go()
    assert rig.microscope.now.exposure_ms == 7.0
    effects = [data for kind, data in rig.diary.events if kind == "effect"]
    assert effects[0]["setting"] == "exposure_ms"
    assert effects[0]["frame"] == 1
    assert rig.loop.delay().median_ms > 0


def test_higher_priority_owns_a_setting_and_the_other_is_told() -> None:
    rig = VirtualRig([always(SetExposure(7.0), "low", 1), always(SetExposure(9.0), "high", 2)])
    rig.go()
    assert rig.microscope.now.exposure_ms == 9.0
    refused = [decision for decision in rig.diary.decisions if decision.policy == "low"]
    assert {decision.clipped_by for decision in refused} == {"priority"}
    assert all(decision.granted is None for decision in refused)


def test_shadow_decides_but_does_not_act() -> None:
    rig = VirtualRig([always(SetExposure(7.0))], arm="shadow")
    rig.go()
    assert rig.microscope.now.exposure_ms == 5.0
    shadowed = [decision for decision in rig.diary.decisions if decision.policy == "p"]
    assert all(decision.shadow and decision.granted == SetExposure(7.0) for decision in shadowed)
    assert not any(decision.shadow for decision in rig.diary.decisions if decision.policy == "start")


def test_a_policy_ends_the_run_in_the_dark() -> None:
    rig = VirtualRig([always(EndRun()), always(SetLight("laser", 7.0), "brighter", -1)])
    rig.go()
    assert rig.grabber.statistics().received == 1
    assert (rig.loop.stop_asked, rig.loop.aim_reached) == ("because", True)
    assert rig.granted("p") == [EndRun()]
    assert EndRun() not in rig.microscope.applied
    assert rig.microscope.settings().lights_mw == {"laser": 0.0}


def test_an_end_without_a_reason_is_an_end_and_the_first_reason_stays() -> None:
    ends = [
        RankedPolicy(n, ScriptedPolicy(lambda context: Choice([Request(EndRun(), "")])), -i) for i, n in enumerate("ab")
    ]
    rig = VirtualRig(ends)
    rig.go()
    assert rig.loop.stop_asked == "asked for by a"


def test_in_shadow_nobody_ends_the_run() -> None:
    rig = VirtualRig([always(EndRun())], arm="shadow")
    rig.go()
    assert rig.grabber.statistics().received == 20
    assert not rig.loop.aim_reached
    assert {(decision.granted, decision.shadow) for decision in rig.diary.decisions if decision.policy == "p"} == {
        (EndRun(), True)
    }


def test_a_mixed_frame_drives_no_policy() -> None:
    def mixing(frames: Sequence[Frame], so_far: Result) -> Result:
        return so_far

    rig = VirtualRig([always(SetExposure(7.0))], [Stage("m", ScriptedModel(mixing), 50)])
    take = rig.microscope.next_frame

    def next_frame(timeout_s: float) -> Frame | None:
        frame = take(timeout_s)
        return frame and replace(frame, certainty={"light:laser": Certainty.MIXED})

    rig.microscope.next_frame = next_frame  # type: ignore[method-assign]
    rig.go()
    assert rig.loop.decided == 0
    assert rig.loop.skipped_mixed > 0
    assert rig.granted("p") == []


def telling(number: int) -> Events:
    """One event."""
    i, f = np.array([number], np.int32), np.ones(1, np.float32)
    return Events(i, 0 * i, 0 * i, i, f, f, f, i, i)


def test_no_policy_misses_an_event_of_a_mixed_frame() -> None:
    """Each frame tells one; every third is mixed, and drives no policy, but the next brings its event along."""
    model = ScriptedModel(lambda frames, so_far: replace(so_far, events=telling(so_far.frame.index)))
    heard: list[list[int]] = []
    shown: list[int] = []

    def listen(context: Context) -> Choice:
        assert context.events is not None
        assert context.result.events is not None
        heard.append(context.events.event_id.tolist())
        shown.extend(context.result.events.event_id.tolist())
        return Choice()

    rig = VirtualRig([RankedPolicy("p", ScriptedPolicy(listen))], [Stage("m", model, 50)])
    take = rig.microscope.next_frame

    def next_frame(timeout_s: float) -> Frame | None:
        frame = take(timeout_s)
        return mixed(frame) if frame is not None and frame.number % 3 == 1 else frame

    rig.microscope.next_frame = next_frame  # type: ignore[method-assign]
    rig.go()
    told = [number for numbers in heard for number in numbers]
    assert told == sorted(set(told)), "each once, in order"
    assert len(told) > len(shown) > 5
    assert set(shown) == {number for number in told if number % 3 != 1}


def test_a_policy_whose_result_was_too_old_hears_the_event_again() -> None:
    model = ScriptedModel(lambda frames, so_far: replace(so_far, events=telling(so_far.frame.index)))
    heard: list[list[int]] = []

    def listen(context: Context) -> Choice:
        heard.append([] if context.events is None else context.events.event_id.tolist())
        return Choice([Request(SetExposure(7.0), "late")])

    rig = VirtualRig(
        [RankedPolicy("p", ScriptedPolicy(listen))],
        [Stage("m", model, 50, virtual_ms=8.0)],
        frames=4,
        safety={"max_result_age_ms": 5.0},
    )
    rig.go()
    assert rig.decider.stale == len(heard) > 1
    assert heard[1][: len(heard[0])] == heard[0]


def test_roi_restarts_the_camera_in_a_new_epoch() -> None:
    def once(context: Context) -> Choice:
        return Choice([Request(SetRoi(small_roi()), "zoom")] if context.state is None else [], True)

    rig = VirtualRig([RankedPolicy("zoom", ScriptedPolicy(once))])
    rig.go()
    assert rig.microscope.now.roi == small_roi()
    assert {frame.epoch for frame in rig.diary.frames} == {0, 1}
    assert rig.grabber.statistics().lost == 0


@pytest.mark.parametrize("on_fault", ["dark", "plan"])
def test_a_policy_that_raises(on_fault: str) -> None:
    def sick(context: Context) -> Choice:
        raise KeyError("tracks")

    rig = VirtualRig(
        [RankedPolicy("sick", ScriptedPolicy(sick)), always(SetExposure(7.0))], safety={"on_fault": on_fault}
    )
    if on_fault == "dark":
        with pytest.raises(StageFailed, match="policy sick: raised KeyError"):
            rig.go()
        assert rig.grabber.statistics().received < 20
    else:
        rig.go()
        assert "alarm" in rig.diary.kinds()
        assert rig.microscope.now.exposure_ms == 7.0
    assert rig.microscope.settings().lights_mw == {"laser": 0.0}


@pytest.mark.parametrize("nonsense", [None, Choice(["x"]), [Request(SetExposure(1.0), "list")]])  # type: ignore[list-item]
def test_a_policy_that_returns_nonsense(nonsense: object) -> None:
    rig = VirtualRig([RankedPolicy("odd", ScriptedPolicy(lambda context: nonsense))])
    with pytest.raises(StageFailed, match="instead of a Choice"):
        rig.go()


@pytest.mark.parametrize("on_fault", ["dark", "plan"])
def test_a_model_that_raises(on_fault: str) -> None:
    def sick(frames: Sequence[Frame], so_far: Result) -> Result:
        raise RuntimeError("weights")

    rig = VirtualRig([], [Stage("sick", ScriptedModel(sick), 50)], safety={"on_fault": on_fault})
    if on_fault == "dark":
        with pytest.raises(StageFailed, match="model sick"):
            rig.go()
    else:
        rig.go()
        assert rig.grabber.statistics().received == 20
    assert rig.microscope.settings().lights_mw == {"laser": 0.0}


def test_a_dead_camera_ends_the_run_dark() -> None:
    rig = VirtualRig()
    rig.microscope.silent_from = 3
    with pytest.raises(DeviceTimeout):
        rig.go()
    assert rig.microscope.settings().lights_mw == {"laser": 0.0}


def test_a_fault_of_another_thread_darkens_at_once_and_ends_the_run() -> None:
    rig = VirtualRig()
    rig.loop.fail(ValueError("grabber"))
    assert rig.microscope.darkened == 1
    with pytest.raises(ValueError, match="grabber"):
        rig.go()


def test_a_record_that_cannot_be_kept_ends_the_run() -> None:
    rig = VirtualRig()
    rig.diary.fault = RecorderError("disk full")  # type: ignore[assignment]
    with pytest.raises(RecorderError):
        rig.go()


def test_the_dose_is_never_overspent_and_the_light_goes_off_in_time() -> None:
    # 2 mW, transmission 0.5, a disc of 80 um: 19.9 W/cm2; 20 J/cm2 last one second
    rig = VirtualRig(budget_j_per_cm2=20.0, frames=400)
    rig.go()
    spent = rig.ledger.state(rig.clock.now_ns()).spent_j_per_cm2
    assert 0.8 * 20 < spent <= 20
    cut = [decision for decision in rig.diary.decisions if decision.policy == "safety"]
    assert cut[0].granted == SetLight("laser", 0.0)
    assert cut[0].clipped_by == "dose"
    assert "alarm" in rig.diary.kinds()


def test_pause_darkens_resume_relights_stop_stops() -> None:
    rig = VirtualRig(frames=100)
    seen: list[float] = []

    def script(context: Context) -> Choice:
        count = (context.state or 0) + 1
        if count == 10:
            rig.loop.ask("pause")
            rig.loop.ask("resume")
        if count == 20:
            rig.loop.ask("stop", why="enough")
        seen.append(context.settings.lights_mw["laser"])
        return Choice((), count)

    rig.decider.policies = (RankedPolicy("script", ScriptedPolicy(script)),)
    rig.go()
    assert rig.loop.stop_asked == "enough"
    assert SetLight("laser", 0.0) in rig.granted("safety")
    assert rig.granted("operator") == [SetLight("laser", 2.0)]
    assert seen[-1] == 2.0
    assert rig.grabber.statistics().received < 100


def test_laser_off_holds_until_resumed_whatever_a_policy_wants() -> None:
    rig = VirtualRig([always(SetLight("laser", 5.0))])
    rig.loop.ask("laser_off")
    rig.go()
    assert rig.loop.state == "ended"
    lit = [command for command in rig.microscope.applied if isinstance(command, SetLight) and command.power_mw > 0]
    assert lit == [SetLight("laser", 2.0)]


def test_limits_can_only_be_tightened() -> None:
    rig = VirtualRig(frames=10)
    tighter = rig.config.limits.model_copy(
        update={"lights": {"laser": rig.config.limits.lights["laser"].model_copy(update={"max_power_mw": 1.0})}}
    )
    rig.loop.ask("set_limits", limits=tighter)
    rig.loop.ask("set_limits", limits=rig.config.limits)
    rig.go()
    assert "limits" in rig.diary.kinds()
    assert any("loosen" in str(data) or "above" in str(data) for kind, data in rig.diary.events if kind == "alarm")
    assert rig.granted("safety") == [SetLight("laser", 1.0)]


def test_relight_sends_the_last_power_again() -> None:
    rig = VirtualRig(frames=10)
    rig.loop.ask("relight", why="lease renewed")
    rig.go()
    assert rig.granted("safety") == []


def planning(events: tuple[useq.MDAEvent, ...]) -> RankedPolicy:
    def once(context: Context) -> Choice:
        return Choice([Request(RunPlan("stack", events), "look closer")] if context.state is None else [], True)

    return RankedPolicy("planner", ScriptedPolicy(once))


def test_a_planned_part_has_the_camera_to_itself_and_its_frames_go_the_way_of_all_frames() -> None:
    events = tuple(useq.MDAEvent(exposure=3.0, z_pos=float(z)) for z in range(3))
    rig = VirtualRig([planning(events)], frames=30)
    rig.go()
    assert rig.granted("planner") == [RunPlan("stack", events)]
    assert rig.microscope.calls[:4] == ["start", "stop", "plan", "start"]
    assert sum(frame.epoch == 1 for frame in rig.diary.frames) == 3
    assert rig.grabber.statistics().lost == 0


def test_the_lights_of_a_plan_are_charged_while_it_runs_and_return() -> None:
    spent: list[float] = []
    for power_mw in (2.0, 8.0):
        plan = RunPlan("bright", tuple(useq.MDAEvent(exposure=50.0) for _ in range(4)), {"laser": power_mw})

        def once(context: Context, plan: RunPlan = plan) -> Choice:
            return Choice([Request(plan, "look closer")] if context.state is None else [], True)

        rig = VirtualRig([RankedPolicy("planner", ScriptedPolicy(once))], frames=30)
        rig.go()
        assert rig.granted("planner") == [plan]
        seen = {frame.settings.lights_mw["laser"] for frame in rig.diary.frames if frame.epoch == 1}
        assert seen == {power_mw}
        notes = [data["power_mw"] for kind, data in rig.diary.events if kind == "light"]
        assert notes == ([2.0, 2.0] if power_mw == 2.0 else [2.0, 8.0, 2.0])
        spent.append(rig.ledger.state(rig.clock.now_ns()).spent_j_per_cm2)
    one_mw_s = rig.ledger.state(0).per_mw_j_per_cm2_s["laser"]
    assert spent[1] - spent[0] == pytest.approx(6.0 * 0.2 * one_mw_s, rel=0.1)


def test_the_lights_of_a_plan_that_failed_count_as_the_microscope_left_them() -> None:
    plan = RunPlan("bright", (useq.MDAEvent(exposure=50.0),), {"laser": 8.0})

    def once(context: Context) -> Choice:
        return Choice([Request(plan, "look closer")] if context.state is None else [], True)

    rig = VirtualRig([RankedPolicy("planner", ScriptedPolicy(once))], frames=30)

    def fails(*_: object) -> object:
        rig.microscope.dark()
        raise DeviceError("no trigger", where="plan")

    rig.microscope.run_plan = fails  # type: ignore[assignment, method-assign]
    with pytest.raises(DeviceError, match="no trigger"):
        rig.go()
    assert rig.ledger.power_mw("laser") == 0.0
    assert any("no trigger" in decision.why for decision in rig.diary.decisions)


def test_a_plan_beyond_the_limits_is_refused_whole() -> None:
    rig = VirtualRig([planning((useq.MDAEvent(exposure=3.0), useq.MDAEvent(exposure=3.0, z_pos=99.0)))])
    rig.go()
    refused = next(decision for decision in rig.diary.decisions if decision.policy == "planner")
    assert refused.granted is None
    assert "event 1" in refused.why
    assert "plan" not in rig.microscope.calls


def test_policies_see_the_limits_in_force() -> None:
    seen: list[float] = []

    def look(context: Context) -> Choice:
        seen.append(context.limits.lights["laser"].max_power_mw)
        return Choice()

    rig = VirtualRig([RankedPolicy("p", ScriptedPolicy(look))], arm="clamped")
    rig.go()
    assert seen[0] == 2.5
    rig = VirtualRig([RankedPolicy("p", ScriptedPolicy(look))])
    tighter = {**rig.config.limits.model_dump(), "lights": {"laser": {"max_power_mw": 4}}}
    rig.loop.ask("set_limits", limits=LimitsConfig.model_validate(tighter))
    rig.go()
    assert seen[-1] == 4


def test_a_run_can_start_on_a_part_of_the_sensor() -> None:
    rig = VirtualRig(start={"exposure_ms": 5.0, "roi": {"x": 4, "y": 4, "width": 16, "height": 16}})
    rig.go()
    assert {frame.settings.roi for frame in rig.diary.frames} == {small_roi()}


def failing(rig: VirtualRig, command: Command, error: SmartscopeError) -> VirtualRig:
    """The rig, with a microscope that does not carry this command out."""
    apply = rig.microscope.apply

    def stubborn(asked: Command) -> Applied:
        if asked == command:
            raise error
        return apply(asked)

    rig.microscope.apply = stubborn  # type: ignore[method-assign]
    return rig


def test_what_was_decided_is_written_down_though_the_hardware_failed_before_it() -> None:
    policies = [always(SetExposure(7.0), "first", 2), always(SetLight("laser", 3.0), "second", 1)]
    rig = failing(VirtualRig(policies), SetExposure(7.0), DeviceError("does not answer", where="camera"))
    with pytest.raises(DeviceError, match="does not answer"):
        rig.go()
    made = [decision for decision in rig.diary.decisions if decision.policy in ("first", "second")]
    assert [(decision.policy, decision.t_applied_ns) for decision in made] == [("first", 0), ("second", 0)]
    assert "does not answer" in made[0].why
    assert rig.microscope.now.lights_mw == {"laser": 0.0}


def test_lights_that_are_held_dark_say_no_and_the_run_goes_on() -> None:
    rig = VirtualRig([always(SetLight("laser", 3.0))])
    failing(rig, SetLight("laser", 3.0), Refused("held dark", where="laser")).go()
    refused = [decision for decision in rig.diary.decisions if decision.policy == "p"]
    assert len(refused) > 1
    assert all("held dark" in decision.why and not decision.t_applied_ns for decision in refused)
    assert rig.grabber.statistics().received == 20

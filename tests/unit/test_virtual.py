"""Virtual time: bit-identical runs, newest wins by virtual arrival, every frame on request."""

from dataclasses import replace

from fakes import ScriptedModel, ScriptedPolicy, VirtualRig

from smartscope.clock import LiveClock, VirtualClock
from smartscope.command import Request, SetExposure
from smartscope.decider import RankedPolicy
from smartscope.pipeline import Stage
from smartscope.ports import Choice, Clock, Context


def creeping(context: Context) -> Choice:
    """Asks for a little more exposure with each result."""
    return Choice([Request(SetExposure(context.settings.exposure_ms + 0.01), "creep")])


def run(schedule: str = "live", virtual_ms: float = 12.0) -> VirtualRig:
    rig = VirtualRig(
        [RankedPolicy("creep", ScriptedPolicy(creeping), virtual_ms=1.0)],
        [Stage("slow", ScriptedModel(), 100, virtual_ms)],
        schedule,  # type: ignore[arg-type]
        frames=50,
    )
    rig.go()
    return rig


def test_two_runs_are_the_same() -> None:
    first, second = run(), run()
    assert first.diary.decisions == second.diary.decisions
    assert first.diary.events == second.diary.events
    assert [replace(f, pixels=None) for f in first.diary.frames] == [
        replace(f, pixels=None) for f in second.diary.frames
    ]  # type: ignore[arg-type]


def test_a_slow_pipeline_takes_the_newest_frame_only() -> None:
    rig = run()
    processed = [result.frame.index for result, _ in rig.diary.results]
    assert processed[:4] == [0, 2, 4, 7]
    assert rig.mailbox.statistics().displaced > 20


def test_every_frame_on_request() -> None:
    rig = run("every")
    processed = [result.frame.index for result, _ in rig.diary.results]
    assert processed == list(range(len(processed)))
    assert len(processed) >= 45


def test_results_are_ready_after_their_virtual_duration() -> None:
    rig = run(virtual_ms=3.0)
    result, _ = rig.diary.results[0]
    assert result.ready_ns - result.frame.t_received_ns == 3_000_000
    decision = next(d for d in rig.diary.decisions if d.policy == "creep")
    assert decision.t_ns - decision.t_result_ns == 1_000_000
    assert decision.latency_ms == 4.0


def test_clocks() -> None:
    clock = VirtualClock()
    clock.sleep(0.5)
    clock.advance_to(3)
    assert clock.now_ns() == 500_000_000
    live = LiveClock()
    before = live.now_ns()
    live.sleep(0)
    assert live.now_ns() >= before
    assert isinstance(clock, Clock)
    assert isinstance(live, Clock)

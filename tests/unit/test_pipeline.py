"""Stages run in order; late answers are discarded, failures and nonsense are contained and named."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes import SHAPE, ScriptedModel, a_frame

from smartscope.clock import VirtualClock
from smartscope.errors import StageFailed
from smartscope.frame import Frame
from smartscope.pipeline import LATE_IN_A_ROW, Pipeline, Stage
from smartscope.result import Result, empty_detections


class SlowClock(VirtualClock):
    """A clock that says it is real, so that durations are measured."""

    virtual = False


def answering(**fields: object) -> ScriptedModel:
    return ScriptedModel(lambda frames, so_far: replace(so_far, **fields))  # type: ignore[arg-type]


def test_stages_extend_the_result_in_order() -> None:
    pipeline = Pipeline(
        [Stage("a", answering(quality={"x": 1.0}), 10), Stage("b", answering(trust=0.5), 10)], VirtualClock()
    )
    result = pipeline.process((a_frame(),))
    assert result.quality == {"x": 1.0}
    assert result.trust == 0.5
    assert [timing.stage for timing in result.timings] == ["a", "b"]


def test_each_model_gets_the_past_it_asked_for() -> None:
    greedy, modest = ScriptedModel(), ScriptedModel()
    greedy.history = 2
    pipeline = Pipeline([Stage("greedy", greedy, 10), Stage("modest", modest, 10)], VirtualClock())
    assert pipeline.history == 2
    pipeline.process(tuple(a_frame(i) for i in range(3)))
    assert (greedy.windows, modest.windows) == ([3], [1])


def test_warm_up_happens_once_per_shape() -> None:
    model = ScriptedModel()
    pipeline = Pipeline([Stage("m", model, 10)], VirtualClock())
    pipeline.warm_up(SHAPE)
    pipeline.process((a_frame(),))
    pipeline.process((replace(a_frame(), pixels=np.zeros((8, 8), np.uint16)),))
    assert model.shapes == [SHAPE, (8, 8)]


def test_a_late_answer_is_discarded_and_nothing_may_act_on_the_rest() -> None:
    clock = SlowClock()

    def slow(frames: Sequence[Frame], so_far: Result) -> Result:
        clock.sleep(0.02)
        return replace(so_far, quality={"late": 1.0})

    pipeline = Pipeline([Stage("slow", ScriptedModel(slow), 10), Stage("next", answering(trust=1.0), 10)], clock)
    result = pipeline.process((a_frame(),))
    assert result.quality == {}
    assert result.trust == 0
    assert "slow took 20 ms" in result.why_trust
    assert result.timings[0].outcome == "late"
    assert result.timings[1].outcome == "ok"
    for _ in range(LATE_IN_A_ROW - 2):
        pipeline.process((a_frame(),))
    with pytest.raises(StageFailed, match="late 20 times in a row"):
        pipeline.process((a_frame(),))
    assert pipeline.process((a_frame(),)).timings[0].outcome == "skipped"


def test_a_model_that_raises_loses_its_say() -> None:
    def raising(frames: Sequence[Frame], so_far: Result) -> Result:
        raise ValueError("bad weights")

    pipeline = Pipeline([Stage("sick", ScriptedModel(raising), 10)], VirtualClock())
    with pytest.raises(StageFailed, match="model sick: raised ValueError: bad weights"):
        pipeline.process((a_frame(),))
    assert pipeline.busy_with is None
    assert pipeline.process((a_frame(),)).timings[0].outcome == "skipped"


def test_warm_up_that_raises_is_named() -> None:
    class Broken(ScriptedModel):
        def warm_up(self, shape: tuple[int, int]) -> None:
            raise MemoryError("too large")

    with pytest.raises(StageFailed, match="warm-up raised MemoryError"):
        Pipeline([Stage("big", Broken(), 10)], VirtualClock()).warm_up(SHAPE)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda frames, so_far: None, "NoneType instead of a Result"),
        (lambda frames, so_far: replace(so_far, frame=a_frame(5)), "about another frame"),
        (lambda frames, so_far: replace(so_far, image=np.zeros((2, 2), np.float32)), "shape"),
        (lambda frames, so_far: replace(so_far, trust=1.5), "outside 0..1"),
        (lambda frames, so_far: replace(so_far, trust=float("nan")), "outside 0..1"),
        (lambda frames, so_far: replace(so_far, quality={"snr": float("inf")}), "not finite"),
        (
            lambda frames, so_far: replace(
                so_far, detections=replace(empty_detections(), x_px=np.array([np.nan], np.float32))
            ),
            "positions that are not finite in Detections",
        ),
    ],
)
def test_nonsense_never_reaches_a_policy(answer: object, message: str) -> None:
    pipeline = Pipeline([Stage("odd", ScriptedModel(answer), 10)], VirtualClock())  # type: ignore[arg-type]
    with pytest.raises(StageFailed, match=message):
        pipeline.process((a_frame(),))

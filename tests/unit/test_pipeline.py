"""Stages run in order; late answers are discarded, failures and nonsense are contained, named, and handed over."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from fakes import SHAPE, ScriptedModel, a_frame
from track_helpers import told

from smartscope.clock import VirtualClock
from smartscope.errors import StageFailed
from smartscope.frame import Frame
from smartscope.pipeline import LATE_IN_A_ROW, Abandoned, Pipeline, Stage
from smartscope.ports import READABLE
from smartscope.result import Result, StageTiming, empty_detections, empty_tracks


class SlowClock(VirtualClock):
    """A clock that says it is real, so that durations are measured."""

    virtual = False


def raising(frames: Sequence[Frame], so_far: Result) -> Result:
    raise ValueError("bad weights")


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
        (lambda frames, so_far: replace(so_far, image_trust=-0.1), "trust in the image of -0.1, outside 0..1"),
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


@pytest.mark.parametrize(("reads", "rests"), [(frozenset(READABLE), True), (frozenset({"tracks"}), False)])
def test_what_a_tracker_tells_counts_as_resting_on_the_image_where_it_does(reads: frozenset[str], rests: bool) -> None:
    tracker = ScriptedModel(lambda frames, so_far: told(so_far))
    tracker.reads = reads  # type: ignore[attr-defined]
    image = answering(image=np.zeros(SHAPE, np.float32), image_trust=0.5)
    pipeline = Pipeline([Stage("image", image, 10), Stage("tracker", tracker, 10)], VirtualClock())
    result = pipeline.process((a_frame(8),))
    assert result.from_image == ({"image", "tracks", "events"} if rests else {"image"})
    left = result.raw()
    assert [(part is None) for part in (left.tracks, left.settled, left.revisions, left.events)] == [rests] * 4


def test_a_revision_alone_counts_as_tracks() -> None:
    revising = ScriptedModel(lambda frames, so_far: replace(so_far, revisions=told(so_far).revisions))
    image = answering(image=np.zeros(SHAPE, np.float32))
    pipeline = Pipeline([Stage("image", image, 10), Stage("revising", revising, 10)], VirtualClock())
    assert pipeline.process((a_frame(8),)).from_image == {"image", "tracks"}


def test_events_are_counted() -> None:
    pipeline = Pipeline([Stage("t", ScriptedModel(lambda frames, so_far: told(so_far)), 10)], VirtualClock())
    for index in range(7):
        pipeline.process((a_frame(index),))
    assert pipeline.happened.counts() == {"division": 1, "arrest": 1}


# ---------------------------------------------------------------- fall-backs


@pytest.mark.parametrize("answer", [raising, lambda frames, so_far: None], ids=["raises", "nonsense"])
def test_a_model_that_fails_hands_the_same_frame_to_its_fallback(answer: object) -> None:
    good = answering(quality={"x": 1.0})
    stage = Stage("sick", ScriptedModel(answer), 10, 2.0, ("good", good))  # type: ignore[arg-type]
    pipeline, told = Pipeline([stage], VirtualClock()), []
    pipeline.on_fallback = told.append
    pipeline.warm_up(SHAPE)
    assert good.shapes == [SHAPE]
    results = [pipeline.process((a_frame(k),)) for k in range(3)]
    assert [result.quality for result in results] == [{"x": 1.0}] * 3
    assert [result.timings[0].stage for result in results] == ["good"] * 3
    assert pipeline.fallbacks == told
    assert [(fallback.stage, fallback.to) for fallback in told] == [("sick", "good")]
    assert told[0].why.startswith(("raised ValueError: bad weights", "returned NoneType"))
    assert pipeline.fell_back == 3


def test_a_fallback_that_fails_is_the_end_of_the_stage() -> None:
    pipeline = Pipeline(
        [Stage("sick", ScriptedModel(raising), 10, 0.0, ("worse", ScriptedModel(raising)))], SlowClock()
    )
    with pytest.raises(StageFailed, match="model worse: raised ValueError"):
        pipeline.process((a_frame(),))
    assert pipeline.process((a_frame(),)).timings[0].outcome == "skipped"


def test_a_model_that_is_late_again_and_again_hands_over() -> None:
    clock = SlowClock()

    def slow(frames: Sequence[Frame], so_far: Result) -> Result:
        clock.sleep(0.02)
        return so_far

    pipeline = Pipeline([Stage("slow", ScriptedModel(slow), 10, 0.0, ("quick", ScriptedModel()))], clock)
    timings = [pipeline.process((a_frame(),)).timings[0] for _ in range(LATE_IN_A_ROW + 2)]
    assert [timing.outcome for timing in timings] == ["late"] * LATE_IN_A_ROW + ["ok"] * 2
    assert [timing.stage for timing in timings[-3:]] == ["slow", "quick", "quick"]
    assert pipeline.late == LATE_IN_A_ROW
    assert pipeline.fell_back == 3  # the hand-over was in the pass that was late for the last time


def test_the_past_suffices_for_the_fallback_too() -> None:
    greedy = ScriptedModel()
    greedy.history = 2
    pipeline = Pipeline([Stage("m", ScriptedModel(raising), 10, 0.0, ("greedy", greedy))], VirtualClock())
    assert pipeline.history == 2
    pipeline.process(tuple(a_frame(i) for i in range(3)))
    assert greedy.windows == [3]


class Unwilling(ScriptedModel):
    """Takes frames of one shape only."""

    def warm_up(self, shape: tuple[int, int]) -> None:
        if shape != SHAPE:
            raise MemoryError("too large")
        super().warm_up(shape)


def test_a_model_that_cannot_take_a_new_shape_hands_over() -> None:
    spare = answering(trust=0.9)
    pipeline = Pipeline([Stage("m", Unwilling(), 10, 0.0, ("spare", spare))], VirtualClock())
    pipeline.warm_up(SHAPE)
    small = replace(a_frame(), pixels=np.zeros((8, 8), np.uint16))
    assert pipeline.process((small,)).trust == 0.9
    assert spare.shapes == [SHAPE, (8, 8)]
    assert pipeline.fallbacks[0].why == "warm-up raised MemoryError: too large"


def test_without_fallback_it_fails_once_and_is_silent() -> None:
    pipeline = Pipeline([Stage("m", Unwilling(), 10)], VirtualClock())
    pipeline.warm_up(SHAPE)
    small = replace(a_frame(), pixels=np.zeros((8, 8), np.uint16))
    with pytest.raises(StageFailed, match="warm-up raised MemoryError"):
        pipeline.process((small,))
    assert pipeline.process((small,)).timings[0].outcome == "skipped"


class Stuck(ScriptedModel):
    """Does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.let_go = threading.Event(), threading.Event()

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        self.entered.set()
        self.let_go.wait(30)
        return so_far


def test_a_pass_that_hangs_is_abandoned_and_the_next_has_the_fallback() -> None:
    stuck, after = Stuck(), ScriptedModel()
    stages = [Stage("stuck", stuck, 10, 0.0, ("spare", ScriptedModel())), Stage("after", after, 10)]
    pipeline, ends = Pipeline(stages, SlowClock()), []

    def wait_in_vain() -> None:
        try:
            pipeline.process((a_frame(),))
        except Abandoned as error:
            ends.append(error)

    thread = threading.Thread(target=wait_in_vain)
    thread.start()
    assert stuck.entered.wait(30)
    since_ns = pipeline.busy_since_ns
    assert pipeline.abandon(stages[1], since_ns, "another stage")  # it is not this one that is busy: nothing happens
    assert not pipeline.fallbacks
    assert pipeline.abandon(stages[0], since_ns, "has not answered")
    assert (pipeline.busy_with, pipeline.abandoned) == (None, 1)
    result = pipeline.process((a_frame(1),))
    assert [timing.stage for timing in result.timings] == ["spare", "after"]
    stuck.let_go.set()
    thread.join(30)
    assert len(ends) == 1
    assert after.windows == [1]  # the abandoned pass went no further


def test_without_fallback_nothing_is_abandoned() -> None:
    stage = Stage("m", ScriptedModel(), 10)
    pipeline = Pipeline([stage], SlowClock())
    pipeline.busy_with, pipeline.busy_since_ns = stage, 5
    assert not pipeline.abandon(stage, 5, "has not answered")
    assert pipeline.busy_with is stage
    assert pipeline.abandoned == 0


def test_a_recorded_pass_is_followed_into_the_fallback() -> None:
    stages = [Stage("a", ScriptedModel(), 10), Stage("b", ScriptedModel(), 10, 0.0, ("c", ScriptedModel()))]
    pipeline = Pipeline(stages, VirtualClock())
    pipeline.follow((StageTiming("a", 0, 1), StageTiming("b", 1, 2)))
    assert not pipeline.fallbacks
    pipeline.follow((StageTiming("a", 0, 1), StageTiming("c", 1, 2)))
    assert [timing.stage for timing in pipeline.process((a_frame(),)).timings] == ["a", "c"]


# ---------------------------------------------------------------- what rests on the denoised image


def imaging(trust: float | None) -> ScriptedModel:
    """A denoiser that says of its image how far to trust it."""

    def denoise(frames: Sequence[Frame], so_far: Result) -> Result:
        image, residual_map = np.zeros(SHAPE, np.float32), np.ones((2, 2, 3), np.float32)
        quality = {**so_far.quality, "residual_chi2": 1.0}
        return replace(so_far, image=image, image_trust=trust, residual_map=residual_map, quality=quality)

    return ScriptedModel(denoise)


def adding(**fields: object) -> ScriptedModel:
    """Says these things beside what was said before."""
    quality: dict[str, float] = fields.pop("quality", {})  # type: ignore[assignment]

    def add(frames: Sequence[Frame], so_far: Result) -> Result:
        return replace(so_far, quality={**so_far.quality, **quality}, **fields)  # type: ignore[arg-type]

    return ScriptedModel(add)


def reading(model: ScriptedModel, *values: str) -> ScriptedModel:
    """The model, saying that it rests on these values alone, beside the raw frames."""
    model.reads = frozenset(values)  # type: ignore[attr-defined]
    return model


def after(*models: ScriptedModel) -> Result:
    stages = [Stage(f"s{i}", model, 10) for i, model in enumerate(models)]
    return Pipeline(stages, VirtualClock()).process((a_frame(),))


def test_what_comes_after_an_image_rests_on_it() -> None:
    before, later = adding(quality={"signal_e": 3.0}), adding(quality={"cells": 2.0}, tracks=empty_tracks())
    result = after(before, imaging(0.9), later)
    assert result.from_image == {"image", "residual_chi2", "cells", "tracks"}
    assert result.image_trust == 0.9
    bare = result.raw()
    assert (bare.image, bare.tracks, bare.image_trust, bare.residual_map) == (None, None, None, None)
    assert bare.quality == {"signal_e": 3.0}
    assert not bare.from_image


def test_models_that_look_at_raw_frames_alone_do_not_rest_on_it() -> None:
    spots = reading(adding(detections=empty_detections(), quality={"spots": 1.0}))
    result = after(imaging(0.9), spots)
    assert result.from_image == {"image", "residual_chi2"}
    assert result.raw().detections is result.detections
    assert result.raw().quality == {"spots": 1.0}
    cells_too = adding(detections=empty_detections())
    assert "detections" in after(imaging(0.9), spots, cells_too).from_image
    assert "detections" in after(imaging(0.9), cells_too, spots).from_image
    tracker = reading(adding(tracks=empty_tracks()), "detections")
    assert "tracks" not in after(imaging(0.9), spots, tracker).from_image
    assert "tracks" in after(imaging(0.9), cells_too, tracker).from_image
    critic = reading(adding(quality={"sum": 3.0}), "quality")
    assert "sum" in after(imaging(0.9), critic).from_image  # residual_chi2 rests on the image
    assert "sum" not in after(spots, critic).from_image


def test_without_an_image_everything_is_raw() -> None:
    assert not after(adding(detections=empty_detections()), adding(tracks=empty_tracks())).from_image


def test_an_image_that_takes_anothers_place_is_not_trusted_for_it() -> None:
    sharper = adding(image=np.ones(SHAPE, np.float32))
    result = after(imaging(0.9), sharper)
    assert result.image_trust is None
    assert result.residual_map is None
    assert after(imaging(0.9), imaging(0.8)).image_trust == 0.8

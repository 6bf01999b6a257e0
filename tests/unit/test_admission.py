"""What is too old, or rests on an image that cannot be trusted, drives nothing, is refused by name, and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import SHAPE, ScriptedModel, ScriptedPolicy, VirtualRig, a_frame

from smartscope.admission import Admission, Refusal, rests_on_image
from smartscope.command import Request, SetExposure, SetLight
from smartscope.config import SafetyConfig
from smartscope.decider import RankedPolicy
from smartscope.frame import Frame
from smartscope.pipeline import Stage
from smartscope.ports import Choice, Context
from smartscope.result import Result, empty_tracks

ADMISSION = Admission(max_age_ms=100.0, min_image_trust=0.5)


class Reader(ScriptedPolicy):
    """Asks for this exposure with each result, says what it reads, and keeps what it was shown."""

    def __init__(
        self, *reads: str, exposure_ms: float = 7.0, choose: Callable[[Context], object] | None = None
    ) -> None:
        self.shown: list[Result] = []
        self.states: list[Any] = []
        self.reads = frozenset(reads)

        def look(context: Context) -> Choice:
            self.shown.append(context.result)
            self.states.append(context.state)
            return Choice([Request(SetExposure(exposure_ms), "because")], context.result.frame.index)

        super().__init__(look)


def denoising(trust: Callable[[int], float | None]) -> list[Stage]:
    """A denoiser whose image of frame k has this trust, and a tracker."""

    def denoise(frames: Sequence[Frame], so_far: Result) -> Result:
        image, image_trust = np.zeros(SHAPE, np.float32), trust(so_far.frame.index)
        return replace(so_far, image=image, image_trust=image_trust, why_trust="" if image_trust == 1 else "a blur")

    def track(frames: Sequence[Frame], so_far: Result) -> Result:
        return replace(so_far, tracks=empty_tracks(), quality={**so_far.quality, "cells": 2.0})

    def measure(frames: Sequence[Frame], so_far: Result) -> Result:
        return replace(so_far, quality={"signal_e": 3.0})

    models = {"measure": measure, "denoise": denoise, "track": track}
    return [Stage(name, ScriptedModel(answer), 50) for name, answer in models.items()]


def test_the_rules_are_the_configurations() -> None:
    assert Admission.of(SafetyConfig()) == Admission(1000.0, 0.5)
    assert Admission.of(SafetyConfig(max_result_age_ms=50, min_image_trust=0.9)) == Admission(50.0, 0.9)


def test_age_counts_from_the_middle_of_the_exposure() -> None:
    result = Result(a_frame(t_ns=1_000_000))  # exposed from 1 to 2 ms
    assert ADMISSION.too_old(result, 101_500_000) is None
    refusal = ADMISSION.too_old(result, 101_500_001)
    assert refusal == Refusal("age", "the result is 100 ms old; at most 100 (max_result_age_ms)")


@pytest.mark.parametrize(
    ("trust", "why", "says"),
    [
        (None, "", "nobody has judged the denoised image"),
        (0.49, "", "trust in the image 0.49; at least 0.5 (min_image_trust)"),
        (0.0, "a blur", "trust in the image 0; at least 0.5 (min_image_trust): a blur"),
    ],
)
def test_an_image_needs_trust(trust: float | None, why: str, says: str) -> None:
    image = np.zeros(SHAPE, np.float32)
    judged = Result(a_frame(), image=image, image_trust=trust, why_trust=why)
    recorded = replace(judged, image=None, from_image=frozenset({"image"}))  # as it comes back from the record
    assert ADMISSION.untrusted(judged) == ADMISSION.untrusted(recorded) == Refusal("image_trust", says)
    assert ADMISSION.untrusted(replace(judged, image_trust=0.5)) is None
    assert ADMISSION.untrusted(replace(judged, image=None)) is None


def test_what_a_policy_reads() -> None:
    result = Result(a_frame(), from_image=frozenset({"image", "tracks", "cells"}))
    assert rests_on_image(Reader("tracks"), result)
    assert rests_on_image(ScriptedPolicy(lambda context: Choice()), result)  # whoever says nothing reads everything
    assert not rests_on_image(Reader("quality", "detections"), result)
    assert not rests_on_image(ScriptedPolicy(lambda context: Choice()), Result(a_frame()))


# ---------------------------------------------------------------- in a run


def run(trust: Callable[[int], float | None], *policies: ScriptedPolicy, **config: object) -> VirtualRig:
    ranked = [RankedPolicy(f"p{i}", policy, -i) for i, policy in enumerate(policies)]
    rig = VirtualRig(ranked, denoising(trust), "every", **config)
    rig.go()
    return rig


def test_a_trusted_image_is_shown_to_all() -> None:
    tracker, meter = Reader("tracks"), Reader("quality", exposure_ms=9.0)
    rig = run(lambda index: 0.5, tracker, meter)
    assert all(result.tracks is not None and result.image is not None for result in tracker.shown + meter.shown)
    assert rig.microscope.now.exposure_ms == 7.0
    assert rig.decider.untrusted == 0


@pytest.mark.parametrize("trust", [0.49, None])
def test_an_untrusted_image_drives_nothing_and_its_rival_acts_on_the_raw_frame(trust: float | None) -> None:
    tracker, meter = Reader("tracks"), Reader("quality", exposure_ms=9.0)
    rig = run(lambda index: trust, tracker, meter)
    refused = [decision for decision in rig.diary.decisions if decision.policy == "p0"]
    assert len(refused) == rig.loop.decided == rig.decider.untrusted > 10
    assert {(decision.clipped_by, decision.granted, decision.t_applied_ns) for decision in refused} == {
        ("image_trust", None, 0)
    }
    assert all("because [" in decision.why for decision in refused)
    assert set(tracker.states) == {None}  # it remembers nothing of what it was shown
    assert rig.microscope.now.exposure_ms == 9.0  # the higher rank does not own what it may not ask for
    for result in meter.shown:
        assert (result.image, result.tracks, dict(result.quality)) == (None, None, {"signal_e": 3.0})
    assert meter.states[-1] is not None


def test_a_policy_that_does_not_say_what_it_reads_rests_on_everything() -> None:
    silent = Reader()
    del silent.reads
    rig = run(lambda index: 0.1, silent)
    assert {decision.clipped_by for decision in rig.diary.decisions if decision.policy == "p0"} == {"image_trust"}
    assert rig.microscope.now.exposure_ms == 5.0


def test_one_bad_image_costs_one_decision() -> None:
    tracker = Reader("tracks")
    rig = run(lambda index: 0.0 if index == 4 else 1.0, tracker)
    refused = [decision.frame for decision in rig.diary.decisions if decision.clipped_by == "image_trust"]
    assert refused == [4]
    assert tracker.states[:7] == [None, 0, 1, 2, 3, 3, 5]
    assert rig.decider.untrusted == 1


def test_a_stricter_run() -> None:
    rig = run(lambda index: 0.9, Reader("tracks"), safety={"min_image_trust": 0.95})
    assert rig.decider.untrusted == rig.loop.decided


def test_a_result_that_is_too_old_drives_nothing() -> None:
    meter = Reader("quality")
    slow = [Stage("slow", ScriptedModel(), 100, 40.0)]
    ranked = [RankedPolicy("p", meter)]
    rig = VirtualRig(ranked, slow, "live", frames=60, safety={"max_result_age_ms": 42.4})
    rig.go()  # 40 ms of model after 2.5 ms of exposure
    refused = [decision for decision in rig.diary.decisions if decision.policy == "p"]
    assert len(refused) == rig.decider.stale == rig.loop.decided > 3
    assert {decision.clipped_by for decision in refused} == {"age"}
    assert all("ms old; at most 42.4 (max_result_age_ms)" in decision.why for decision in refused)
    assert set(meter.states) == {None}
    assert rig.microscope.now.exposure_ms == 5.0
    rig = VirtualRig(ranked, slow, "live", frames=60, safety={"max_result_age_ms": 48.0})
    rig.go()
    assert rig.decider.stale < rig.loop.decided
    assert rig.microscope.now.exposure_ms == 7.0


def test_going_dark_needs_neither_youth_nor_trust() -> None:
    """Dimmer is refused like everything else; dark is not."""

    def choose(context: Context) -> Choice:
        return Choice([Request(SetLight("laser", 0.0 if context.elapsed_s > 0.05 else 1.0), "who knows")])

    slow = [Stage("slow", ScriptedModel(), 100, 40.0)]
    ranked = [RankedPolicy("p", ScriptedPolicy(choose))]
    rig = VirtualRig(ranked, slow, "live", frames=60, safety={"max_result_age_ms": 42.4})
    rig.go()
    made = [decision for decision in rig.diary.decisions if decision.policy == "p"]
    assert (made[0].asked, made[0].granted, made[0].clipped_by) == (SetLight("laser", 1.0), None, "age")
    assert (made[-1].granted, made[-1].clipped_by) == (SetLight("laser", 0.0), "")
    assert SetLight("laser", 1.0) not in rig.microscope.applied
    assert SetLight("laser", 0.0) in rig.microscope.applied


def test_safety_does_not_wait_for_trust_or_youth() -> None:
    rig = run(lambda index: 0.0, Reader("tracks"), budget_j_per_cm2=20.0, frames=400)
    spent = rig.ledger.state(rig.clock.now_ns()).spent_j_per_cm2
    assert 0.8 * 20 < spent <= 20
    assert SetLight("laser", 0.0) in rig.granted("safety")

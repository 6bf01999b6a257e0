"""Which field next: unknown ones first, lively ones more often, forgotten ones again; journeys, dose and limits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from smartscope.command import MoveStage
from smartscope.config import LimitsConfig
from smartscope.frame import Certainty
from smartscope.policies.overview import OverviewPolicy, Survey, Tile
from smartscope.ports import Choice, Context, DoseState
from smartscope.result import Events, empty_detections
from smartscope.testing.policy_contract import LIMITS, SETTINGS, context

QUICK = {"stage_um_per_s": 1e6, "settle_s": 1e-4}
OPEN = LIMITS.model_copy(update={"max_stage_step_um": 1e3})


def _policy(**options: Any) -> OverviewPolicy:
    """Six fields, an all but immediate stage."""
    return OverviewPolicy(3, 2, 40.0, **{"counts": "figure", "figure": "spots", "dwell_frames": 2, **QUICK, **options})


def _context(place: tuple[float, float], value: float = 0.0, *, t_s: float = 1.0, **changes: Any) -> Context:
    settings = replace(SETTINGS, x_um=place[0], y_um=place[1])
    told = {"settings": settings, "limits": OPEN, "dose": DoseState(), "quality": {"spots": value}, **changes}
    return context(t_s, **told)


def _went(choice: Choice) -> tuple[float, float]:
    (request,) = choice.requests
    assert isinstance(request.command, MoveStage)
    return request.command.x_um, request.command.y_um


def _trip(policy: OverviewPolicy, rates: dict[int, float], frames: int, step_s: float = 0.1) -> list[int]:
    """The field of each frame when each field shows a steady count."""
    place, state, fields = policy.places[0], None, list[int]()
    for n in range(frames):
        here = policy.places.index(place)
        choice = policy.decide(_context(place, rates.get(here, 0.0), t_s=n * step_s, state=state))
        fields.append(here)
        state, place = choice.state, _went(choice) if choice.requests else place
    return fields


def test_sees_every_field_once_before_it_comes_back() -> None:
    """To the nearest that is not known, each time: a raster to and fro."""
    fields = _trip(_policy(), {}, 14)
    assert sorted(set(fields)) == [0, 1, 2, 3, 4, 5]
    assert [here for n, here in enumerate(fields) if here not in fields[:n]] == [0, 1, 2, 3, 4, 5]


def test_lively_fields_are_seen_more_often() -> None:
    fields = _trip(_policy(forget_s=20.0, prior_rate=20.0, boldness=6.0), {4: 1.0}, 400)
    counts = np.bincount(fields, minlength=6)
    assert counts[4] > 200
    assert len(set(fields[:40])) > 3, "others were tried before"


def test_what_was_seen_is_forgotten() -> None:
    """A field that was quiet is worth another look after a while; one that was lively, no more than others."""
    policy = _policy(forget_s=100.0)
    tiles = (Tile(0.0, 5.0, 0.0), Tile(50.0, 5.0, 0.0), *(Tile(5.0, 5.0, 0.0),) * 4)
    soon = policy.scores(Survey(tiles), 1.0, (0.0, 0.0), 0.01)
    late = policy.scores(Survey(tiles), 3000.0, (0.0, 0.0), 0.01)
    assert soon[1] > 10 * soon[0]
    assert late[1] == pytest.approx(late[0], rel=0.01), "equally far away"


def test_a_journey_costs() -> None:
    policy = _policy(stage_um_per_s=10.0)
    scores = policy.scores(Survey(tuple(Tile() for _ in policy.places)), 0.0, policy.places[0], 0.01)
    assert scores[0] > scores[1] > scores[2]


def test_says_where_and_why() -> None:
    choice = _policy().decide(_context((500.0, 0.0), limits=OPEN))
    assert _went(choice) in _policy().places
    assert choice.requests[0].why.startswith("field ")
    assert choice.requests[0].why.endswith("/s")


def test_goes_in_steps_that_the_limits_allow() -> None:
    short = LIMITS.model_copy(update={"max_stage_step_um": 5.0})
    policy = _policy()
    choice = policy.decide(_context((0.0, 0.0), limits=short))
    there = policy.places[choice.state.here]
    assert math.hypot(*_went(choice)) == pytest.approx(5.0)
    on = policy.decide(_context(_went(choice), limits=short, state=choice.state, t_s=1.1))
    assert on.requests[0].why == "on the way"
    assert math.dist(_went(on), there) < math.dist(_went(choice), there)


def test_counts_new_events_once() -> None:
    ints, floats = np.array([7, 8], np.int32), np.zeros(2, np.float32)
    status = np.array([0, 2], np.int32)
    told = Events(ints, ints * 0, status, ints * 0, floats, floats, floats, ints, ints)
    policy = OverviewPolicy(1, 1, dwell_frames=10)
    state = Survey((Tile(),), here=0)
    for _ in range(3):
        given = _context((0.0, 0.0), state=state)
        state = policy.decide(replace(given, result=replace(given.result, events=told))).state
    assert state.tiles[0].count == pytest.approx(1.0)
    assert state.tiles[0].lit_s == pytest.approx(0.03)


def test_counts_detections() -> None:
    policy = OverviewPolicy(1, 1, counts="detections", dwell_frames=10)
    one = np.ones(3, np.float32)
    found = replace(empty_detections(), x_px=one, y_px=one, size_px=one, intensity=one, label=one.astype(np.int32))
    given = _context((0.0, 0.0), state=Survey((Tile(),), here=0))
    assert policy.decide(replace(given, result=replace(given.result, detections=found))).state.tiles[0].count == 3


@pytest.mark.parametrize("changes", [{"trust": 0.1}, {"certainty": {"xy": Certainty.MIXED}}])
def test_poor_frames_count_as_time_alone(changes: dict[str, Any]) -> None:
    policy, state = _policy(), Survey(tuple(Tile() for _ in range(6)), here=0)
    seen = policy.decide(_context(policy.places[0], 5.0, state=state, **changes)).state
    assert seen.frames == 1
    assert seen.tiles[0].count == 0


def test_frames_of_another_place_count_nowhere() -> None:
    policy, state = _policy(), Survey(tuple(Tile() for _ in range(6)), here=0)
    given = _context(policy.places[0], 5.0, state=state, frame_settings=replace(SETTINGS, x_um=300.0))
    assert policy.decide(given).state == state


def test_a_field_without_dose_is_left_for_good() -> None:
    policy, state = _policy(), Survey(tuple(Tile() for _ in range(6)), here=0)
    choice = policy.decide(_context(policy.places[0], 1.0, state=state, dose=DoseState(2.0, 1.0)))
    assert choice.state.tiles[0].closed_until_s == math.inf
    assert _went(choice) != policy.places[0]


def test_a_field_out_of_reach_is_passed_over() -> None:
    policy, state = _policy(), Survey(tuple(Tile() for _ in range(6)), here=5, asked_s=0.0)
    choice = policy.decide(_context((500.0, 500.0), t_s=11.0, state=state))
    assert choice.state.tiles[5].closed_until_s == pytest.approx(611.0)
    assert choice.state.here != 5


def test_rests_where_nothing_is_open() -> None:
    closed = Survey(tuple(Tile(closed_until_s=math.inf) for _ in range(6)))
    assert _policy().decide(_context((0.0, 0.0), state=closed)) == Choice(state=closed)


def test_without_limits_for_the_stage_it_stays() -> None:
    assert not _policy().decide(_context((0.0, 0.0), limits=LimitsConfig())).requests

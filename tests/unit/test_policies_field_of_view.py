"""The field-of-view policy against a moving target and a delayed stage or region; and who is followed when."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from smartscope.command import MoveStage, SetRoi
from smartscope.config import LimitsConfig, Range
from smartscope.frame import Certainty, Roi
from smartscope.policies.field_of_view import FieldOfViewPolicy
from smartscope.policies.motion import Forecast, Motion, Sighting
from smartscope.policies.targets import Target
from smartscope.ports import Choice, Context
from smartscope.result import Tracks
from smartscope.testing.policy_contract import LIMITS, context, tracks
from tests.following_plant import PIXEL_UM, SENSOR, START, Plant


def _straight(t_s: float) -> tuple[float, float]:
    return 1.6 * t_s, 1.2 * t_s


def _at_rest(t_s: float) -> tuple[float, float]:
    return 4.5, -2.0


def test_keeps_a_target_of_two_micrometres_a_second_in_view() -> None:
    """It would leave the 12.8 um view after 3 s; the deadband is 3 um, overstepped by no more than the delay's way."""
    plant = Plant(_straight)
    plant.run(FieldOfViewPolicy(), 20)
    assert all(plant.inside)
    assert max(plant.off_px) * PIXEL_UM < 3.5
    assert len(plant.commands) == pytest.approx(20 * 2 / 3, abs=4), "moves more often than it must"


def test_keeps_a_fast_target_in_a_narrow_deadband() -> None:
    """10 um/s: the delay alone is worth 0.6 um; the prediction takes it up."""
    plant = Plant(lambda t_s: (8 * t_s, 6 * t_s), noise_px=0.05)
    plant.run(FieldOfViewPolicy(deadband_um=0.5), 10)
    late = plant.off_px[100:]
    assert all(plant.inside)
    assert math.sqrt(sum(o * o for o in late) / len(late)) * PIXEL_UM < 0.35, "holding gives 0.85"


def test_reaches_a_target_at_rest_once_and_rests() -> None:
    plant = Plant(_at_rest)
    plant.run(FieldOfViewPolicy(), 5)
    assert len(plant.commands) == 1
    assert plant.off_px[-1] < 2


def test_brownian_target_costs_no_more_than_holding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Following with prediction centres a random walk within 2 % of following its last place."""
    steps = np.random.default_rng(4).normal(0, 0.1, (4, 1200, 2)).cumsum(axis=1).tolist()

    def off_centre() -> float:
        total = 0.0
        for walk in steps:
            plant = Plant(lambda t_s, walk=walk: tuple(walk[round(t_s * 100)]), walk_px2_s=100.0)  # type: ignore[misc]
            plant.run(FieldOfViewPolicy(deadband_um=0.3), 11)
            total += sum(off * off for off in plant.off_px)
        return math.sqrt(total)

    predicting = off_centre()
    monkeypatch.setattr(Motion, "forecast", lambda self, t_ns: Forecast(self.x, self.y, 0.0, 0.0))
    assert predicting < 1.02 * off_centre()


def test_survives_a_tracker_that_forgets_names() -> None:
    plant = Plant(_straight, renamed_every=30)
    plant.run(FieldOfViewPolicy(min_age_frames=1000), 1)
    assert not plant.commands, "a track too young must not be chosen"
    plant = Plant(_straight, renamed_every=30)
    plant.run(FieldOfViewPolicy(), 20)
    assert all(plant.inside)


def test_follows_by_region() -> None:
    """The stage stands still; a region of 48 px follows over the sensor."""
    plant = Plant(lambda t_s: (2 * math.sin(t_s), 2 * math.cos(t_s)))
    plant.run(FieldOfViewPolicy(mode="roi", roi_px=48, deadband_um=1.0, margin_um=0.5), 10)
    assert all(plant.inside)
    assert plant.settings.roi.width == plant.settings.roi.height == 48
    assert max(plant.off_px[50:]) * PIXEL_UM < 1.7
    assert all(isinstance(command, SetRoi) and command.roi.x % 4 == 0 for command in plant.commands)


def _context(found: Tracks | None, **changes: Any) -> Context:
    return context(found=found, **{"settings": START, "sensor_shape": SENSOR, **changes})


def _state(x_um: float, y_um: float, t_s: float = 0.9, track_id: int = 7) -> Target:
    return Target(track_id, Motion.begun(Sighting(round(t_s * 1e9), x_um, y_um, 0.02, 0.01)), "nearest of 2", 10.0)


def test_chooses_as_told() -> None:
    found = tracks((1, 60.0, 60.0), (2, 20.0, 20.0), (3, 100.0, 20.0))
    found.size_px[1], found.intensity[2] = 20, 5000
    for how, chosen in (("nearest", 1), ("largest", 2), ("brightest", 3)):
        choice = FieldOfViewPolicy(choose=how).decide(_context(found))  # type: ignore[arg-type]
        assert choice.state.track_id == chosen
        assert choice.state.chosen == f"{how} of 3"


def test_wants_the_right_kind_alive_and_old_enough() -> None:
    spot, missed, young = tracks((1, 9.0, 9.0), label=0), tracks((1, 9.0, 9.0), missed=1), tracks((1, 9.0, 9.0), age=1)
    for found in (spot, missed, young):
        assert FieldOfViewPolicy(label="cell").decide(_context(found)).state is None
    assert FieldOfViewPolicy(label="any").decide(_context(spot)).state.track_id == 1


def test_says_why() -> None:
    (request,) = FieldOfViewPolicy().decide(_context(tracks((7, 103.5, 63.5)))).requests
    assert request.command == MoveStage(pytest.approx(4.0), pytest.approx(0.0))
    assert request.why == "cell 7 (nearest of 1) will be 4 um off centre: stage (0.0, 0.0) -> (4.0, 0.0) um"
    roi = FieldOfViewPolicy(mode="roi", roi_px=64, label="any").decide(_context(tracks((7, 83.5, 63.5))))
    assert roi.requests[0].command == SetRoi(Roi(52, 32, 64, 64))
    assert roi.requests[0].why == (
        "target 7 (nearest of 1) will be 2 um off centre: 64 px region at (0, 0) -> (52, 32)"
    )


def test_waits_while_the_tracker_coasts_then_chooses_anew() -> None:
    found = tracks((7, 63.5, 63.5), missed=2)
    other = tracks((7, 63.5, 63.5), (9, 66.0, 63.5))
    other.missed_frames[0] = 2
    waiting = FieldOfViewPolicy().decide(_context(found, state=_state(0, 0)))
    assert waiting == Choice((), _state(0, 0))
    assert FieldOfViewPolicy().decide(_context(other, state=_state(0, 0))).state.track_id == 7
    assert FieldOfViewPolicy().decide(_context(other, state=_state(0, 0, t_s=0.2))).state.track_id == 9


def test_takes_up_the_nearest_where_the_track_ended() -> None:
    found = tracks((8, 113.5, 63.5), (9, 73.5, 63.5))
    choice = FieldOfViewPolicy().decide(_context(found, state=_state(0, 0)))
    assert (choice.state.track_id, choice.state.chosen) == (9, "found again, was 7")
    far = FieldOfViewPolicy(reacquire_um=0.5).decide(_context(found, state=_state(0, 0)))
    assert far.state.track_id == 7, "waits for the lost one before it chooses anew"


def test_opens_the_whole_sensor_when_all_is_lost() -> None:
    small = replace(START, roi=Roi(32, 32, 64, 64))
    policy = FieldOfViewPolicy(mode="roi")
    (request,) = policy.decide(_context(tracks(), settings=small, state=_state(0, 0, t_s=0.1))).requests
    assert request.command == SetRoi(Roi(0, 0, 128, 128))
    assert request.why == "target 7 lost: whole sensor"
    assert not policy.decide(_context(tracks(), state=_state(0, 0, t_s=0.1))).requests


@pytest.mark.parametrize(
    "changes",
    [{"stage_affine": None}, {"trust": 0.4}, {"certainty": {"xy": Certainty.MIXED}}, {"found": None}],
)
def test_ignores_what_cannot_be_used(changes: dict[str, Any]) -> None:
    given = _context(**{"found": tracks((7, 120.0, 63.5)), "state": _state(0, 0), **changes})
    assert FieldOfViewPolicy().decide(given) == Choice((), _state(0, 0))


def test_stays_within_the_limits_and_does_not_beg() -> None:
    found = tracks((7, 120.0, 63.5))
    near = LimitsConfig(x_um=Range(low=-1, high=1), y_um=Range(low=-1, high=1))
    (request,) = FieldOfViewPolicy().decide(_context(found, limits=near)).requests
    assert request.command == MoveStage(1.0, pytest.approx(0.0))
    at_wall = replace(START, x_um=1.0)
    assert not FieldOfViewPolicy().decide(_context(found, limits=near, settings=at_wall)).requests
    assert not FieldOfViewPolicy().decide(_context(found, limits=LimitsConfig())).requests
    short = LIMITS.model_copy(update={"max_stage_step_um": 2.0})
    (request,) = FieldOfViewPolicy().decide(_context(found, limits=short)).requests
    assert request.command == MoveStage(pytest.approx(2.0), pytest.approx(0.0))


def test_a_small_view_narrows_the_deadband() -> None:
    off_by_2_um = tracks((7, 36.0, 15.5))
    small = replace(START, roi=Roi(48, 48, 32, 32))
    assert FieldOfViewPolicy().decide(_context(off_by_2_um, settings=small)).requests
    (request,) = FieldOfViewPolicy().decide(_context(off_by_2_um, settings=small)).requests
    assert request.command == MoveStage(pytest.approx(2.05), pytest.approx(0.0))


def test_a_moved_stage_between_frame_and_decision_is_allowed_for() -> None:
    """The frame saw the target 4 um off; the stage has gone there since."""
    choice = FieldOfViewPolicy().decide(
        _context(tracks((7, 103.5, 63.5)), settings=replace(START, x_um=4.0), frame_settings=START)
    )
    assert not choice.requests
    assert isinstance(choice.state, Target)

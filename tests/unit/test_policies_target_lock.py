"""Target lock against a moving target and a delayed stage or region; what it does about a target out of sight."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from smartscope.command import MoveStage, SetRoi
from smartscope.frame import Certainty, Roi
from smartscope.policies.motion import Motion, Sighting
from smartscope.policies.target_lock import TargetLockPolicy
from smartscope.policies.targets import Target
from smartscope.ports import Choice, Context, Delay
from smartscope.result import Tracks
from smartscope.testing.policy_contract import context, tracks
from tests.following_plant import PIXEL_UM, SENSOR, START, Plant


def _fast(t_s: float) -> tuple[float, float]:
    """10 um/s: the delay of 60 ms is worth six pixels."""
    return 8 * t_s, 6 * t_s


def _circling(t_s: float) -> tuple[float, float]:
    return 2.5 * math.sin(t_s), 2.5 * math.cos(t_s)


def _context(found: Tracks | None, **changes: Any) -> Context:
    return context(found=found, **{"settings": START, "sensor_shape": SENSOR, **changes})


def _state(x_um: float, y_um: float, *, t_s: float = 0.9, error_um: float = 0.02, walk: float = 0.01) -> Target:
    return Target(7, Motion.begun(Sighting(round(t_s * 1e9), x_um, y_um, error_um, walk)), "nearest of 2", 3.0)


def _rms(off_px: list[float]) -> float:
    return math.sqrt(float(np.mean(np.square(off_px))))


def test_leads_a_fast_target_by_stage() -> None:
    """Held where it was last seen it would be 6 px behind, and what the stage's steps add."""
    plant = Plant(_fast, noise_px=0.1, walk_px2_s=20.0)
    plant.run(TargetLockPolicy(deadband_px=1.0), 6)
    assert all(plant.inside)
    assert _rms(plant.off_px[100:]) < 3.5


def test_follows_by_a_small_region() -> None:
    plant = Plant(_circling, walk_px2_s=5.0)
    plant.run(TargetLockPolicy(mode="roi", smallest_roi_px=32), 10)
    assert all(plant.inside)
    assert plant.settings.roi.width < SENSOR[1] / 2
    assert all(isinstance(command, SetRoi) for command in plant.commands)
    assert _rms(plant.off_px[100:]) < 8


def test_stage_and_region_share_the_work() -> None:
    """The region follows; the stage brings the target back to the middle of the sensor before the sensor ends."""
    plant = Plant(lambda t_s: (2 * t_s, 0.0), walk_px2_s=5.0)
    plant.run(TargetLockPolicy(mode="both", smallest_roi_px=32), 12)
    moves = [command for command in plant.commands if isinstance(command, MoveStage)]
    regions = [command for command in plant.commands if isinstance(command, SetRoi)]
    assert all(plant.inside)
    assert 3 <= len(moves) < len(regions), "24 um at a quarter of 12.8 um each"
    assert plant.settings.x_um > 18


def test_the_region_grows_with_the_doubt() -> None:
    """A wild target, a long delay, or one out of sight needs a wider view; the reason says how unsure it is."""
    found = tracks((7, 63.5, 63.5))
    policy = TargetLockPolicy(mode="roi", smallest_roi_px=32)

    def edge(**changes: Any) -> int:
        (request,) = policy.decide(_context(found, **changes)).requests
        assert isinstance(request.command, SetRoi)
        assert "+-" in request.why
        return request.command.roi.width

    calm = edge(state=_state(6.35, 6.35))
    assert edge(state=_state(6.35, 6.35, walk=2.0)) > calm
    wild = _state(6.35, 6.35, walk=0.5)
    assert edge(state=wild, delay=Delay(600.0)) > edge(state=wild, delay=Delay(30.0))


def test_opens_while_out_of_sight_and_shrinks_when_found() -> None:
    policy, small = TargetLockPolicy(mode="roi", smallest_roi_px=32), replace(START, roi=Roi(48, 48, 32, 32))
    missing = tracks((7, 15.5, 15.5), missed=3)
    state = _state(6.35, 6.35, t_s=0.6, walk=1.0)
    (request,) = policy.decide(_context(missing, settings=small, state=state)).requests
    assert isinstance(request.command, SetRoi)
    assert request.command.roi.width > 48
    assert "out of sight" in request.why
    wide = replace(START, roi=request.command.roi)
    calm = _state(6.35, 6.35, t_s=0.95)
    (back,) = policy.decide(
        _context(tracks((7, 63.5 - wide.roi.x, 63.5 - wide.roi.y)), settings=wide, state=calm)
    ).requests
    assert isinstance(back.command, SetRoi)
    assert back.command.roi.width < wide.roi.width


def test_searches_within_what_the_forecast_leaves_open() -> None:
    """The track ended; another begins 3 um away: too far for a calm target, near enough for a wild one."""
    found = tracks((9, 93.5, 63.5))
    policy = TargetLockPolicy(reacquire_um=0.5)
    calm = policy.decide(_context(found, state=_state(0, 0, t_s=0.8))).state
    assert calm.track_id == 7
    wild = policy.decide(_context(found, state=_state(0, 0, t_s=0.8, walk=10.0))).state
    assert (wild.track_id, wild.chosen) == (9, "found again, was 7")


def test_hands_over_when_the_target_is_lost_for_good() -> None:
    found = tracks((9, 125.5, 63.5), (11, 113.5, 63.5))
    choice = TargetLockPolicy().decide(_context(found, state=_state(0, 0, t_s=0.2)))
    assert choice.state.track_id == 11
    assert choice.state.chosen == "nearest of 2, hand-over: 7 lost for 0.78 s"
    (request,) = choice.requests
    assert "hand-over: 7 lost" in request.why


def test_a_young_track_is_not_chosen() -> None:
    young = tracks((1, 9.0, 9.0), age=1)
    choice = TargetLockPolicy().decide(_context(young))
    assert (list(choice.requests), choice.state) == ([], None)


def test_opens_the_whole_sensor_when_nobody_is_left() -> None:
    small = replace(START, roi=Roi(48, 48, 32, 32))
    policy, lost = TargetLockPolicy(mode="roi"), _state(0, 0, t_s=0.1)
    (request,) = policy.decide(_context(tracks(), settings=small, state=lost)).requests
    assert request.command == SetRoi(Roi(0, 0, 128, 128))
    assert request.why == "target 7 lost: whole sensor"
    assert not policy.decide(_context(tracks(), state=lost)).requests


def test_says_why() -> None:
    (request,) = TargetLockPolicy(label="cell").decide(_context(tracks((7, 103.5, 63.5)))).requests
    assert request.command == MoveStage(pytest.approx(4.0), pytest.approx(0.0))
    assert request.why == ("cell 7 (nearest of 1) will be 4 +- 0.05 um off centre: stage (0.0, 0.0) -> (4.0, 0.0) um")


def test_rests_within_the_deadband() -> None:
    assert not TargetLockPolicy().decide(_context(tracks((7, 66.5, 63.5)))).requests


@pytest.mark.parametrize(
    "changes",
    [{"stage_affine": None}, {"trust": 0.4}, {"certainty": {"xy": Certainty.MIXED}}, {"found": None}],
)
def test_ignores_what_cannot_be_used(changes: dict[str, Any]) -> None:
    given = _context(**{"found": tracks((7, 120.0, 63.5)), "state": _state(0, 0), **changes})
    assert TargetLockPolicy().decide(given) == Choice((), _state(0, 0))


def test_a_turned_camera_is_allowed_for() -> None:
    """What the stage must do, and where the region goes, under a camera turned by 53 degrees."""
    turned = ((0.06, -0.08), (0.08, 0.06))
    found = tracks((7, 103.5, 63.5))
    (stage,) = TargetLockPolicy().decide(_context(found, stage_affine=turned)).requests
    assert stage.command == MoveStage(pytest.approx(40 * 0.06), pytest.approx(40 * 0.08))
    near = tracks((7, 83.5, 63.5))
    (region,) = TargetLockPolicy(mode="both").decide(_context(near, stage_affine=turned)).requests
    assert isinstance(region.command, SetRoi)
    assert region.command.roi.centre_px == pytest.approx((83.5, 63.5), abs=2)
    assert pytest.approx(math.hypot(*turned[0])) == PIXEL_UM

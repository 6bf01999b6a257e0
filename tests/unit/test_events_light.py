"""Flash, fission and fusion: what is told of pictures whose story is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from event_scenes import INSTRUMENT, exposed, frame_at, heard, spot, tracked, tube

from smartscope.result import Result
from smartscope_models.events import EventDetector

FLASHES = 60


def filmed(
    expected: Callable[[int], np.ndarray],
    frames: int,
    kinds: tuple[str, ...],
    interval_s: float = 0.05,
    tracks: np.ndarray | None = None,
    **changes: dict[int, dict[str, object]],
) -> list[Result]:
    """A movie through the model."""
    model, results = EventDetector(INSTRUMENT, kinds=kinds), []
    for k in range(frames):
        frame = frame_at(k, exposed(expected(k), k), interval_s, **changes.get("settings", {}).get(k, {}))
        so_far = Result(frame) if tracks is None else tracked(frame, tracks)
        results.append(model.step([frame], so_far))
    return results


def flashing(k: int, tau: float = 10.0) -> np.ndarray:
    """A still vesicle of 1000 electrons that fuses."""
    age = k - FLASHES
    if age < 0:
        return spot(40, 50, 1000, 1.0)
    return spot(40, 50, 3000 * np.exp(-age / tau), np.sqrt(1 + 2.0 * (age + 0.5)))


def test_a_flash_is_told_at_once_and_confirmed_as_it_spreads() -> None:
    rows = heard(filmed(flashing, 90, ("flash",), tracks=np.array([[40.2, 49.9], [10.0, 10.0]])))
    assert [row["status"] for row in rows] == ["provisional", "confirmed"]
    assert rows[0]["told"] == rows[0]["onset_frame"] == FLASHES
    assert rows[0]["track_id"] == 0
    assert np.hypot(rows[0]["x_px"] - 40, rows[0]["y_px"] - 50) < 1
    assert rows[1]["told"] <= FLASHES + 8


def test_a_flash_needs_no_track() -> None:
    rows = heard(filmed(flashing, 90, ("flash",)))
    assert rows[0]["track_id"] == -1
    assert np.hypot(rows[0]["x_px"] - 40, rows[0]["y_px"] - 50) < 5


def test_a_spark_of_one_frame_is_withdrawn() -> None:
    rows = heard(filmed(lambda k: spot(40, 50, 4000.0 * (k == FLASHES), 1.5), 90, ("flash",)))
    assert [row["status"] for row in rows] == ["provisional", "withdrawn"]


def test_light_that_stays_is_withdrawn() -> None:
    rows = heard(filmed(lambda k: spot(40, 50, 4000.0 * (k >= FLASHES), 1.5), 140, ("flash",)))
    assert [row["status"] for row in rows] == ["provisional", "withdrawn"]


def test_what_moves_does_not_flash() -> None:
    assert not heard(filmed(lambda k: spot(20 + 0.8 * k, 40, 3000, 1.0), 80, ("flash",)))


@pytest.mark.parametrize("change", [{"lights_mw": {"laser": 3.0}}, {"exposure_ms": 30.0}, {"z_um": 1.0}])
def test_a_change_of_light_or_focus_is_no_flash(change: dict[str, object]) -> None:
    settings = dict.fromkeys(range(FLASHES, 90), change)
    rows = heard(
        filmed(lambda k: spot(40, 50, 1000.0 * (3 if k >= FLASHES else 1), 1.0), 90, ("flash",), settings=settings)
    )
    assert not rows


def test_a_flash_that_is_cut_off_by_a_change_of_view_is_withdrawn() -> None:
    settings = {k: {"exposure_ms": 30.0} for k in range(FLASHES + 1, 90)}
    rows = heard(filmed(flashing, 90, ("flash",), settings=settings))
    assert [row["status"] for row in rows] == ["provisional", "withdrawn"]


SPLITS = 60


def constricting(k: int) -> np.ndarray:
    """One frame a second: a constriction from frame 40 on, two from frame 60 on."""
    course = np.clip((k - 40) / 20, 0, 1)
    neck = 0.95 * course**2 * (3 - 2 * course)
    if k < SPLITS:
        return tube(20, 70, 48, neck, 45)
    gap = 2 + 0.5 * (k - SPLITS)
    return tube(20, 44 - gap / 2, 48) + tube(46 + gap / 2, 70, 48)


def test_a_fission_is_told_while_it_constricts_and_confirmed_when_it_parts() -> None:
    results = filmed(constricting, 80, ("fission", "fusion"), 1.0, np.array([[45.0, 48.0]]))
    rows = heard(results)
    assert [(row["kind"], row["status"]) for row in rows] == [("fission", "provisional"), ("fission", "confirmed")]
    assert 40 < rows[0]["told"] < 54
    assert abs(rows[1]["told"] - SPLITS) <= 2
    assert rows[0]["track_id"] == 0
    assert np.hypot(rows[1]["x_px"] - 45, rows[1]["y_px"] - 48) < 4
    figure = [result.quality["event_probability"] for result in results]
    assert max(figure[:38]) < 0.3
    assert figure[56] > 0.9


def test_a_fusion_is_told_when_the_gap_closes() -> None:
    def meeting(k: int) -> np.ndarray:
        gap = max(12 - 0.3 * k, 0.0)
        return tube(20, 45 - gap / 2, 48) + tube(45 + gap / 2, 70, 48) if gap else tube(20, 70, 48)

    rows = heard(filmed(meeting, 70, ("fission", "fusion"), 1.0, np.array([[30.0, 48.0], [60.0, 48.0]])))
    assert [row["kind"] for row in rows] == ["fusion"] * len(rows)
    assert rows[-1]["status"] == "confirmed"
    assert 28 < rows[-1]["told"] < 45
    assert {rows[-1]["track_id"], rows[-1]["other_id"]} == {0, 1}


def test_the_same_at_a_frame_every_five_seconds() -> None:
    rows = heard(filmed(lambda k: constricting(5 * k), 20, ("fission",), 5.0))
    assert [(row["kind"], row["status"]) for row in rows][-1] == ("fission", "confirmed")
    assert abs(rows[-1]["told"] - SPLITS / 5) <= 2


def test_tubes_that_keep_their_shape_tell_nothing() -> None:
    def still(k: int) -> np.ndarray:
        return tube(10, 60, 20 + 0.05 * k) + tube(20, 80, 60 - 0.05 * k, 0.2, 40)

    assert not heard(filmed(still, 150, ("fission", "fusion"), 1.0))


def test_two_that_touch_and_go_neither_fuse_nor_divide() -> None:
    """For one frame the gap is closed."""

    def touching(k: int) -> np.ndarray:
        return tube(20, 70, 48) if k == 40 else tube(20, 40, 48) + tube(50, 70, 48)

    assert not [row for row in heard(filmed(touching, 80, ("fission", "fusion"), 1.0)) if row["status"] == "confirmed"]


def test_empty_and_full_fields_hold_no_organelles() -> None:
    for light in (0.0, 5000.0):
        results = filmed(lambda k, light=light: np.full((64, 64), light), 10, ("fission", "fusion"), 1.0)
        assert not heard(results)
        assert {result.quality["event_probability"] for result in results} == {0.0}

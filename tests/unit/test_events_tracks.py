"""Arrest and abnormal motion: what is told of tracks whose fate is known."""

from __future__ import annotations

import numpy as np
import pytest
from event_scenes import INSTRUMENT, frame_at, heard, run, seen, tracked, walk

from smartscope.frame import Certainty
from smartscope_models.events import EventDetector
from smartscope_models.events.place_error import PlaceError

FRAMES, STOPS = 400, 250


def stopping(count: int = 20, frames: int = FRAMES) -> np.ndarray:
    """Object 0 stops."""
    places = walk(frames, count)
    places[STOPS:, 0] = places[STOPS, 0]
    return seen(places)


def test_an_arrest_is_told_with_its_first_frame_its_place_and_its_track() -> None:
    places = stopping()
    rows = heard(run(EventDetector(INSTRUMENT, kinds=("arrest",)), places))
    assert [row["status"] for row in rows] == ["provisional", "confirmed"]
    first, last = rows
    assert first["event_id"] == last["event_id"]
    assert first["track_id"] == 0
    assert abs(first["onset_frame"] - STOPS) <= 2
    assert np.hypot(*(np.array([first["x_px"], first["y_px"]]) - places[STOPS:, 0].mean(axis=0))) < 1
    assert STOPS < first["told"] < STOPS + 40
    assert 0.5 < first["probability"] <= last["probability"] < 1


def test_what_never_moved_is_not_arrested() -> None:
    still = np.broadcast_to(walk(1, 5), (FRAMES, 5, 2))
    places = np.concatenate([seen(still), seen(walk(FRAMES, 20))], axis=1)
    assert not heard(run(EventDetector(INSTRUMENT, kinds=("arrest",)), places))


def test_one_that_walks_on_may_be_arrested_again() -> None:
    places = walk(900, 20)
    for begin in (200, 500):
        places[begin : begin + 80, 0] = places[begin, 0]
        places[begin + 80 :, 0] -= places[begin + 80, 0] - places[begin, 0]
    rows = heard(run(EventDetector(INSTRUMENT, kinds=("arrest",)), seen(places)))
    told = [row["onset_frame"] for row in rows if row["status"] == "confirmed"]
    assert len(told) == 2
    assert np.abs(np.array(told) - [200, 500]).max() <= 2


@pytest.mark.parametrize("change", ["larger steps", "a direction"])
def test_abnormal_motion_is_told_by_its_track(change: str) -> None:
    places = walk(FRAMES, 20)
    steps = np.diff(places[STOPS - 1 :, 0], axis=0)
    steps = 4 * steps if change == "larger steps" else steps + np.array([2.0, 0.0])
    places[STOPS:, 0] = places[STOPS - 1, 0] + np.cumsum(steps, axis=0)
    rows = heard(run(EventDetector(INSTRUMENT, kinds=("abnormal",)), seen(places)))
    assert {row["track_id"] for row in rows} == {0}
    assert rows[0]["told"] < STOPS + 20
    assert abs(rows[0]["onset_frame"] - STOPS) <= 2


def test_one_wrong_link_is_no_event() -> None:
    places = seen(walk(FRAMES, 20))
    places[STOPS, 0] += 40
    assert not heard(run(EventDetector(INSTRUMENT, kinds=("abnormal", "arrest")), places))


def test_moves_of_stage_and_field_make_no_difference() -> None:
    """An arrest under a stage that wanders and a field that jumps is the arrest under a still one."""
    places = stopping()
    plain = heard(run(EventDetector(INSTRUMENT, kinds=("arrest",)), places))
    model, results = EventDetector(INSTRUMENT, kinds=("arrest",)), []
    for k, there in enumerate(places):
        roi, x_um = frame_at(0).settings.roi, 0.1 * (k // 50)
        frame = frame_at(k, x_um=x_um, roi=type(roi)(3 * (k // 100), 0, 16, 16))
        offset = np.array([x_um / 0.1 + 3 * (k // 100), 0.0])
        results.append(model.step([frame], tracked(frame, there - offset)))
    moved = heard(results)
    assert [(row["onset_frame"], row["told"], row["status"]) for row in moved] == [
        (row["onset_frame"], row["told"], row["status"]) for row in plain
    ]


def test_frames_during_which_the_stage_moved_say_nothing() -> None:
    model = EventDetector(INSTRUMENT, kinds=("arrest",))
    for k, there in enumerate(stopping()):
        frame = frame_at(k)
        if k >= STOPS:
            frame = type(frame)(
                **{name: getattr(frame, name) for name in frame.__slots__} | {"certainty": {"xy": Certainty.MIXED}}
            )
        assert model.step([frame], tracked(frame, there)).events is None


def test_a_track_that_is_lost_takes_its_doubtful_event_back() -> None:
    """Provisional, then out of sight before it is sure: withdrawn."""
    places = stopping()
    rows = heard(run(EventDetector(INSTRUMENT, kinds=("arrest",)), places))
    told, model, results = rows[0]["told"], EventDetector(INSTRUMENT, kinds=("arrest",)), []
    for k in range(told + 2):
        keep = np.arange(20) > 0 if k == told + 1 else np.arange(20) >= 0
        results.append(model.step([frame_at(k)], tracked(frame_at(k), places[k, keep], np.flatnonzero(keep))))
    assert [row["status"] for row in heard(results)] == ["provisional", "withdrawn"]
    assert heard(results)[-1]["probability"] == 0


def test_more_false_alarms_allowed_means_earlier_news() -> None:
    delays = []
    for per_hour in (0.1, 100.0):
        model = EventDetector(INSTRUMENT, kinds=("arrest",), false_alarms_per_hour={"arrest": per_hour})
        delays.append(next(row["told"] for row in heard(run(model, stopping())) if row["track_id"] == 0))
    assert delays[1] < delays[0]


def test_time_that_runs_backwards_begins_anew() -> None:
    model, places = EventDetector(INSTRUMENT, kinds=("arrest", "abnormal")), seen(walk(100, 10))
    for k in [*range(60), *range(20, 100)]:
        assert model.step([frame_at(k)], tracked(frame_at(k), places[k])).events is None


def test_a_slow_drift_that_becomes_a_walk_has_not_stopped() -> None:
    """The tracker's errors, twice too large here, must neither hide the drift nor let what is expected lag behind."""
    drift = np.array([0.3, 0.0]) * np.arange(STOPS)[:, None, None] * np.ones((1, 8, 1))
    places = np.concatenate([drift, drift[-1] + walk(FRAMES - STOPS, 8) - walk(FRAMES - STOPS, 8)[0]])
    places += np.random.default_rng(3).normal(0, 0.1, places.shape)
    assert not heard(run(EventDetector(INSTRUMENT, kinds=("arrest",)), places))


def test_the_error_of_a_place_is_learnt_from_what_goes_straight_on() -> None:
    rng, error = np.random.default_rng(0), PlaceError()
    places = walk(200, 20)
    places[:, :6] = 5.0 + 0.3 * np.arange(200)[:, None, None]
    places += rng.normal(0, 0.1, places.shape)
    told = [error.learn(np.arange(20), there, 0.05) for there in places]
    assert told[0] == np.inf
    assert told[-1] == pytest.approx(0.1, rel=0.3)

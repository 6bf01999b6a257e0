"""Floods, gaps, jumps, clocks that run back, cameras that change their window: bounded work, identities kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Frame, Roi
from smartscope.ports import Instrument
from smartscope.result import Detections, Result, Tracks
from smartscope.testing.model_contract import a_frame, check, check_story
from smartscope_models.detection.objects import detections_of
from smartscope_models.tracking import KalmanTracker
from smartscope_models.tracking.jumps import FEWEST, jump
from smartscope_models.tracking.linker import MOST_NEW

INSTRUMENT = Instrument(CameraCalibration(pixel_size_nm=100), OpticsConfig())
FIELD = np.zeros((200, 200), np.uint16)


def spots(places: np.ndarray, light: float | np.ndarray = 50.0) -> Detections:
    """Alike, unless told how bright they are."""
    x, y = np.asarray(places, float).reshape(-1, 2).T
    return detections_of(x, y, np.full(len(x), 2.0), np.broadcast_to(np.asarray(light, float), x.shape), 0)


def step(tracker: KalmanTracker, frame: Frame, places: np.ndarray) -> Tracks:
    """Live tracks, after a look at whether the answer is sound."""
    before = Result(frame, detections=spots(places))
    answer = tracker.step([frame], before)
    check(answer, before)
    assert answer.tracks is not None
    return answer.tracks


def walk(count: int, frames: int, seed: int = 0, step_px: float = 1.0, field: float = 200.0) -> np.ndarray:
    """(T, N, 2)"""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, field, (count, 2)) + np.cumsum(rng.normal(0, step_px, (frames, count, 2)), axis=0)


def names(tracker: KalmanTracker, frame: Frame, places: np.ndarray) -> np.ndarray:
    """Live identities in the order of the places."""
    return tracker.follow(frame, spots(places))[0].track_id


def test_a_flood_of_false_detections_passes() -> None:
    rng, tracker = np.random.default_rng(0), KalmanTracker(INSTRUMENT)
    home = rng.uniform(10, 190, (60, 2))
    flood = np.vstack([home, rng.uniform(0, 200, (100_000, 2))])
    light = np.concatenate([np.full(60, 50.0), rng.uniform(1, 20, 100_000)])
    live, final = {}, {}
    for t in range(12):
        found = spots(flood, light) if t == 6 else spots(home)
        named, done = tracker.follow(a_frame(FIELD, t), found)
        live[t] = named.track_id
        if done is not None:
            final[done.index] = done.named.track_id
    final |= {done.index: done.named.track_id for done in tracker.finish()}
    assert len(np.unique(live[6])) == 100_060
    assert (live[11] == live[5]).mean() > 0.9
    assert (final[11] == final[5]).mean() > 0.9
    assert len(tracker._kinds[0].live.objects) < 100 < MOST_NEW


def test_no_more_than_a_bound_of_a_flood_is_followed() -> None:
    tracker = KalmanTracker(INSTRUMENT)
    flood = np.random.default_rng(1).uniform(0, 200, (MOST_NEW + 5000, 2))
    assert len(step(tracker, a_frame(FIELD, 0), flood)) == MOST_NEW
    assert len(step(tracker, a_frame(FIELD, 1), flood[:10])) <= MOST_NEW + 10


def test_identities_survive_frames_in_which_nothing_is_found() -> None:
    tracker, places = KalmanTracker(INSTRUMENT), walk(20, 12, step_px=0.5)
    before = names(tracker, a_frame(FIELD, 0), places[0])
    for t in range(1, 6):
        names(tracker, a_frame(FIELD, t), places[t])
    for t in (6, 7, 8):
        assert len(names(tracker, a_frame(FIELD, t), places[t][:0])) == 0
    assert (names(tracker, a_frame(FIELD, 9), places[9]) == before).mean() >= 0.9


def test_a_movie_of_nothing_passes() -> None:
    tracker, results = KalmanTracker(INSTRUMENT), []
    for t in range(40):
        frame = a_frame(FIELD, t)
        results.append(tracker.step([frame], Result(frame, detections=spots(np.empty((0, 2))))))
    check_story(results)
    assert all(result.tracks is not None and len(result.tracks) == 0 for result in results)
    assert results[-1].settled is not None


def test_time_that_runs_backwards_keeps_identities() -> None:
    tracker, home = KalmanTracker(INSTRUMENT), np.random.default_rng(5).uniform(20, 90, (20, 2))
    told = []
    for t, time in enumerate((0, 1, 2, 3, 1, 0, 4, 5)):
        tracks = step(tracker, replace(a_frame(FIELD, time), index=t), home)
        told.append(sorted(tracks.track_id.tolist()))
    assert all(some == told[0] for some in told)


def test_a_clock_that_leaps_ahead_gives_objects_up_without_harm() -> None:
    tracker, places = KalmanTracker(INSTRUMENT), walk(20, 8)
    for t in range(5):
        step(tracker, a_frame(FIELD, t), places[t])
    later = replace(a_frame(FIELD, 10**9), index=5)
    tracks = step(tracker, later, places[5])
    assert np.isfinite(tracks.sigma_px).all()
    after = replace(a_frame(FIELD, 10**9 + 1), index=6)
    assert (step(tracker, after, places[6]).missed_frames == 0).sum() == 20


def test_a_change_of_the_cameras_window_in_mid_track_keeps_identities() -> None:
    tracker, places = KalmanTracker(INSTRUMENT), walk(15, 14, step_px=0.5, field=100.0) + 60
    before = names(tracker, a_frame(FIELD, 0), places[0])
    for t in range(1, 14):
        frame = a_frame(FIELD, t)
        origin = np.zeros(2)
        if t >= 6:
            smaller = replace(frame.settings, roi=Roi(40, 48, 140, 130))
            frame, origin = replace(frame, pixels=FIELD[:130, :140], settings=smaller), np.array([40, 48])
        after = names(tracker, frame, places[t] - origin)
        assert (after == before).all(), t


def test_objects_outside_a_smaller_window_come_back_under_their_names() -> None:
    tracker, home = KalmanTracker(INSTRUMENT), np.array([[30.0, 30.0], [100.0, 100.0], [120.0, 90.0]])
    for t in range(6):
        before = names(tracker, a_frame(FIELD, t), home)
    for t in (6, 7):
        frame = a_frame(FIELD, t)
        inside = replace(frame, pixels=FIELD[:100, :100], settings=replace(frame.settings, roi=Roi(60, 60, 100, 100)))
        names(tracker, inside, home[1:] - 60)
    assert (names(tracker, a_frame(FIELD, 8), home) == before).all()


@pytest.mark.parametrize("shift", [(30.0, -12.0), (-75.0, 60.0)])
def test_a_jump_that_nobody_reported_keeps_identities(shift: tuple[float, float]) -> None:
    tracker, places = KalmanTracker(INSTRUMENT), walk(60, 16, seed=2)
    places[10:] += shift
    seen = np.random.default_rng(3).random((16, 60)) < 0.95
    told = np.full((16, 60), -1)
    for t in range(16):
        told[t, seen[t]] = names(tracker, a_frame(FIELD, t), places[t, seen[t]])
    both = seen[9] & seen[10]
    assert (told[9] == told[10])[both].mean() > 0.95
    both = seen[9] & seen[15]
    assert (told[9] == told[15])[both].mean() > 0.9


def test_a_jump_is_settled_too() -> None:
    tracker, places = KalmanTracker(INSTRUMENT), walk(60, 16, seed=4)
    places[8:] += (40.0, 22.0)
    final = {}
    for t in range(16):
        done = tracker.follow(a_frame(FIELD, t), spots(places[t]))[1]
        if done is not None:
            final[done.index] = done.named.track_id
    assert (final[7] == final[12]).mean() > 0.9


def test_chance_and_small_numbers_are_no_jump() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.uniform(0, 400, (2, 100, 2))
    assert jump(before, after, 100.0, 8.0) is None
    few = before[: FEWEST - 1]
    assert jump(few, few + 20, 5.0, 8.0) is None
    assert jump(before, before + 1e4, 100.0, 8.0) is None
    assert jump(before, np.tile(after, (1000, 1)), 100.0, 8.0) is None
    found = jump(before, np.vstack([before[:80] + np.array([30, -9]), after[:20]]), 100.0, 8.0)
    assert found is not None
    assert found == pytest.approx((30, -9), abs=0.01)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True, width=32)] * 4), max_size=12), max_size=8
    )
)
def test_no_numbers_stop_the_tracker(frames: list[list[tuple[float, float, float, float]]]) -> None:
    tracker, results = KalmanTracker(INSTRUMENT), []
    for t, rows in enumerate(frames):
        columns = np.array(rows, np.float32).reshape(-1, 4).T
        frame = a_frame(FIELD, t)
        results.append(tracker.step([frame], Result(frame, detections=detections_of(*columns, 0))))
        tracks = results[-1].tracks
        assert tracks is not None
        assert all(np.isfinite(column).all() for column in (tracks.x_px, tracks.y_px, tracks.sigma_px, tracks.vx_px_s))
    check_story(results)

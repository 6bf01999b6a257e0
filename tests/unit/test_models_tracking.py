"""Identities survive noise, misses, crowds, stage moves and skipped frames; assignments are the cheapest there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Certainty, Frame, Roi
from smartscope.ports import Instrument
from smartscope.result import Detections, Result, Tracks
from smartscope.testing.model_contract import a_frame
from smartscope_models.detection.objects import detections_of
from smartscope_models.tracking import KalmanTracker
from smartscope_models.tracking.assignment import LONGEST_SEARCH, assign
from smartscope_models.tracking.linker import Linker
from smartscope_models.tracking.sightings import Sightings
from smartscope_models.tracking.tracker import LONGEST_COAST

INSTRUMENT = Instrument(CameraCalibration(pixel_size_nm=100), OpticsConfig())
FIELD = np.zeros((200, 200), np.uint16)


def spots_at(places: np.ndarray, intensity: float = 100.0, label: int = 0) -> Detections:
    x, y = np.asarray(places, float).reshape(-1, 2).T
    return detections_of(x, y, np.full(len(x), 2.0), np.full(len(x), intensity), label)


def follow(tracker: KalmanTracker, frame: Frame, places: np.ndarray | None) -> Tracks:
    tracks = tracker.step([frame], Result(frame, detections=None if places is None else spots_at(places))).tracks
    assert tracks is not None
    return tracks


def sides(lengths: int) -> tuple[np.ndarray, np.ndarray]:
    """Two objects that pass each other at 2 px: (T, 2, 2) places, and noise-free."""
    t = np.arange(lengths)
    truth = np.stack([np.c_[20 + 3 * t, np.full(lengths, 50.0)], np.c_[110 - 3 * t, np.full(lengths, 52.0)]], axis=1)
    return truth + np.random.default_rng(2).normal(0, 0.2, truth.shape), truth


def test_objects_that_pass_each_other_keep_their_identities() -> None:
    seen, truth = sides(31)
    tracker = KalmanTracker(INSTRUMENT)
    for t in range(31):
        tracks = follow(tracker, a_frame(FIELD, t), seen[t])
    order = np.argsort(tracks.track_id)
    assert list(tracks.track_id[order]) == [1, 2]
    assert np.allclose(np.c_[tracks.x_px, tracks.y_px][order], truth[-1], atol=1)
    assert np.allclose(tracks.vx_px_s[order], [300, -300], rtol=0.15)
    assert list(tracks.age_frames) == [30, 30]
    assert (tracks.parent_id == -1).all()


def test_a_missed_object_is_carried_on_and_then_given_up() -> None:
    tracker = KalmanTracker(INSTRUMENT, memory_frames=2)
    for t in range(6):
        follow(tracker, a_frame(FIELD, t), np.array([[20 + 3 * t, 50]]))
    away = [follow(tracker, a_frame(FIELD, t), np.empty((0, 2))) for t in (6, 7, 8)]
    assert [len(tracks) for tracks in away] == [1, 1, 0]
    assert [int(tracks.missed_frames[0]) for tracks in away[:2]] == [1, 2]
    assert away[1].x_px[0] == pytest.approx(41, abs=1.5)
    assert away[1].sigma_px[0] > away[0].sigma_px[0]


def test_a_single_sighting_is_given_up_sooner() -> None:
    tracker = KalmanTracker(INSTRUMENT, memory_frames=3)
    follow(tracker, a_frame(FIELD, 0), np.array([[20, 50]]))
    assert len(follow(tracker, a_frame(FIELD, 1), np.empty((0, 2)))) == 1
    assert len(follow(tracker, a_frame(FIELD, 2), np.empty((0, 2)))) == 0


def test_moving_the_stage_and_the_roi_leaves_identities_alone() -> None:
    affine = ((0.0, 0.1), (-0.1, 0.0))  # the camera is turned by 90 degrees
    tracker = KalmanTracker(replace(INSTRUMENT, stage_affine=affine))
    places = np.random.default_rng(1).uniform(60, 140, (5, 2))
    before = follow(tracker, a_frame(FIELD, 0), places)
    follow(tracker, a_frame(FIELD, 1), places)
    # bring what lies 40 px right of and 10 px above the centre to it: everything moves by (-40, 10) on the sensor
    x_um, y_um = np.array(affine) @ (40, -10)
    plain = a_frame(FIELD, 2)
    moved = replace(plain, settings=replace(plain.settings, x_um=x_um, y_um=y_um, roi=Roi(16, 4, 100, 100)))
    after = follow(tracker, moved, places + np.array([-56, 6]))
    assert list(after.track_id) == list(before.track_id)
    assert np.allclose(np.c_[after.x_px, after.y_px], places + np.array([-56, 6]), atol=0.01)


def test_frames_taken_while_the_stage_moves_only_carry_on() -> None:
    tracker = KalmanTracker(INSTRUMENT)
    places = np.array([[50.0, 60.0], [90.0, 100.0]])
    for t in range(3):
        follow(tracker, a_frame(FIELD, t), places)
    for t in (3, 4, 5, 6):
        smeared = a_frame(FIELD, t, certainty={"xy": Certainty.MIXED})
        tracks = follow(tracker, smeared, places + 30)
    assert list(tracks.missed_frames) == [4, 4]
    after = follow(tracker, a_frame(FIELD, 7), places)
    assert list(after.track_id) == [1, 2]
    assert list(after.missed_frames) == [0, 0]


def test_a_detector_that_stays_away_ends_all_tracks() -> None:
    tracker = KalmanTracker(INSTRUMENT)
    follow(tracker, a_frame(FIELD, 0), np.array([[50.0, 60.0]]))
    counts = [len(follow(tracker, a_frame(FIELD, t), None)) for t in range(1, LONGEST_COAST + 2)]
    assert counts == [1] * LONGEST_COAST + [0]


def test_skipped_frames_are_bridged_by_time() -> None:
    tracker = KalmanTracker(INSTRUMENT)
    times = [*range(12), 14, 15, 19, 20]
    for t in times:
        tracks = follow(tracker, a_frame(FIELD, t), np.array([[20 + 6 * t, 50], [20 + 6 * t, 80]]))
    assert list(tracks.track_id) == [1, 2]
    assert np.allclose(tracks.vx_px_s, 600, rtol=0.1)


def test_kinds_of_objects_are_not_mixed_up() -> None:
    tracker = KalmanTracker(INSTRUMENT)
    spot, cell = spots_at(np.array([[50.0, 50.0]])), spots_at(np.array([[52.0, 50.0]]), label=1)
    for t, found in enumerate((spot, cell, spot)):
        frame = a_frame(FIELD, t)
        result = tracker.step([frame], Result(frame, detections=found))
    assert result.tracks is not None
    tracks = result.tracks
    found = {(int(label), int(missed)) for label, missed in zip(tracks.label, tracks.missed_frames, strict=True)}
    assert found == {(0, 0), (1, 1)}


def test_brightness_tells_objects_apart_where_motion_does_not() -> None:
    rng = np.random.default_rng(3)
    linker, kept = Linker(8.0, 2), np.full(150, -1)
    home, bright = rng.uniform(0, 150, (150, 2)), np.exp(rng.normal(0, 1, 150))
    switches = 0
    for t in range(30):
        home = home + rng.normal(0, 1.5, home.shape)
        linker.advance(1.0)
        looks = np.full(150, 2.0), bright * np.exp(rng.normal(0, 0.05, 150))
        ids = linker.link(Sightings.of_one_frame(home, *looks), 150.0**2, 1 + 1000 * t).track_id
        switches += int((ids != kept).sum()) if t > 5 else 0
        kept = ids
    assert switches < 0.02 * 24 * 150


def test_process_noise_is_learned_from_a_wrong_start() -> None:
    rng = np.random.default_rng(4)
    linker = Linker(16.0, 2)  # starts from steps of 4 px
    home = rng.uniform(0, 1000, (300, 2))
    for t in range(60):
        home = home + rng.normal(0, 1.5, home.shape)
        linker.advance(1.0)
        linker.link(Sightings.of_one_frame(home, np.ones(300), np.ones(300)), 1e6, 1 + 1000 * t)
    assert 0.8 < linker.habits.noise.walk / 1.5**2 < 1.4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.floats(0.1, 1.0))
def test_assignments_are_optimal(seed: int, objects: int, detections: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    costs = np.where(rng.random((objects, detections)) < share, rng.uniform(-5, 2, (objects, detections)), np.inf)
    miss = 1.5
    costs[costs >= miss] = np.inf
    start = np.concatenate([[0], np.cumsum(np.isfinite(costs).sum(1))])
    rows, columns = np.nonzero(np.isfinite(costs))
    chosen, cut = assign(start, columns, costs[rows, columns], np.full(objects, miss), detections)
    taken = chosen[chosen >= 0]
    assert cut == 0
    assert len(set(taken.tolist())) == len(taken)
    total = sum(miss if d < 0 else costs[n, d] for n, d in enumerate(chosen))
    private = np.where(np.eye(objects, dtype=bool), miss, 1e6)
    square = np.hstack([np.where(np.isfinite(costs), costs, 1e6), private])
    best = square[linear_sum_assignment(square)].sum()
    assert total == pytest.approx(best, abs=1e-9)


def test_an_endless_search_is_cut_short_and_counted() -> None:
    count = LONGEST_SEARCH + 50
    objects = np.repeat(np.arange(count), count)
    detections = np.tile(np.arange(count), count)
    rng = np.random.default_rng(0)
    cost = -10 + 1e-3 * rng.random(count * count) + 0.01 * (detections % 7)
    chosen, cut = assign(np.searchsorted(objects, np.arange(count + 1)), detections, cost, np.full(count, 5.0), count)
    assert cut > 0
    taken = chosen[chosen >= 0]
    assert len(set(taken.tolist())) == len(taken) > 0.9 * count


@pytest.mark.parametrize("crowd", ["one point", "dense", "line", "far apart"])
def test_no_crowd_is_too_dense(crowd: str) -> None:
    rng = np.random.default_rng(5)
    places = {
        "one point": np.zeros((300, 2)),
        "dense": rng.uniform(0, 60, (1500, 2)),
        "line": np.c_[np.arange(500) * 0.1, np.zeros(500)],
        "far apart": rng.uniform(-1e7, 1e7, (50, 2)),
    }[crowd]
    linker = Linker(8.0, 2)
    for t in range(4):
        linker.advance(1.0)
        ones = np.ones(len(places))
        ids = linker.link(Sightings.of_one_frame(places, ones, ones), 1e4, 1 + 10_000 * t).track_id
        assert len(np.unique(ids)) == len(places)
    assert linker.cut_short >= 0


def test_places_that_are_no_numbers_get_no_identity() -> None:
    tracker = KalmanTracker(INSTRUMENT)
    named, _ = tracker.follow(a_frame(FIELD), spots_at(np.array([[np.nan, 1.0], [5.0, 5.0]])))
    assert list(named.track_id) == [-1, 1]

"""Divisions are found; settled identities stand for good; live ones never look ahead; bad input costs bounded time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Detections, Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.detection.objects import detections_of
from smartscope_models.tracking import KalmanTracker
from smartscope_models.tracking.linker import MOST_NEW
from smartscope_models.tracking.sightings import Outcome

INSTRUMENT = Instrument(CameraCalibration(pixel_size_nm=100), OpticsConfig())
FIELD = np.zeros((200, 200), np.uint16)
Followed = tuple[dict[int, Outcome], dict[int, Outcome]]


def cells(rows: list[tuple[float, float, float]]) -> Detections:
    """Nuclei at x, y of a size."""
    x, y, size = np.array(rows, float).reshape(-1, 3).T
    return detections_of(x, y, size, size**2, 1)


def dividing(t: int, first: int = 8) -> list[tuple[float, float, float]]:
    """Six nuclei that stay; the first divides at ``first``."""
    jitter = np.random.default_rng(t).normal(0, 1, (8, 2))
    rows = [(100 * n + jitter[n, 0], 300 + jitter[n, 1], 20.0 * np.exp(0.02 * jitter[n, 0])) for n in range(1, 6)]
    if t < first:
        return [(jitter[6, 0], 100 + jitter[6, 1], 20.0), *rows]
    apart = 20 + 2 * (t - first)
    return [(-apart, 100 + jitter[6, 1], 14.0), (apart, 100 + jitter[7, 1], 14.0), *rows]


def follow(found: list[Detections], tracker: KalmanTracker | None = None) -> Followed:
    """Live and settled names of every frame."""
    tracker = tracker or KalmanTracker(INSTRUMENT)
    live, final = {}, {}
    for t, detections in enumerate(found):
        named, done = tracker.follow(a_frame(FIELD, t), detections)
        live[t] = named
        if done is not None:
            final[done.index] = done.named
    final |= {done.index: done.named for done in tracker.finish()}
    return live, final


def crowd(seed: int, frames: int = 24, count: int = 120) -> list[Detections]:
    """Wandering spots, some missed, some false."""
    rng = np.random.default_rng(seed)
    home, found = rng.uniform(0, 160, (count, 2)), []
    bright = np.exp(rng.normal(0, 0.3, count))
    for _ in range(frames):
        home = home + rng.normal(0, 1.5, home.shape)
        seen = rng.random(count) < 0.93
        places = np.vstack([home[seen], rng.uniform(0, 160, (3, 2))])
        light = np.concatenate([bright[seen], np.exp(rng.normal(0, 0.3, 3))])
        found.append(detections_of(places[:, 0], places[:, 1], np.full(len(light), 2.0), light, 0))
    return found


def test_a_division_is_told_at_once_and_stands() -> None:
    for named in follow([cells(dividing(t)) for t in range(14)]):
        mother = named[7].track_id[0]
        assert list(named[8].parent_id[:2]) == [mother, mother]
        assert len({*named[8].track_id[:2].tolist(), mother}) == 3
        assert (named[13].track_id == named[8].track_id).all()
        assert (named[8].parent_id[2:] == -1).all()


def test_revisions_turn_live_names_into_settled_ones() -> None:
    tracker = KalmanTracker(INSTRUMENT)
    told: dict[int, list[tuple[int, int, int, int]]] = {}
    for t, detections in enumerate(crowd(7)):
        frame = a_frame(FIELD, t)
        result = tracker.step([frame], Result(frame, detections=detections))
        assert result.tracks is not None
        assert (result.settled.frame if result.settled else None) == (t - 3 if t >= 3 else None)
        if result.revisions is not None:
            r = result.revisions
            told[t] = list(zip(*(c.tolist() for c in (r.since_frame, r.track_id, r.now_id, r.parent_id)), strict=True))
    assert told
    assert all(
        since == t - 3 and (old != new or parent != old) for t, rows in told.items() for since, old, new, parent in rows
    )
    assert all(len({old for _, old, _, _ in rows}) == len(rows) for rows in told.values())


@pytest.mark.parametrize("cut", [3, 7, 12, 19])
def test_nothing_told_looks_ahead_and_nothing_settled_changes(cut: int) -> None:
    whole, other = crowd(1), crowd(2)
    first, second = (follow([*whole[: cut + 1], *rest]) for rest in (whole[cut + 1 :], other[cut + 1 :]))
    for t in range(cut + 1):
        assert (first[0][t].track_id == second[0][t].track_id).all()
        assert (first[0][t].parent_id == second[0][t].parent_id).all()
    for t in range(cut + 1 - 3):
        assert (first[1][t].track_id == second[1][t].track_id).all()
        assert (first[1][t].parent_id == second[1][t].parent_id).all()


def test_settled_names_are_unique_in_a_frame_and_mothers_end() -> None:
    _, final = follow(crowd(3))
    last = {name: t for t, named in final.items() for name in named.track_id.tolist()}
    for t, named in final.items():
        assert len(np.unique(named.track_id)) == len(named.track_id)
        assert all(last[mother] < t for mother in named.parent_id.tolist() if mother >= 0)


def test_a_flood_of_false_detections_passes() -> None:
    rng = np.random.default_rng(0)
    home = rng.uniform(10, 190, (60, 2))
    flood = rng.uniform(0, 200, (100_000, 2))
    found = [detections_of(*home.T, np.full(60, 2.0), np.full(60, 50.0), 0) for _ in range(12)]
    light = np.concatenate([np.full(60, 50.0), rng.uniform(1, 20, 100_000)])
    found[6] = detections_of(*np.vstack([home, flood]).T, np.full(100_060, 2.0), light, 0)
    tracker = KalmanTracker(INSTRUMENT)
    live, final = follow(found, tracker)
    assert (live[11].track_id == live[5].track_id).mean() > 0.9
    assert (final[11].track_id == final[5].track_id).mean() > 0.9
    assert len(tracker._kinds[0].live.objects) < MOST_NEW


def test_time_backwards_empty_frames_and_a_moved_roi_pass() -> None:
    tracker, home = KalmanTracker(INSTRUMENT), np.random.default_rng(5).uniform(20, 90, (20, 2))
    names = []
    for t, time in enumerate((0, 1, 2, 3, 1, 0, 4, 5)):
        frame = replace(a_frame(FIELD, time), index=t)
        found = detections_of(*(home if t != 3 else home[:0]).T, np.ones(20 * (t != 3)), np.ones(20 * (t != 3)), 0)
        names.append(tracker.follow(frame, found)[0].track_id)
    assert all((some == names[0]).all() for some in names if len(some))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True, width=32)] * 4), max_size=12), max_size=8
    )
)
def test_no_numbers_stop_the_tracker(frames: list[list[tuple[float, float, float, float]]]) -> None:
    tracker = KalmanTracker(INSTRUMENT)
    for t, rows in enumerate(frames):
        columns = np.array(rows, np.float32).reshape(-1, 4).T
        frame: Frame = a_frame(FIELD, t)
        result = tracker.step([frame], Result(frame, detections=detections_of(*columns, 0)))
        assert result.tracks is not None
        assert np.isfinite(result.tracks.x_px).all()

"""Divisions are found; settled identities stand for good; live ones never look ahead."""

from __future__ import annotations

import numpy as np
import pytest

from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.ports import Instrument
from smartscope.result import Detections, Result
from smartscope.testing.model_contract import a_frame
from smartscope_models.detection.objects import detections_of
from smartscope_models.tracking import KalmanTracker
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

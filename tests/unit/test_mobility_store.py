"""The memory of tracks: moments as by hand, rings that turn, bounds that hold, points that are no points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope_models.mobility.judging import judge_due
from smartscope_models.mobility.store import LAGS, SET, Store, empty_store, first_of_set, push


def take(store: Store, ids: object, x: object, time_s: float, patience_s: float = 50.0) -> int:
    """Tracks on the x axis, frames a second apart."""
    places = np.asarray(x, float)
    return int(push(store, np.asarray(ids, np.int64), places, np.zeros_like(places), time_s, 1.0, patience_s))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(-1, 1)), min_size=2, max_size=60), st.sampled_from([16, 24, 64]))
def test_moments_are_those_of_all_pairs_a_lag_apart(points: list[tuple[bool, float]], window: int) -> None:
    """With missing frames and a ring shorter than the track."""
    store = empty_store(SET, window)
    seen = [(float(t), x) for t, (there, x) in enumerate(points) if there]
    for time_s, x in seen:
        take(store, [5], [x], time_s)
    slot = store.slot(5)
    at = dict(seen)
    for k in range(store.sums.shape[1]):
        steps = np.array([abs(x - at[t - LAGS[k]]) for t, x in seen if t - LAGS[k] in at])
        expected = [np.sum(steps**order) for order in range(7)]
        assert (store.sums[slot, k] if slot >= 0 else np.zeros(7)) == pytest.approx(expected, abs=1e-9)


def test_a_ring_keeps_the_last_points() -> None:
    """And the count goes on."""
    store = empty_store(SET, 16)
    for t in range(40):
        take(store, [3], [t / 10], float(t))
    slot = store.slot(3)
    assert store.points[slot] == 40
    assert sorted(store.ring[slot, :, 0]) == list(range(24, 40))


def test_points_that_are_none() -> None:
    """Not finite, without identity, the same time again: passed over."""
    store = empty_store(SET, 16)
    take(store, [1, 2, -1, 4], [0.0, np.nan, 1.0, np.inf], 0.0)
    take(store, [1], [0.5], 0.0)
    assert store.slot(1) >= 0
    assert [store.slot(k) for k in (2, 4)] == [-1, -1]
    assert (store.track_id >= 0).sum() == 1
    assert store.points[store.slot(1)] == 1


def test_time_that_runs_back_begins_the_track_anew() -> None:
    """What was measured on another clock is not mixed in."""
    store = empty_store(SET, 16)
    for t in (10, 11, 12, 3, 4):
        take(store, [1], [t / 10], float(t))
    assert store.points[store.slot(1)] == 2
    assert store.sums[store.slot(1), 0, 0] == 1


def test_one_wrong_link_is_left_out_and_two_begin_anew() -> None:
    """A jump of a hundred steps."""
    rng, store = np.random.default_rng(1), empty_store(SET, 64)
    for t in range(20):
        take(store, [1], rng.normal(0, 0.1, 1), float(t))
    take(store, [1], [10.0], 20.0)
    take(store, [1], [0.0], 21.0)
    slot = store.slot(1)
    assert store.points[slot] == 21
    assert store.sums[slot, 0, 2] / store.sums[slot, 0, 0] < 0.1
    take(store, [1], [10.0], 22.0)
    take(store, [1], [10.1], 23.0)
    assert store.points[slot] == 1
    take(store, [1], [10.2], 24.0)
    assert store.points[slot] == 2


def test_memory_is_bounded_and_strangers_leave() -> None:
    """Ten times as many tracks as slots: the rest is counted; later the unseen make room."""
    store = empty_store(4 * SET, 16)
    many = np.arange(40 * SET)
    turned_away = take(store, many, np.zeros(len(many)), 0.0)
    assert turned_away == len(many) - 4 * SET
    assert take(store, many + 10_000, np.zeros(len(many)), 10.0) == len(many)
    later = np.arange(4 * SET) + 20_000
    room = min(4 * SET, sum(min(SET, int(np.sum(first_of_set(later, 4 * SET) == k * SET))) for k in range(4)))
    assert len(later) - take(store, later, np.zeros(len(later)), 100.0) == room


def test_a_slot_that_changes_hands_forgets() -> None:
    """Points, moments and verdict are the new track's alone."""
    store = empty_store(SET, 16)
    for t in range(12):
        take(store, np.arange(SET), np.arange(SET) + 0.1 * t * (-1) ** t, float(t))
    judge_due(store, 0, 99, 1.0, 0.5, 0.1, 0.3, np.empty((3, 16)))
    assert np.isfinite(store.verdict[:, 0]).all()
    take(store, [77], [0.0], 500.0)
    slot = store.slot(77)
    assert store.points[slot] == 1
    assert not store.sums[slot].any()
    assert np.isnan(store.verdict[slot]).all()


def test_verdicts_come_in_turn_within_the_budget() -> None:
    """Every track has its own before one has its second; nobody is judged twice for nothing."""
    rng, store, room = np.random.default_rng(2), empty_store(2 * SET, 16), np.empty((3, 16))
    for t in range(8):
        take(store, np.arange(10), rng.normal(size=10), float(t))
    cursor, judged = 0, []
    for _ in range(4):
        cursor = judge_due(store, cursor, 3, 1.0, 0.5, 0.1, 0.3, room)
        judged.append(int((store.judged_at > 0).sum()))
    assert judged == [3, 6, 9, 10]
    before = store.verdict.copy()
    judge_due(store, cursor, 99, 1.0, 0.9, 0.3, 0.3, room)
    assert np.array_equal(store.verdict, before, equal_nan=True)


def test_moments_can_begin_anew() -> None:
    """At a new pace old displacements are of another lag."""
    store = empty_store(SET, 16)
    for t in range(6):
        take(store, [1], [t / 10], float(t))
    store.forget_moments()
    take(store, [1], [0.6], 6.0)
    assert not store.sums[store.slot(1)].any()
    take(store, [1], [0.7], 7.0)
    assert store.sums[store.slot(1), 0, 0] == 1

"""The tracker's parts: neighbours, what an assignment means, and what is learned of looks, kinship and rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartscope_models.tracking.assignment import assign, consequences
from smartscope_models.tracking.divisions import settle_claims
from smartscope_models.tracking.grid import MOST_CELLS, bin_points, cell_of, near
from smartscope_models.tracking.kinship import LEAST_SHARE, Kinship
from smartscope_models.tracking.looks import ODD, Looks, likeness, of_anyone
from smartscope_models.tracking.motion import Noise, density, move, see, start
from smartscope_models.tracking.rates import Rates


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0.5, 80), st.floats(1, 1e5))
def test_neighbours_are_those_within_reach(seed: int, count: int, reach: float, field: float) -> None:
    rng = np.random.default_rng(seed)
    places, (x, y) = rng.uniform(-field, field, (count, 2)), rng.uniform(-field, field, 2)
    cell, found = cell_of(places, reach), np.empty(100, np.int64)
    many, left_out = near(x, y, reach, places, cell, *bin_points(places, cell), found)
    assert left_out == 0
    assert sorted(found[:many]) == np.flatnonzero(np.hypot(*(places - (x, y)).T) <= reach).tolist()
    assert np.ptp(places, axis=0).max() / cell <= MOST_CELLS


def test_neighbours_without_room_are_counted() -> None:
    places, found = np.random.default_rng(0).uniform(0, 1, (50, 2)), np.empty(8, np.int64)
    grid = bin_points(places, cell_of(places, 5.0))
    assert near(0.5, 0.5, 5.0, places, 5.0, *grid, found) == (8, 42)


def test_what_an_assignment_costs_and_whom_it_leaves_alone() -> None:
    start_of, detection = np.array([0, 2, 3, 4, 4]), np.array([0, 1, 1, 2])
    cost, miss = np.array([-3.0, -1.0, -2.0, -5.0]), np.full(4, 0.5)
    chosen, _ = assign(start_of, detection, cost, miss, 4)
    spent, owner, alone = consequences(start_of, detection, cost, miss, chosen, 4)
    assert list(chosen) == [0, 1, 2, -1]
    assert list(spent) == [-3.0, -2.0, -5.0, 0.5]
    assert list(owner) == [0, 1, 2, -1]
    assert list(alone) == [False, False, True, False]


def test_of_divisions_that_want_the_same_daughter_the_better_stands() -> None:
    pairs = np.array([[0, 1], [1, 2], [2, 3]])
    assert list(settle_claims(pairs, np.array([1.0, 2.0, 0.5]), 4)) == [False, True, False]
    assert list(settle_claims(pairs, np.array([3.0, 2.0, 0.5]), 4)) == [True, False, True]


def test_an_object_is_likelier_itself_than_a_stranger() -> None:
    looks = Looks()
    looks.change, looks.mean, looks.spread = np.full(2, 0.01), np.zeros(2), np.ones(2)
    packed, known = looks.packed(), np.array([0.5, -0.5])
    ratios = []
    for off in (0.0, 0.2, 2.0):
        seen = np.broadcast_to(known + off, (1, 1, 2)).copy()
        ratios.append(likeness(known, 6.0, seen[0, 0], of_anyone(seen, packed)[0, 0], packed))
    assert ratios[0] > ratios[1] > 1 > ratios[2] > 0
    far = np.full((1, 1, 2), 50.0)
    assert of_anyone(far, packed)[0, 0] == pytest.approx(ODD)


def test_objects_that_look_alike_tell_nothing() -> None:
    looks = Looks()
    rng = np.random.default_rng(0)
    for _ in range(100):
        seen = rng.normal(3, 0.1, (500, 2))
        looks.learn_population(seen)
        looks.learn_change(np.full((500, 2), 3.0), np.full(500, 6.0), seen)
    packed = looks.packed()
    assert looks.mean == pytest.approx(3, abs=0.02)
    assert looks.change == pytest.approx(0.01 / (1 + 1 / 6), rel=0.2)
    same, other = np.full((1, 1, 2), 3.0), np.full((1, 1, 2), 3.1)
    for seen in (same, other):
        assert likeness(np.full(2, 3.0), 6.0, seen[0, 0], of_anyone(seen, packed)[0, 0], packed) < 3


def test_kinship_is_learned_from_divisions_as_far_as_they_are_believed() -> None:
    kin, doubted, rng = Kinship.of_gate(8.0), Kinship.of_gate(8.0), np.random.default_rng(1)
    for _ in range(400):
        seen = [np.log(4.0), 0.5, -0.2 + 0.1 * rng.normal(), -0.7 + 0.1 * rng.normal(), 0.01, 0.02]
        kin.learn(np.array([seen]), np.ones(1), 100)
        doubted.learn(np.array([seen]), np.full(1, 1e-6), 100)
    assert kin.apart == pytest.approx(np.log(4.0), abs=0.02)
    assert kin.change == pytest.approx([-0.2, -0.7], abs=0.05)
    assert kin.share == pytest.approx(0.01, rel=0.1)
    assert doubted.apart == pytest.approx(np.log(8.0), abs=0.02)
    assert doubted.share == LEAST_SHARE


def test_rates_are_learned_and_a_flood_is_known_as_one() -> None:
    rates = Rates()
    rates.begin(100, 1e4)
    for _ in range(400):
        rates.learn_detection(90, 10)
        rates.learn_survival(98, 2)
        rates.learn_newcomers(5, 100, 1e4)
    assert rates.detected == pytest.approx(0.9, abs=0.01)
    assert rates.survives == pytest.approx(0.98, abs=0.005)
    assert rates.newcomers * 1e4 == pytest.approx(5, abs=0.2)
    assert rates.crowding(105, 95, 1e4) == 1
    assert rates.crowding(10_095, 95, 1e4) == pytest.approx(2000, rel=0.1)


def test_a_blank_frame_says_little_about_each_of_many_objects() -> None:
    rates, exists = Rates(), np.full(20, 0.99)
    assert (rates.after_miss(exists, 19, 20.0) < 0.85).all()
    assert (rates.after_miss(exists, 0, 20.0) > 0.98).all()
    assert (rates.after_miss(exists[:1], 0, 1.0) < 0.85).all()


def test_places_foretold_are_those_of_the_model_that_moves_on() -> None:
    noise = Noise.of_gate(8.0).packed()
    state, steady = np.empty((2, 7)), 0.5
    start(state, np.zeros(2), noise)
    for t in range(1, 15):
        steady = move(state, steady, 1.0, noise)
        steady, _ = see(state, steady, np.array([3.0 * t, 0.0]), noise[3])
    assert steady > 0.9
    ahead, behind = (density(state, steady, np.array([3.0 * 14 + off, 0.0]), 1, noise) for off in (3.0, -3.0))
    assert ahead > 10 * behind

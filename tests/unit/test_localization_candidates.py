"""Candidates come at a stated rate of false alarms, and more of them where there is more to find."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from fit_helpers import READ_E, SIGMA, exposed, lattice, light, scattered

from smartscope_models.localization.background import first_background, refine_background
from smartscope_models.localization.candidates import half_profile, maxima, score_map, threshold
from smartscope_models.localization.groups import groups_of, pairs_within
from smartscope_models.localization.joint import Bench, Field

READ = READ_E**2


def field_of(frame: np.ndarray) -> Field:
    """The frame with its first background as the model."""
    read = np.full(frame.shape, READ, np.float32)
    background = np.zeros_like(frame)
    first_background(frame, read, background)
    return Field(frame, read, background + read, background)


def candidates(field: Field, false_alarms: float = 1.0, most: int = 5000) -> np.ndarray:
    """(K, 2) row and column."""
    score, amount = np.zeros((2, *field.light.shape), np.float32)
    places = np.zeros((most, 2), np.int64)
    score_map(field, half_profile(SIGMA), Bench.of(field.light.shape, SIGMA, 3), score, amount)
    return places[: maxima(score, np.float32(threshold(SIGMA, false_alarms)), places)]


def test_noise_alone_gives_the_stated_number() -> None:
    frame = exposed(np.full((512, 512), 30.0), 1)
    field = field_of(frame)
    field.background[:] = 30
    field.model[:] = 30 + READ
    found = len(candidates(field, 100.0)) / frame.size * 1e6
    assert 40 < found < 220, "100 asked for; Poisson's noise has a heavier tail than a normal one"


def test_the_score_of_noise_has_variance_1_at_any_level() -> None:
    ramp = np.broadcast_to(np.linspace(0.5, 80, 256), (256, 256))
    frame = exposed(ramp, 2)
    read = np.full(frame.shape, READ, np.float32)
    score, amount = np.zeros((2, *frame.shape), np.float32)
    field = Field(frame, read, (ramp + READ).astype(np.float32), ramp.astype(np.float32))
    score_map(field, half_profile(SIGMA), Bench.of(frame.shape, SIGMA, 3), score, amount)
    for part in np.split(score, 4, axis=1):
        assert part.std() == pytest.approx(1, abs=0.04)


def test_the_number_found_grows_with_density_up_to_3_per_square_micrometre() -> None:
    numbers = []
    for density in (0.02, 0.07, 0.2, 0.4, 0.8, 1.2, 1.8, 2.4, 3.0):
        places = scattered(density / 100, 160, 3)
        frame = exposed(light((160, 160), *places.T, 1000, 10), 3)
        numbers.append(len(candidates(field_of(frame))))
    assert all(later > earlier for earlier, later in pairwise(numbers)), numbers


def test_lone_spots_are_found_where_they_are_also_at_the_rim() -> None:
    shape, places = lattice(8, 16, 4)
    places = np.vstack([places, [[0.0, 50.0], [127.0, 127.0]]])
    found = candidates(field_of(exposed(light(shape, *places.T, 400, 10), 4)))
    gap = np.hypot(found[:, 1, None] - places[:, 0], found[:, 0, None] - places[:, 1])
    assert (gap.min(0) < 1.5).all()
    assert len(found) == len(places)


def test_amount_is_the_light_that_is_missing() -> None:
    frame = light((41, 41), np.array([20.0]), np.array([20.0]), 500, 10).astype(np.float32)
    flat = np.full_like(frame, 10.0)
    field = Field(frame, np.full_like(frame, READ), flat + READ, flat)
    score, amount = np.zeros((2, 41, 41), np.float32)
    score_map(field, half_profile(SIGMA), Bench.of(frame.shape, SIGMA, 3), score, amount)
    assert amount[20, 20] == pytest.approx(500, rel=0.01)


def test_no_more_than_there_is_room_for() -> None:
    shape, places = lattice(8, 16, 5)
    field = field_of(exposed(light(shape, *places.T, 800, 10), 5))
    assert len(candidates(field, most=10)) == 10


def test_equal_neighbours_are_one_maximum() -> None:
    score = np.zeros((6, 6), np.float32)
    score[2:4, 2:4] = 9
    places = np.zeros((9, 2), np.int64)
    assert maxima(score, np.float32(1), places) == 1


@pytest.mark.parametrize("density", [0.0, 0.37, 1.2, 2.0])
def test_the_background_is_found_in_crowds(density: float) -> None:
    places = scattered(density / 100, 128, 6)
    spots = light((128, 128), *places.T, 1000, 0)
    field = field_of(exposed(spots + 10, 6))
    assert np.median(field.background) == pytest.approx(10, rel=0.12 + 0.4 * density)
    field.model[:] = field.background + spots + READ
    for _ in range(3):
        refine_background(field)
    assert np.sqrt(np.mean((field.background - 10) ** 2)) < 0.35
    assert np.abs(field.model - field.background - spots - READ).max() < 1e-3


def test_the_background_follows_a_slope_and_is_never_negative() -> None:
    ramp = np.broadcast_to(np.linspace(3, 30, 128), (128, 128))
    field = field_of(exposed(ramp, 7))
    for _ in range(4):
        refine_background(field)
    assert np.abs(field.background - ramp)[:, 16:-16].max() < 2
    dark = field_of(np.full((20, 30), -50, np.float32))
    refine_background(dark)
    assert (dark.background > 0).all()


def test_groups_join_what_is_close_and_are_cut_where_links_are_weak() -> None:
    chain = np.array([[0, 0], [1, 0], [2, 0], [9, 0], [3.5, 0], [20.0, 5.0]])
    order, starts = groups_of(chain, 1.6, 12)
    groups = [set(order[a:b].tolist()) for a, b in pairwise(starts)]
    assert sorted(map(sorted, groups)) == [[0, 1, 2, 4], [3], [5]]
    order, starts = groups_of(chain, 1.6, 3)
    groups = [set(order[a:b].tolist()) for a, b in pairwise(starts)]
    assert sorted(map(sorted, groups)) == [[0, 1, 2], [3], [4], [5]]
    assert groups_of(np.empty((0, 2)), 1.0, 3)[1].tolist() == [0]


def test_pairs_come_closest_first() -> None:
    places = np.random.default_rng(8).uniform(0, 20, (60, 2))
    pairs = pairs_within(places, 4.0)
    gaps = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T)
    assert (np.diff(gaps) >= 0).all()
    every = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))[np.triu_indices(60, 1)]
    assert len(pairs) == (every < 4).sum()

"""Levels for false-alarm rates: true to what was set, whatever the tail; events among the data do not raise them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope_models.events.following import carried, row_of
from smartscope_models.events.level import AlarmLevel
from smartscope_models.events.odds import Odds

PER_STEP = 0.1
STEPS = 500_000
PER_SECOND = 10.0


def taught(per_hour: float, tail: float, spoilt: float = 0.0, seed: int = 0) -> AlarmLevel:
    """Has seen excursions with an exponential tail, and this part of them far higher: events that nobody noticed."""
    rng, level = np.random.default_rng(seed), AlarmLevel(per_hour)
    peaks = rng.exponential(1 / tail, round(PER_STEP * STEPS))
    high = rng.uniform(12, 25, round(spoilt * len(peaks))) / tail
    level.learn(np.concatenate([peaks, high]), STEPS, STEPS / PER_SECOND)
    return level


@pytest.mark.parametrize("tail", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("per_hour", [1.0, 10.0, 100.0])
def test_the_level_is_passed_as_often_as_is_allowed(tail: float, per_hour: float) -> None:
    passed = []
    for seed in range(5):
        level = taught(per_hour, tail, seed=seed).level
        passed.append(PER_STEP * 3600 * PER_SECOND * math.exp(-tail * level))
    assert abs(math.log(np.exp(np.mean(np.log(passed))) / per_hour)) < 0.35


def test_events_that_nobody_noticed_hardly_raise_it() -> None:
    assert taught(1.0, 1.0, 1e-3).level < taught(1.0, 1.0).level + 1.0


def test_before_any_data_it_rests_on_the_likelihood_ratio() -> None:
    level = AlarmLevel(1.0)
    assert level.level == math.inf
    level.learn(np.empty(0), 1.0, 1.0)
    assert level.level == pytest.approx(math.log(3600), abs=1.0)


def test_higher_scores_are_rarer_by_chance() -> None:
    level = taught(2.0, 1.0)
    assert level.false_per_hour(level.level) == pytest.approx(2.0)
    assert level.false_per_hour(level.level + 1) < 1.0
    odds = Odds(level)
    odds.pass_time(3600.0)
    scores = [odds.probability(level.level + more) for more in (-3, 0, 3)]
    assert scores == sorted(scores)
    assert 0 < scores[0] < 0.5 < scores[-1] < 1


def test_old_data_are_forgotten() -> None:
    level = taught(1.0, 1.0)
    before = level.level
    rng = np.random.default_rng(1)
    for _ in range(10):
        level.learn(rng.exponential(2.0, 50_000), STEPS, STEPS / PER_SECOND)
    assert level.level > 1.5 * before


@given(st.lists(st.floats(0, 1e6), max_size=50), st.floats(0, 1e6), st.floats(0, 1e5), st.floats(1e-3, 1e6))
def test_any_data_give_a_level(peaks: list[float], steps: float, elapsed_s: float, per_hour: float) -> None:
    level = AlarmLevel(per_hour)
    level.learn(np.array(peaks), steps, elapsed_s)
    level.learn(np.array(peaks), 1.0, 1.0)
    assert 0 < level.level < math.inf


@given(st.lists(st.integers(0, 20), unique=True, max_size=20), st.lists(st.integers(0, 20), unique=True, max_size=20))
def test_rows_follow_their_tracks(before: list[int], now: list[int]) -> None:
    row = row_of(np.array(before, np.int64), np.array(now, np.int64))
    assert [before[k] if k >= 0 else None for k in row] == [one if one in before else None for one in now]


def test_new_rows_are_blank() -> None:
    from smartscope_models.events.cusum import Sums, no_sums

    sums = carried(no_sums(), np.array([-1, -1]))
    assert isinstance(sums, Sums)
    assert np.isnan(sums.sum).all()
    assert (sums.event_id == 0).all()

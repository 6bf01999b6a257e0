"""Drift that is known is found within its stated error, and none is claimed where nothing tells of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from molecule_helpers import blinking, even, moved, without_any

from smartscope_models.localization.course import KNOTS, Course, Knot
from smartscope_models.localization.drift import BIN_NM, FEWEST, Drift
from smartscope_models.localization.molecules import Molecules

FIELD_NM = 6400.0
BLOCK_S = 2.0
Drifting = Callable[[float], tuple[float, float]]


def sites(seed: int = 1, count: int = 600) -> np.ndarray:
    return np.random.default_rng(seed).uniform(300, FIELD_NM - 300, (count, 2))


def filaments(seed: int = 1, count: int = 15) -> np.ndarray:
    """Places every 8 nm along straight lines in all directions."""
    rng = np.random.default_rng(seed)
    along = np.arange(0, FIELD_NM, 8.0)[:, None]
    angle = rng.uniform(0, math.tau, count)
    start = rng.uniform(0, FIELD_NM, (count, 2))
    return np.concatenate([p + along * [math.cos(a), math.sin(a)] for p, a in zip(start, angle, strict=True)])


def followed(frames: Iterable[Molecules], drifting: Drifting = lambda t: (0.0, 0.0)) -> Drift:
    """Frames that drift, with molecules put into the picture as soon as their drift is settled."""
    drift, waiting = Drift(FIELD_NM, FIELD_NM, BLOCK_S), deque[Molecules]()
    for found in frames:
        here = moved(found, *drifting(found.t_s))
        drift.expect(here)
        waiting.append(here)
        while waiting and waiting[0].t_s <= drift.course.settled_s:
            settled = waiting.popleft()
            drift.settle(settled, *drift.course.at(settled.t_s))
    return drift


def misses_nm(drift: Drift, drifting: Drifting) -> np.ndarray:
    """(K, 3) of all knots but the first: x and y off the truth, and the stated error."""
    first, *others = drift.course.knots
    zero = np.array(drifting(first.t_s))
    rows = [(*(np.array([k.x_nm, k.y_nm]) - np.array(drifting(k.t_s)) + zero), k.error_nm) for k in others]
    return np.array(rows)


def linear(t_s: float) -> tuple[float, float]:
    return 2.0 * t_s, -1.2 * t_s


def waving(t_s: float) -> tuple[float, float]:
    return 30 * math.sin(t_s / 8), 20 * (1 - math.cos(t_s / 10))


@pytest.mark.parametrize("drifting", [linear, waving])
@pytest.mark.parametrize("where", [sites(), filaments()], ids=["sites", "filaments"])
def test_known_drift_is_found_within_its_stated_error(where: np.ndarray, drifting: Drifting) -> None:
    drift = followed(blinking(1, even(1000), per_second=1500.0, sites_nm=where), drifting)
    found = misses_nm(drift, drifting)
    assert len(found) == 8  # at 20 s a block has just not ended
    stated = found[:, 2]
    assert stated.mean() < 3.0
    normalised = found[:, :2] / stated[:, None]
    assert 0.2 < np.sqrt((normalised**2).mean()) < 2.0
    assert np.abs(normalised).max() < 5


def test_what_is_placed_by_the_course_is_placed_within_nanometres() -> None:
    drift = followed(blinking(2, even(1000), per_second=2000.0, sites_nm=sites()), waving)
    zero = np.array(waving(drift.course.knots[0].t_s))
    times = np.arange(BLOCK_S, drift.course.settled_s, 0.1)
    off = np.array([np.array(drift.course.at(t)) - np.array(waving(t)) + zero for t in times])
    assert np.sqrt((off**2).mean()) < 1.5


def test_more_molecules_tell_the_drift_more_surely() -> None:
    stated = [
        np.mean(misses_nm(followed(blinking(3, even(600), per_second=rate, sites_nm=sites()), linear), linear)[:, 2])
        for rate in (600.0, 3000.0)
    ]
    assert stated[1] < 0.7 * stated[0]


def test_molecules_that_are_never_seen_again_tell_of_no_drift() -> None:
    """Those still on when a block begins lie where they lay: they must not make it look as if nothing drifted."""
    drift = followed(blinking(4, even(1000), per_second=1500.0, on_time_ms=60.0), linear)
    assert len(drift.course.knots) == 1


def test_too_few_molecules_tell_nothing() -> None:
    assert not followed(blinking(5, even(400), per_second=20.0, sites_nm=sites())).course.knots
    assert not followed(map(without_any, blinking(5, even(400)))).course.knots


def test_a_lull_is_waited_out() -> None:
    lull = (8.0, 30.0)
    frames = blinking(6, even(2000), per_second=1500.0, sites_nm=sites())
    drift = followed((without_any(one) if lull[0] < one.t_s < lull[1] else one for one in frames), linear)
    assert not any(lull[0] < knot.t_s < lull[1] for knot in drift.course.knots)
    after = misses_nm(drift, linear)[[knot.t_s > lull[1] for knot in list(drift.course.knots)[1:]]]
    assert len(after) >= 2
    assert np.abs(after[:, :2]).max() < 5


def test_a_blow_to_the_table_is_found_again() -> None:
    def struck(t_s: float) -> tuple[float, float]:
        return (310.0, -420.0) if t_s > 9 else (0.0, 0.0)

    drift = followed(blinking(7, even(1800), per_second=1500.0, sites_nm=sites()), struck)
    last = drift.course.knots[-1]
    assert last.t_s > 25
    assert (last.x_nm, last.y_nm) == pytest.approx((310, -420), abs=5)
    x_nm, y_nm = drift.course.at(12.0)  # not half-way: it jumped
    assert (x_nm, y_nm) == pytest.approx((310, -420), abs=5)


def test_a_field_beyond_the_picture_is_looked_at_in_its_middle() -> None:
    wide_nm = 60_000.0
    middle = sites() + (wide_nm - FIELD_NM) / 2
    drift, waiting = Drift(wide_nm, wide_nm, BLOCK_S), deque[Molecules]()
    for found in blinking(8, even(450), per_second=1500.0, sites_nm=middle):
        drift.expect(found)
        waiting.append(found)
        while waiting and waiting[0].t_s <= drift.course.settled_s:
            drift.settle(waiting.popleft(), 0.0, 0.0)
    assert len(drift.course.knots) >= 3
    assert abs(drift.course.knots[-1].x_nm) < 5


FRAMES = list(blinking(9, even(330), per_second=2000.0, sites_nm=sites()))


@settings(max_examples=6, deadline=None)
@given(st.floats(-150, 150), st.floats(-150, 150))
def test_a_field_that_lies_elsewhere_drifts_alike(x_nm: float, y_nm: float) -> None:
    plain = followed(FRAMES, linear).course.knots
    shifted = followed((moved(one, x_nm, y_nm) for one in FRAMES), linear).course.knots
    assert len(plain) == len(shifted) == 3
    for one, other in zip(plain, shifted, strict=True):
        assert (other.x_nm, other.y_nm) == pytest.approx((one.x_nm, one.y_nm), abs=0.2 * BIN_NM)


def test_a_table_of_drift_from_another_program(data: Path) -> None:
    """storm-analysis' table, in pixels by frame: up to a quarter of a pixel in x, half of one in y."""
    path = data / "storm-analysis" / "test_drift.txt"
    if not path.exists():
        pytest.skip(f"no {path}; set SMARTSCOPE_DATA")
    rows = np.loadtxt(path)[::4]
    times = even(len(rows)) / 1e3

    def tabled(t_s: float) -> tuple[float, float]:
        return float(np.interp(t_s, times, 100 * rows[:, 1])), float(np.interp(t_s, times, 100 * rows[:, 2]))

    drift = followed(blinking(10, even(len(rows)), per_second=2000.0, sites_nm=sites()), tabled)
    found = misses_nm(drift, tabled)
    assert len(found) >= 10
    assert np.sqrt((found[:, :2] ** 2).mean()) < 1.5
    assert drift.course.knots[-1].y_nm > 35


# ---------------------------------------------------------------- the course


def test_a_course_is_straight_between_knots_and_goes_on_as_far_as_it_is_believed() -> None:
    course = Course()
    assert course.at(3.0) == (0.0, 0.0)
    course.add(Knot(1.0, 0.0, 0.0, 0.0))
    assert course.at(9.0) == (0.0, 0.0)
    course.add(Knot(3.0, 20.0, -10.0, 0.1))
    assert course.at(2.0) == pytest.approx((10.0, -5.0))
    assert course.at(0.0) == (0.0, 0.0)
    assert course.at(4.0) == pytest.approx((30.0, -15.0), rel=1e-3)
    assert course.at(1e6) == course.at(7.0)
    assert course.settled_s == 3.0


def test_a_slope_that_may_be_noise_is_not_followed() -> None:
    course = Course()
    course.add(Knot(1.0, 0.0, 0.0, 3.0))
    course.add(Knot(3.0, 4.0, 20.0, 3.0))
    assert course.at(4.0)[0] == 4.0
    assert 20 < course.at(4.0)[1] < 30


def test_a_jump_is_no_slope() -> None:
    course = Course()
    course.add(Knot(1.0, 5.0, 0.0, 1.0), settled_s=2.0)
    assert course.settled_s == 2.0
    course.add(Knot(9.0, 600.0, 0.0, 1.0))
    assert course.at(1.0)[0] == 5.0
    assert course.at(3.0)[0] == course.at(12.0)[0] == 600.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=2 * KNOTS))
def test_a_course_passes_its_knots_and_is_bounded_in_memory(places: list[tuple[float, float]]) -> None:
    course = Course()
    for k, (x_nm, y_nm) in enumerate(places):
        course.add(Knot(float(k), x_nm, y_nm, 1.0))
    assert len(course.knots) <= KNOTS
    for knot in course.knots:
        assert course.at(knot.t_s) == pytest.approx((knot.x_nm, knot.y_nm), abs=1e-6)
    assert all(one.t_s < other.t_s for one, other in pairwise(course.knots))


def test_a_block_needs_as_many_as_it_says() -> None:
    place = np.linspace(300, 6000, FEWEST)
    frames = [Molecules(t_s, place, place, np.full(FEWEST, 10.0)) for t_s in (0.0, BLOCK_S)]
    assert followed(frames).course.knots
    short = [
        Molecules(one.t_s, one.x_nm[: FEWEST // 2 - 1], one.y_nm[: FEWEST // 2 - 1], one.error_nm) for one in frames
    ]
    assert not followed(short).course.knots

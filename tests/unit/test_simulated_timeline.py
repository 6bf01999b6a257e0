"""Timelines and trajectories: what was true at each moment of the past."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartscope_drivers.simulated import timeline
from smartscope_drivers.simulated.timeline import Timeline
from smartscope_drivers.simulated.trajectory import NEVER_NS, Trajectory


@given(
    st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 5)), max_size=20), st.integers(0, 500), st.integers(1, 500)
)
def test_pieces_agree_with_moments(changes: list[tuple[int, int]], t0: int, length: int) -> None:
    power = Timeline(0)
    for t_ns, value in sorted(changes, key=lambda change: change[0]):
        power.set(t_ns, value)
    pieces = power.pieces(t0, t0 + length)
    assert pieces[0][0] == t0
    assert pieces[-1][1] == t0 + length
    assert all(a[1] == b[0] for a, b in pairwise(pieces))
    assert sum(value * (b - a) for a, b, value in pieces) == sum(power.at(t) for t in range(t0, t0 + length))


def test_a_change_cancels_what_was_noted_for_later() -> None:
    shown = Timeline("flat")
    shown.set(10, "pattern")
    shown.set(50, "dark")
    shown.set(30, "other")
    assert [shown.at(t) for t in (9, 10, 30, 60)] == ["flat", "pattern", "other", "other"]


def test_it_forgets_the_oldest_half_when_full(monkeypatch) -> None:
    monkeypatch.setattr(timeline, "_KEEP", 100)
    count = Timeline(0)
    for t_ns in range(1, 1001):
        count.set(t_ns, t_ns)
    assert count.at(1000) == 1000
    assert count.at(980) == 980
    assert count.at(5) > 800


def test_a_stage_takes_its_time() -> None:
    stage = Trajectory((0.0, 0.0), um_per_s=2000, settling_ms=5)
    stage.move_to((30.0, 40.0), 1_000_000)  # 50 um in 25 ms
    assert stage.at(0) == (0.0, 0.0)
    assert stage.at(1_000_000 + 12_500_000) == pytest.approx((15, 20))
    assert stage.at(1_000_000 + 25_000_000) == (30.0, 40.0)
    assert stage.busy(1_000_000 + 29_999_999)
    assert not stage.busy(1_000_000 + 30_000_000)


def test_a_new_target_is_set_off_for_from_where_the_stage_is() -> None:
    stage = Trajectory((0.0,), um_per_s=1000, settling_ms=0)
    stage.move_to((100.0,), 0)
    stage.move_to((0.0,), 50_000_000)
    assert stage.at(50_000_000) == pytest.approx((50,))
    assert stage.at(75_000_000) == pytest.approx((25,))
    assert stage.at(25_000_000) == pytest.approx((25,))  # the past stays
    stage.stop(80_000_000)
    assert stage.at(200_000_000) == pytest.approx((20,))
    assert not stage.busy(80_000_000)


def test_a_stalled_move_ends_half_way_and_stays_busy() -> None:
    stage = Trajectory((0.0,), um_per_s=1000, settling_ms=1)
    stage.move_to((100.0,), 0, stalls=True)
    assert stage.at(10**12) == (50.0,)
    assert stage.busy(NEVER_NS - 1)

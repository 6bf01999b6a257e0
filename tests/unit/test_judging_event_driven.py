"""Only this file checks how event-driven imaging is judged: frames inside events, dose, delay, and what was true."""

from __future__ import annotations

import numpy as np
import pytest
from judging.event_driven import images
from judging.event_driven.days import EVENT_S, Day
from judging.event_driven.figures import figures, most_inside, summary
from judging.event_driven.rules import FAST_S, SLOW_S, fixed, oracle, taken

DAY = Day(600.0, (100.0, 300.0), (), 0.0, 1)


def test_fixed_fast_gets_all_and_fixed_slow_its_share():
    most = most_inside(DAY)
    assert most == pytest.approx(2 * EVENT_S / FAST_S, abs=2)
    fast, slow = (figures(DAY, taken(DAY, fixed(every_s)), most) for every_s in (FAST_S, SLOW_S))
    assert fast["inside_share"] == 1
    assert fast["dose_share"] == pytest.approx(1, abs=1e-3)
    assert slow["inside_share"] == pytest.approx(FAST_S / SLOW_S, abs=0.01)
    assert slow["caught_share"] == 0


def test_who_is_fast_only_late_in_each_event_loses_what_came_before():
    times = np.concatenate([onset + np.arange(12.0, EVENT_S, FAST_S) for onset in DAY.onsets])
    found = figures(DAY, times, most_inside(DAY))
    assert found["inside_share"] == pytest.approx(18 / 30, abs=0.02)
    assert found["delay_s_median"] == pytest.approx(12 + FAST_S)
    assert found["caught_share"] == 1


def test_who_sees_an_event_only_after_a_while_is_below_the_oracle():
    most = most_inside(DAY)
    found = [figures(DAY, taken(DAY, rule), most) for rule in (oracle(DAY), images.knowing(DAY, 12.0))]
    assert found[0]["inside_share"] >= 0.99
    assert 0.45 < found[1]["inside_share"] < 0.65
    assert found[1]["dose_share"] < found[0]["dose_share"]


def test_means_over_seeds_lie_within_their_intervals():
    rows = summary([{"ours": {"inside_share": share}} for share in (0.2, 0.4, 0.9)])
    mean, low, high = rows["ours"]["inside_share"]
    assert mean == pytest.approx(0.5)
    assert low < mean < high


def test_events_and_frames_of_a_run_come_from_specimen_and_camera():
    pace = {"figure": None, "slow_interval_ms": 20_000, "fast_interval_ms": 20_000}
    day, times = images.watched(7, 240.0, ["fission"], pace)
    assert np.diff(times[2:]) == pytest.approx(20.0, abs=0.1)
    assert len(times) == pytest.approx(12, abs=2)
    assert len(day.onsets) == 1
    assert 0 <= day.onsets[0] < 240

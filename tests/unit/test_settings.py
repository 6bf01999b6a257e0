"""A frame has the setting that held during its whole exposure, or it is mixed."""

from hypothesis import given
from hypothesis import strategies as st

from smartscope.frame import Certainty
from smartscope.settings import Change, SettingsTimeline


def timeline() -> SettingsTimeline:
    line = SettingsTimeline(calibrated=frozenset({"xy"}))
    line.record(Change("exposure_ms", 5.0, 0, 0))
    line.record(Change("exposure_ms", 9.0, 100, 120))
    line.record(Change("xy", (0.0, 0.0), 0, 0))
    return line


def test_before_between_and_after_a_change() -> None:
    line = timeline()
    assert line.during("exposure_ms", 50, 100) == (5.0, Certainty.ASSUMED)
    assert line.during("exposure_ms", 95, 105) == (9.0, Certainty.MIXED)
    assert line.during("exposure_ms", 110, 130) == (9.0, Certainty.MIXED)
    assert line.during("exposure_ms", 120, 130) == (9.0, Certainty.ASSUMED)
    assert line.latest("exposure_ms") == 9.0


def test_a_calibrated_setting_is_exact() -> None:
    assert timeline().during("xy", 10, 20) == ((0.0, 0.0), Certainty.EXACT)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20)), max_size=8), st.integers(0, 300), st.integers(1, 40))
def test_mixed_exactly_when_an_interval_overlaps(gaps: list[tuple[int, int]], start: int, length: int) -> None:
    line = SettingsTimeline(keep=1000)
    line.record(Change("z", 0, -1, -1))
    intervals, t = [], 0
    for value, (gap, duration) in enumerate(gaps, start=1):
        t += gap
        intervals.append((t, t + duration))
        line.record(Change("z", value, t, t + duration))
        t += duration
    _, certainty = line.during("z", start, start + length)
    overlaps = any(called < start + length and effect > start for called, effect in intervals)
    assert (certainty is Certainty.MIXED) == overlaps

"""The watchdog on hand-made time: silence darkens, nobody relights behind the loop's back, too much trips."""

from __future__ import annotations

import threading
import time
from typing import cast

import pytest

from smartscope.config import SafetyConfig
from smartscope.safety.lights import GuardedLights
from smartscope.safety.messages import Darkened
from smartscope.safety.watchdog import MINUTE_NS, STUCK_S, Lapse, Watchdog

MS = 1_000_000


class Lights:
    """What the watchdog needs of GuardedLights, remembering what was done to it."""

    leased: object | None = None

    def __init__(self) -> None:
        self.lit = True
        self.done: list[str] = []
        self.reports: list[Darkened] = []
        self.renewed = threading.Event()

    def dark(self) -> None:
        self.lit = False
        self.done.append("dark")

    def latch(self, why: str) -> None:
        self.lit = False
        self.done.append("latch")

    def renew(self) -> None:
        self.done.append("renew")
        self.renewed.set()

    def darkened(self) -> Darkened | None:
        return self.reports.pop() if self.reports else None


class Bench:
    """A watchdog with its callbacks and a clock in the test's hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **safety: float) -> None:
        self.now_ns = 10_000 * MS
        monkeypatch.setattr(time, "perf_counter_ns", lambda: self.now_ns)
        self.lights, self.lapses, self.trips = Lights(), list[Lapse](), list[str]()
        self.dog = Watchdog(
            cast(GuardedLights, self.lights),
            SafetyConfig(heartbeat_ms=40, **safety),  # type: ignore[arg-type]
            on_lapse=self.lapses.append,
            on_trip=self.trips.append,
        )

    def after(self, ms: float, *beats: str) -> list[str]:
        """Let time pass, beat, look once; what the watchdog did to the lights."""
        self.now_ns += round(ms * MS)
        for name in beats:
            self.dog.beat(name)
        self.lights.done.clear()
        self.dog.tick(self.now_ns)
        return self.lights.done


def test_while_all_beat_the_lease_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    for _ in range(10):
        assert bench.after(39, "loop", "grabber") == ["renew"]
    assert bench.after(40) == ["renew"]


def test_one_who_is_silent_darkens_once_and_withholds_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.after(1, "loop", "grabber")
    bench.after(30, "loop")
    assert bench.after(11, "loop") == ["dark"]
    assert bench.after(10, "loop") == []
    assert [lapse.why for lapse in bench.lapses] == ["grabber silent for 1 ms too long"]


def test_light_that_is_set_during_a_lapse_goes_dark_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.after(1, "loop", "grabber")
    bench.after(41, "loop")
    bench.lights.lit = True
    assert bench.after(10, "loop") == ["dark"]
    assert len(bench.lapses) == 1


def test_silence_in_the_dark_is_no_lapse(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.after(1, "loop")
    bench.lights.lit = False
    assert bench.after(100) == []
    assert bench.lapses == []


def test_the_loop_hears_once_that_all_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.after(1, "loop", "grabber")
    bench.after(41, "loop")
    began_ns = bench.now_ns
    assert bench.dog.recovered() is None
    assert bench.after(5, "loop", "grabber") == ["renew"]
    assert bench.dog.recovered() == Lapse(began_ns, bench.lapses[0].why, bench.now_ns)
    assert bench.dog.recovered() is None


def test_a_longer_silence_can_be_announced_and_a_thread_can_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.dog.beat("loop", within_ms=500)
    assert bench.after(499) == ["renew"]
    assert bench.after(2) == ["dark"]
    bench.dog.forget("loop")
    assert bench.after(500) == ["renew"]


def test_what_the_supervisor_noticed_is_a_lapse_unless_it_is_older_than_the_last_recovery(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch)
    bench.after(1, "loop")
    report = Darkened(why="the lease was not renewed", t_ns=bench.now_ns - MS, powers_mw={})
    bench.lights.reports.append(report)
    bench.after(1, "loop")
    assert bench.lapses == [Lapse(report.t_ns, "the lease was not renewed")]
    assert bench.dog.recovered() is not None
    bench.lights.reports.append(report)
    bench.after(1, "loop")
    assert len(bench.lapses) == 1


def test_too_many_lapses_within_a_minute_trip_it_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, max_lapses_per_minute=2)
    bench.after(1, "loop")
    for _ in range(3):
        bench.lights.lit = True
        bench.after(41)
        bench.after(1, "loop")
        bench.dog.recovered()
    assert len(bench.trips) == 1
    assert bench.trips[0].startswith("3 lapses of the lease within a minute")
    assert bench.dog.tripped == bench.trips[0]
    assert bench.after(1, "loop") == []
    assert bench.dog.recovered() is None


def test_lapses_that_are_far_apart_are_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, max_lapses_per_minute=1)
    for _ in range(4):
        bench.lights.lit = True
        bench.after(MINUTE_NS / MS, "loop")
        bench.after(41)
        bench.after(1, "loop")
        bench.dog.recovered()
    assert len(bench.lapses) == 4
    assert bench.trips == []


def test_a_lapse_that_does_not_end_trips_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.after(1, "loop")
    bench.after(41)
    assert bench.after(STUCK_S * 1000 + 1) == ["latch"]
    assert bench.trips == [f"dark for more than {STUCK_S:g} s: {bench.lapses[0].why}"]


def test_the_thread_renews_and_stops() -> None:
    lights = Lights()
    dog = Watchdog(cast(GuardedLights, lights), SafetyConfig(), on_lapse=print, on_trip=print)
    dog.stop()
    dog.start()
    dog.stop()
    dog = Watchdog(cast(GuardedLights, lights), SafetyConfig(), on_lapse=print, on_trip=print)
    dog.start()
    assert lights.renewed.wait(10)
    dog.stop()


def test_a_watchdog_that_fails_leaves_the_light_off() -> None:
    tripped = threading.Event()
    lights = Lights()
    lights.reports.append(cast(Darkened, "no report"))
    dog = Watchdog(cast(GuardedLights, lights), SafetyConfig(), on_lapse=print, on_trip=lambda why: tripped.set())
    dog.start()
    assert tripped.wait(10)
    dog.stop()
    assert lights.done == ["latch"]
    assert dog.tripped.startswith("the watchdog failed: AttributeError")


def test_a_gap_between_renewals_is_a_lapse_although_nobody_was_silent() -> None:
    """The interpreter stood still: the supervisor has darkened, its report may still be on its way."""
    lapses: list[Lapse] = []
    lights = Lights()
    lights.leased = object()
    watchdog = Watchdog(lights, SafetyConfig(), on_lapse=lapses.append, on_trip=lambda why: None)  # type: ignore[arg-type]
    lights.lit = True
    start_ns = 1_000_000_000
    watchdog.tick(start_ns)
    assert not watchdog.in_doubt(start_ns, start_ns + 40_000_000)
    assert watchdog.in_doubt(start_ns, start_ns + 60_000_000)
    watchdog.tick(start_ns + 700_000_000)
    assert [lapse.began_ns for lapse in lapses] == [start_ns + 50_000_000]
    assert watchdog.in_doubt(start_ns + 60_000_000, start_ns + 70_000_000)

"""The event-driven pace: hysteresis, events remembered and withdrawn, budget, bursts, and what it does in the loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from smartscope.command import RunPlan, SetInterval
from smartscope.errors import InputError
from smartscope.policies.event_driven import EventDrivenPolicy, Watch
from smartscope.ports import Choice, Context, DoseState
from smartscope.result import EVENT_KINDS, Events
from smartscope.testing.policy_contract import LIGHT, SETTINGS, context

SLOW, FAST = 5000.0, 250.0


def _events(*rows: tuple[int, str, int, float]) -> Events:
    """Events from (id, kind, status, probability)."""
    n = len(rows)
    ints, floats = np.zeros(n, np.int32), np.zeros(n, np.float32)
    number = np.array([row[0] for row in rows], np.int32)
    kind = np.array([EVENT_KINDS.index(row[1]) for row in rows], np.int32)
    status = np.array([row[2] for row in rows], np.int32)
    probability = np.array([row[3] for row in rows], np.float32)
    return Events(number, kind, status, ints, floats, floats, probability, ints - 1, ints - 1)


def _context(
    signal: float | None = None,
    *,
    t_s: float = 1.0,
    interval_ms: float = SLOW,
    events: Events | None = None,
    **changes: Any,
) -> Context:
    quality = {} if signal is None else {"event": signal}
    told = {"dose": DoseState(), **changes}
    made = context(t_s, settings=replace(SETTINGS, interval_ms=interval_ms), quality=quality, **told)
    return replace(made, events=events)


def _policy(**options: Any) -> EventDrivenPolicy:
    return EventDrivenPolicy(SLOW, FAST, **{"figure": "event", "min_fast_s": 1.0, **options})


def _fast(since_s: float = 0.0, level: float = 1.0) -> Watch:
    return Watch(fast_since_s=since_s, level=level)


def _asked(choice: Choice) -> float | None:
    """The interval that was asked for."""
    commands = [request.command for request in choice.requests if isinstance(request.command, SetInterval)]
    return commands[0].interval_ms if commands else None


def test_begins_slowly() -> None:
    choice = _policy().decide(_context(0.0, interval_ms=0.0))
    assert _asked(choice) == SLOW
    assert choice.requests[0].why == "event at 0, below 0.5: a frame every 0 -> 5000 ms"


def test_goes_fast_at_once() -> None:
    choice = _policy().decide(_context(0.6))
    assert _asked(choice) == FAST
    assert choice.requests[0].why == "event at 0.6, from 0.5: a frame every 5000 -> 250 ms"
    assert choice.state.fast_since_s == 1.0


@pytest.mark.parametrize(
    ("signal", "watch", "expected"),
    [
        (0.4, _fast(0.0, level=0.4), None),  # between off and on: stays
        (0.0, _fast(0.5, level=0.0), None),  # not before min_fast_s
        (0.0, _fast(0.0, level=1.0), None),  # one poor frame ends nothing
        (0.0, _fast(0.0, level=0.3), SLOW),
    ],
)
def test_hysteresis(signal: float, watch: Watch, expected: float | None) -> None:
    choice = _policy().decide(_context(signal, t_s=1.2, interval_ms=FAST, state=watch))
    assert _asked(choice) == expected


def test_ends_in_the_end_and_waits_for_the_signal_to_fall() -> None:
    policy = _policy(max_fast_s=10.0)
    ended = policy.decide(_context(1.0, t_s=11.0, interval_ms=FAST, state=_fast()))
    assert _asked(ended) == SLOW
    still = policy.decide(_context(1.0, t_s=20.0, state=ended.state))
    assert _asked(still) is None
    fallen = policy.decide(_context(0.0, t_s=25.0, state=still.state))
    assert _asked(policy.decide(_context(1.0, t_s=30.0, state=fallen.state))) == FAST


def test_an_event_counts_for_as_long_as_it_lasts() -> None:
    """It is told once; the pace stays until it must be over."""
    policy = EventDrivenPolicy(SLOW, FAST, event_s=20.0)
    choice = policy.decide(_context(events=_events((4, "fission", 0, 0.9))))
    assert _asked(choice) == FAST
    assert choice.requests[0].why.startswith("fission 4 at 0.9")
    t_s, state = 1.0, choice.state
    while _asked(choice) != SLOW:
        t_s += 0.25
        choice = policy.decide(_context(t_s=t_s, interval_ms=FAST, state=state))
        state = choice.state
    assert 21 < t_s < 24


def test_a_withdrawn_event_ends_the_fast_time() -> None:
    policy = EventDrivenPolicy(SLOW, FAST, min_fast_s=0.0, smoothing_frames=1.0)
    going_on = policy.decide(_context(events=_events((4, "fission", 0, 0.9)))).state
    told_again = policy.decide(
        _context(t_s=2.0, interval_ms=FAST, events=_events((4, "fission", 1, 0.95)), state=going_on)
    ).state
    assert [(one.event_id, one.until_s) for one in told_again.heard] == [(4, 31.0)]
    gone = _context(t_s=3.0, interval_ms=FAST, events=_events((4, "fission", 2, 0.1)), state=told_again)
    assert _asked(policy.decide(gone)) == SLOW


def test_hears_only_what_it_listens_for() -> None:
    policy = EventDrivenPolicy(SLOW, FAST, kinds=("division",))
    assert _asked(policy.decide(_context(events=_events((4, "flash", 1, 1.0))))) is None
    assert _asked(policy.decide(_context(events=_events((4, "division", 1, 1.0))))) == FAST


def test_the_slow_pace_slows_down_when_the_budget_would_not_last() -> None:
    """100 s to go, dose for ten frames: one in ten seconds."""
    dose = DoseState(90.0, 100.0, 0.2, {LIGHT: 1.0})  # 1 J/cm2 a frame every 5 s
    choice = _policy().decide(_context(0.0, dose=dose, remaining_s=100.0))
    assert _asked(choice) == pytest.approx(10_000)
    assert "slower so that the dose lasts" in choice.requests[0].why


def test_no_fast_time_without_dose_to_spare() -> None:
    dose = DoseState(79.0, 100.0, 0.2, {LIGHT: 1.0})  # 21 frames, of which the slow pace needs 20
    choice = _policy().decide(_context(1.0, dose=dose, remaining_s=100.0))
    assert choice.state.fast_since_s is None
    spent = replace(dose, rate_j_per_cm2_s=4.0, spent_j_per_cm2=80.0)
    ended = _policy().decide(_context(1.0, interval_ms=FAST, dose=spent, remaining_s=100.0, state=_fast()))
    assert _asked(ended) == SLOW
    assert "no dose to spare" in ended.requests[0].why


def test_begins_with_a_burst() -> None:
    policy = _policy(burst_frames=3, burst_exposure_ms=4.0)
    choice = policy.decide(_context(1.0))
    plan = choice.requests[0].command
    assert isinstance(plan, RunPlan)
    assert [event.exposure for event in plan.events] == [4.0] * 3
    assert plan.name == "event_driven 1"
    assert _asked(choice) == FAST
    assert all(isinstance(r.command, SetInterval) for r in policy.decide(_context(0.0, interval_ms=0.0)).requests)


def test_untrusted_frames_start_nothing_but_time_goes_on() -> None:
    policy = _policy(max_fast_s=10.0)
    assert _asked(policy.decide(_context(1.0, trust=0.1))) is None
    fast = _context(1.0, t_s=5.0, interval_ms=FAST, trust=0.1, state=_fast())
    assert _asked(policy.decide(fast)) is None
    late = _context(1.0, t_s=10.0, interval_ms=FAST, trust=0.1, state=_fast())
    assert _asked(policy.decide(late)) == SLOW


def test_does_not_beg() -> None:
    """A pace that was refused is asked for again, but not with each frame."""
    policy = _policy()
    first = policy.decide(_context(0.0, interval_ms=0.0))
    assert _asked(policy.decide(_context(0.0, t_s=1.01, interval_ms=0.0, state=first.state))) is None
    assert _asked(policy.decide(_context(0.0, t_s=1.6, interval_ms=0.0, state=first.state))) == SLOW


@pytest.mark.parametrize(
    "options",
    [
        {"kinds": ("mitosis",)},
        {"fast_at": 0.2, "slow_below": 0.3},
        {"slow_interval_ms": 10.0, "fast_interval_ms": 20.0},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        EventDrivenPolicy(**options)

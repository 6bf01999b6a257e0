"""Who decides when the next frame is taken: the policy, the published rule, an oracle, and rules that see nothing.

Each is called with the frame's time and signal and says after how many seconds the next frame begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from smartscope.command import SetInterval
from smartscope.policies.event_driven import EventDrivenPolicy
from smartscope.ports import DoseState
from smartscope.testing.policy_contract import LIGHT, SETTINGS, context

from .days import EVENT_S, Day

SLOW_S, FAST_S = 5.0, 1 / 3.8
EXPOSURE_MS = 50.0
FIGURE = "event"
Rule = Callable[[float, float], float]


def ours(day: Day, budget: float | None, options: dict[str, Any]) -> Rule:
    """The policy, in a context as the loop gives it; budget: of the dose of fixed fast, None: no limit."""
    policy = EventDrivenPolicy(SLOW_S * 1e3, FAST_S * 1e3, figure=FIGURE, **options)
    settings = replace(SETTINGS, exposure_ms=EXPOSURE_MS, interval_ms=SLOW_S * 1e3)
    allowed = float("inf") if budget is None else budget * day.seconds / FAST_S
    told = context()
    state: Any = None
    frames = 0

    def rule(t_s: float, signal: float) -> float:
        nonlocal state, settings, frames
        frames += 1
        given = replace(
            told,
            result=replace(told.result, quality={FIGURE: signal}),
            t_ns=round(t_s * 1e9),
            elapsed_s=t_s,
            remaining_s=max(0.0, day.seconds - t_s),
            settings=settings,
            dose=DoseState(float(frames), allowed, 1e3 / settings.interval_ms, {LIGHT: 1.0}),
            state=state,
        )
        choice = policy.decide(given)
        state = choice.state
        for request in choice.requests:
            if isinstance(request.command, SetInterval):
                settings = replace(settings, interval_ms=request.command.interval_ms)
        return settings.interval_ms / 1e3

    return rule


def published(upper: float = 0.7, lower: float = 0.4, least_fast: int = 10) -> Rule:
    """Two thresholds with memory, as eda_plugin's interpreter: fast from ``upper`` on, for some frames at least."""
    fast_frames = 0

    def rule(t_s: float, signal: float) -> float:
        nonlocal fast_frames
        if signal > upper:
            fast_frames = max(fast_frames, 1)
        elif signal < lower and fast_frames >= least_fast:
            fast_frames = 0
        fast_frames += fast_frames > 0
        return FAST_S if fast_frames else SLOW_S

    return rule


def oracle(day: Day) -> Rule:
    """Fast within events and slow without, the first frame of each at its onset: it knows what comes."""

    def rule(t_s: float, signal: float) -> float:
        if day.happens(t_s):
            return FAST_S
        coming = min((onset - t_s for onset in day.onsets if onset > t_s), default=SLOW_S)
        return min(SLOW_S, coming)

    return rule


def fixed(interval_s: float) -> Rule:
    """Always the same."""
    return lambda t_s, signal: interval_s


def random_times(day: Day, fast_share: float) -> Rule:
    """Fast for as long as an event lasts, at random times that fill this part of the day."""
    rng = np.random.default_rng((day.seed, 3))
    count = max(0, round(fast_share * day.seconds / EVENT_S))
    begins = np.sort(rng.uniform(0, day.seconds - count * EVENT_S, count)) + EVENT_S * np.arange(count)

    def rule(t_s: float, signal: float) -> float:
        after = np.searchsorted(begins, t_s, side="right")
        fast = after > 0 and t_s < begins[after - 1] + EVENT_S
        coming = float(begins[after] - t_s) if after < count else SLOW_S
        return FAST_S if fast else min(SLOW_S, max(coming, FAST_S))

    return rule


def taken(day: Day, rule: Rule) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(N,) times of the frames of a day under a rule."""
    t_s, times = 0.0, list[float]()
    while t_s < day.seconds:
        times.append(t_s)
        t_s += rule(t_s, day.signal(t_s))
    return np.array(times)

"""When to look often: fast while something happens, slowly otherwise, and never faster than the dose budget lasts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import useq
from pydantic import Field

from smartscope.command import Request, RunPlan, SetInterval
from smartscope.errors import InputError
from smartscope.ports import Choice, Context
from smartscope.result import EVENT_KINDS, Events

NAME = "event_driven"
WITHDRAWN = 2
SMALLEST_CHANGE = 0.02
"""A pace that differs by less is not worth a restart of the camera."""
RETRY_S = 0.5
"""After a pace that was asked for and has not become true."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An event that may still be going on."""

    event_id: int
    probability: float
    until_s: float
    """Since the run began; it is taken to be over then."""
    what: str


@dataclass(frozen=True, slots=True)
class Watch:
    """What the policy remembers between frames."""

    heard: tuple[Heard, ...] = ()
    fast_since_s: float | None = None
    """When it went fast; None: slow."""
    level: float = 0.0
    """The signal, smoothed over fast frames."""
    exhausted: bool = False
    """It was fast for as long as it may; the signal must fall first."""
    asked_s: float = -math.inf
    bursts: int = 0
    """Asked for so far."""


class EventDrivenPolicy:
    """Sets the interval between frames by events, by a figure of quality, or by the larger of both.

    The signal is the highest probability of events of the wanted ``kinds`` (an event counts for ``event_s``, or until
    it is withdrawn), and the ``figure``. At ``fast_at`` the pace becomes fast; it becomes slow again when the signal,
    averaged over about ``smoothing_frames`` fast frames so that one poor frame ends nothing, is below ``slow_below``,
    not before ``min_fast_s``, and at the latest after ``max_fast_s``. What is left of the budget is divided so that
    the slow pace lasts to the end of the run: where it does not, it becomes slower; what is over is for fast times.
    Fast times can begin with a burst of ``burst_frames``, hardware-sequenced where the microscope can.

    The published rule of two thresholds (Mahecic et al., Nature Methods 19:1262, 2022) is this with one
    ``smoothing_frames`` and neither budget nor longest time.
    """

    def __init__(
        self,
        slow_interval_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5000.0,
        fast_interval_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 263.0,
        figure: str | None = None,
        kinds: tuple[str, ...] = EVENT_KINDS,
        fast_at: Annotated[float, Field(allow_inf_nan=False)] = 0.5,
        slow_below: Annotated[float, Field(allow_inf_nan=False)] = 0.3,
        event_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0,
        min_fast_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0,
        max_fast_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 120.0,
        smoothing_frames: Annotated[float, Field(ge=1, le=1000)] = 4.0,
        dose_share: Annotated[float, Field(gt=0, le=1)] = 1.0,
        burst_frames: Annotated[int, Field(ge=0, le=10_000)] = 0,
        burst_exposure_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
        min_trust: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        """``kinds``: of ``EVENT_KINDS``; ``burst_exposure_ms``: None: as it is.

        Raises:
            InputError: an unknown kind, ``slow_below`` above ``fast_at``, or slow faster than fast.
        """
        if unknown := set(kinds) - set(EVENT_KINDS):
            raise InputError(f"kinds {sorted(unknown)}", where=NAME, allowed=", ".join(EVENT_KINDS))
        if slow_below > fast_at or slow_interval_ms < fast_interval_ms:
            thresholds = f"slow_below {slow_below:g}, fast_at {fast_at:g}"
            said = f"{thresholds}, slow {slow_interval_ms:g} ms, fast {fast_interval_ms:g} ms"
            raise InputError(
                said, where=NAME, allowed="slow_below up to fast_at; the slow interval not below the fast one"
            )
        self.reads = frozenset({"events", "quality"} if figure else {"events"})
        self.needs = frozenset({"interval"})
        """What the microscope must offer."""
        self.slow_ms, self.fast_ms = slow_interval_ms, fast_interval_ms
        self.figure = figure
        self.kinds = frozenset(EVENT_KINDS.index(kind) for kind in kinds)
        self.fast_at, self.slow_below = fast_at, slow_below
        self.event_s = event_s
        self.min_fast_s, self.max_fast_s = min_fast_s, max_fast_s
        self.smoothing_frames = smoothing_frames
        self.dose_share = dose_share
        """Of what is left of the budget: other policies may need the rest."""
        self.burst_frames, self.burst_exposure_ms = burst_frames, burst_exposure_ms
        self.min_trust = min_trust

    def decide(self, context: Context) -> Choice:
        """Ask for the pace that the signal and the budget call for."""
        watch: Watch = context.state or Watch()
        fast_before = watch.fast_since_s is not None
        if context.result.trust < self.min_trust:
            signal, what = watch.level * fast_before, "not trusted"
        else:
            watch = self._listened(context, watch)
            signal, what = self._signal(context, watch)
        watch, why = self._judged(context, watch, signal, what)
        changed = (watch.fast_since_s is not None) != fast_before
        pace = self._pace(context, watch, why, changed=changed)
        if not pace:
            return Choice(state=watch)
        begins = self.burst_frames > 0 and changed and not fast_before
        bursts = [self._burst(context, watch, why)] if begins else []
        return Choice([*bursts, *pace], replace(watch, asked_s=context.elapsed_s, bursts=watch.bursts + len(bursts)))

    def _listened(self, context: Context, watch: Watch) -> Watch:
        """The events that may be going on, with what this frame says of them."""
        now_s, events = context.elapsed_s, context.events
        told = {} if events is None else {one.event_id: one for one in self._told(events, now_s)}
        withdrawn = set() if events is None else set(events.event_id[events.status == WITHDRAWN].tolist())
        going_on = {one.event_id: one for one in watch.heard if one.until_s > now_s and one.event_id not in withdrawn}
        for event_id, one in told.items():
            before = going_on.get(event_id)
            going_on[event_id] = one if before is None else replace(one, until_s=before.until_s)
        return replace(watch, heard=tuple(going_on.values()))

    def _told(self, events: Events, now_s: float) -> Sequence[Heard]:
        return [
            Heard(int(number), float(p), now_s + self.event_s, EVENT_KINDS[kind])
            for number, kind, status, p in zip(
                events.event_id, events.kind, events.status, events.probability, strict=True
            )
            if int(kind) in self.kinds and status != WITHDRAWN and p >= self.slow_below
        ]

    def _signal(self, context: Context, watch: Watch) -> tuple[float, str]:
        """The signal and what it is, for the diary."""
        signal, what = 0.0, "nothing happens"
        if watch.heard:
            likeliest = max(watch.heard, key=lambda one: one.probability)
            signal, what = likeliest.probability, f"{likeliest.what} {likeliest.event_id}"
        value = context.result.quality.get(self.figure, -math.inf) if self.figure else -math.inf
        if math.isfinite(value) and (value > signal or not watch.heard):
            signal, what = value, str(self.figure)
        return signal, f"{what} at {signal:.3g}"

    def _judged(self, context: Context, watch: Watch, signal: float, what: str) -> tuple[Watch, str]:
        """Fast or slow from now on, and why."""
        now_s = context.elapsed_s
        if watch.fast_since_s is None:
            exhausted = watch.exhausted and signal >= self.slow_below
            watch = replace(watch, exhausted=exhausted)
            if signal < self.fast_at or exhausted:
                return watch, f"{what}, below {self.fast_at:g}" if not exhausted else f"{what}, for too long"
            if self._spare_s(context) < self.min_fast_s:
                return watch, f"{what}, but no dose to spare"
            return replace(watch, fast_since_s=now_s, level=max(signal, self.fast_at)), f"{what}, from {self.fast_at:g}"
        fast_s = now_s - watch.fast_since_s
        level = watch.level + (signal - watch.level) / self.smoothing_frames
        watch = replace(watch, level=level)
        if fast_s >= self.max_fast_s:
            return replace(watch, fast_since_s=None, exhausted=True), f"fast for {fast_s:.3g} s"
        if self._spare_s(context) <= 0:
            return replace(watch, fast_since_s=None), "no dose to spare"
        if level < self.slow_below and fast_s >= self.min_fast_s:
            return replace(watch, fast_since_s=None), f"{what}, on average below {self.slow_below:g}"
        return watch, what

    def _pace(self, context: Context, watch: Watch, why: str, *, changed: bool) -> list[Request]:
        """The request for the interval, where it is not true already."""
        now_ms = context.settings.interval_ms
        wanted_ms = self.fast_ms if watch.fast_since_s is not None else self._slow_ms(context)
        if abs(wanted_ms - now_ms) <= SMALLEST_CHANGE * wanted_ms:
            return []
        if context.elapsed_s - watch.asked_s < RETRY_S and not changed:
            return []
        if watch.fast_since_s is None and wanted_ms > self.slow_ms:
            why += ", slower so that the dose lasts"
        return [Request(SetInterval(wanted_ms), f"{why}: a frame every {now_ms:.4g} -> {wanted_ms:.4g} ms")]

    def _burst(self, context: Context, watch: Watch, why: str) -> Request:
        """Frames back to back, equal but for their place in the burst: what hardware can run by itself."""
        exposure_ms = self.burst_exposure_ms or context.settings.exposure_ms
        frames = range(self.burst_frames)
        events = tuple(useq.MDAEvent(index={"t": t}, exposure=exposure_ms) for t in frames)
        return Request(RunPlan(f"{NAME} {watch.bursts + 1}", events), f"{why}: burst of {len(frames)} frames")

    def _slow_ms(self, context: Context) -> float:
        """The slow interval, longer where the budget would not last for it."""
        affordable = self._affordable_frames(context)
        if context.remaining_s is None or math.isinf(affordable):
            return self.slow_ms
        return max(self.slow_ms, 1000 * context.remaining_s / max(affordable, 1.0))

    def _spare_s(self, context: Context) -> float:
        """How long fast times may last altogether, so that the slow pace still lasts."""
        affordable = self._affordable_frames(context)
        if context.remaining_s is None or math.isinf(affordable):
            return math.inf
        return (affordable - 1000 * context.remaining_s / self.slow_ms) * max(self.fast_ms, 1.0) / 1000

    def _affordable_frames(self, context: Context) -> float:
        """How many more frames the share of the budget pays for, at the light and exposure of now."""
        dose, settings = context.dose, context.settings
        period_s = max(settings.interval_ms, settings.exposure_ms) / 1000
        frame = dose.rate_j_per_cm2_s * period_s
        return self.dose_share * dose.remaining_j_per_cm2 / frame if frame > 0 else math.inf

"""A thread that darkens the lights when the loop or the grabber falls silent, and else renews the lease."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from smartscope.config import SafetyConfig
from smartscope.safety.lights import GuardedLights

TICK_S = 0.01
STUCK_S = 5.0
"""A lapse that lasts longer ends the run."""
MINUTE_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Lapse:
    """The lights went dark because somebody was silent."""

    began_ns: int
    why: str
    ended_ns: int = 0
    """When everybody had been heard again; light comes back only by a set-point sent after that."""


class Watchdog:
    """Heartbeats in, light out. Machine time only: a run in virtual time has no watchdog.

    A thread under watch calls ``beat`` in every turn; from its first beat on it must not be silent for longer than
    ``safety.heartbeat_ms``, or than it announced. Silence of anybody while light is on is a *lapse*: dark at once, no
    renewals. The watchdog never relights: when all are heard again, ``recovered`` tells the loop, which sends the last
    granted set-points again. Too many lapses, or one that does not end, *trip* it: dark for good.
    """

    def __init__(
        self,
        lights: GuardedLights,
        safety: SafetyConfig,
        *,
        on_lapse: Callable[[Lapse], None],
        on_trip: Callable[[str], None],
    ) -> None:
        self._lights, self._safety = lights, safety
        self._on_lapse, self._on_trip = on_lapse, on_trip
        self._patience_ns = round(safety.heartbeat_ms * 1e6)
        self._due_ns: dict[str, int] = {}
        self._lapse: Lapse | None = None
        self._recovered_ns = 0
        self._recent: list[int] = []
        self._lease_ns = round(safety.lease_ms * 1e6)
        self._renewed_ns = 0
        """When the lease was last renewed; 0 before the first time."""
        self._doubts: deque[tuple[int, int]] = deque(maxlen=64)
        """Times (from, until) at which the lights may have been dark without anybody here knowing."""
        self._tripped = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    @property
    def tripped(self) -> str:
        """Why the lights stay dark for good; empty while they need not."""
        return self._tripped

    def beat(self, name: str, within_ms: float = 0.0) -> None:
        """``name`` is alive and will be heard again within the heartbeat limit, or ``within_ms`` if that is longer."""
        self._due_ns[name] = time.perf_counter_ns() + max(self._patience_ns, round(within_ms * 1e6))

    def forget(self, name: str) -> None:
        """``name`` ends in order, and need not be heard again."""
        self._due_ns.pop(name, None)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; the lease lapses soon after, so call it when the lights are off."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def recovered(self) -> Lapse | None:
        """The lapse that has just ended, once; the loop calls this in every turn, and then relights."""
        lapse, now_ns = self._lapse, time.perf_counter_ns()
        if lapse is None or self._tripped or self._late(now_ns):
            return None
        self._recovered_ns, self._lapse = now_ns, None
        return Lapse(lapse.began_ns, lapse.why, now_ns)

    def trip(self, why: str) -> None:
        """Dark for good, and tell the run; only the first call counts."""
        if not self._tripped:
            self._tripped = why
            self._lights.latch(why)
            self._on_trip(why)

    def tick(self, now_ns: int) -> None:
        """One look; ``start`` makes a thread that looks every TICK_S."""
        late = self._late(now_ns)
        if (darkened := self._lights.darkened()) and darkened.t_ns > self._recovered_ns:
            self._begin(Lapse(min(darkened.t_ns, self._renewed_ns + self._lease_ns), darkened.why))
        if late and self._lights.lit:
            self._doubts.append((now_ns, now_ns + round(STUCK_S * 1e9)))  # until the frames since are stamped as dark
            self._lights.dark()
            self._begin(
                Lapse(now_ns, ", ".join(f"{name} silent for {ms:.0f} ms too long" for name, ms in late.items()))
            )
            self._doubts[-1] = (now_ns, time.perf_counter_ns())
        elif not late and not self._tripped:
            self._renew(now_ns)
        lapse = self._lapse  # once, for the loop may end it meanwhile
        if lapse and now_ns - lapse.began_ns > STUCK_S * 1e9:
            self.trip(f"dark for more than {STUCK_S:g} s: {lapse.why}")

    def in_doubt(self, t_start_ns: int, t_end_ns: int) -> bool:
        """Whether the lights may have gone dark by themselves during an exposure; from any thread."""
        if self._lights.leased is None or not self._renewed_ns:
            return False
        if t_end_ns > self._renewed_ns + self._lease_ns:
            return True
        return any(since < t_end_ns and t_start_ns < until for since, until in self._doubts.copy())

    def _renew(self, now_ns: int) -> None:
        lapsed_ns = self._renewed_ns + self._lease_ns
        if self._renewed_ns and now_ns > lapsed_ns:
            self._doubts.append((lapsed_ns, time.perf_counter_ns()))
            if self._lights.lit and self._lights.leased is not None:
                # the supervisor's report may still be on its way; what is exposed meanwhile must not count as lit
                self._begin(Lapse(lapsed_ns, "the lease was not renewed"))
        self._lights.renew()
        self._renewed_ns = now_ns

    def _begin(self, lapse: Lapse) -> None:
        if self._lapse is not None:
            return
        self._recent = [t_ns for t_ns in self._recent if t_ns > lapse.began_ns - MINUTE_NS] + [lapse.began_ns]
        self._on_lapse(lapse)  # the frames since are stamped first: who sees the lapse end may relight at once
        self._lapse = lapse
        if len(self._recent) > self._safety.max_lapses_per_minute:
            self.trip(f"{len(self._recent)} lapses of the lease within a minute, the last: {lapse.why}")

    def _late(self, now_ns: int) -> Mapping[str, float]:
        """Who is silent, and by how many ms too long."""
        return {name: (now_ns - due) / 1e6 for name, due in self._due_ns.copy().items() if now_ns > due}

    def _run(self) -> None:
        try:
            while not self._stop.wait(TICK_S):
                self.tick(time.perf_counter_ns())
        except Exception as error:  # a watchdog that fails must not leave light on
            self.trip(f"the watchdog failed: {type(error).__name__}: {error}")

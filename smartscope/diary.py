"""What is worth telling goes to two places, the record and the bus; this is the fork, and no branch may block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartscope.bus.publisher import Publisher
from smartscope.decision import Decision
from smartscope.errors import RecorderError
from smartscope.frame import Frame
from smartscope.ports import Clock
from smartscope.recorder.recorder import Recorder
from smartscope.recorder.rows import decision_to_row
from smartscope.result import Result


class Diary:
    """Record (lossless, a fault when it cannot) and bus (lossy, counted); either may be absent."""

    def __init__(self, clock: Clock, recorder: Recorder | None = None, publisher: Publisher | None = None) -> None:
        self._clock, self.recorder, self.publisher = clock, recorder, publisher

    def frame(self, frame: Frame) -> None:
        """Keep and show a frame, by reference."""
        if self.recorder:
            self.recorder.put_frame(frame)
        if self.publisher:
            self.publisher.offer_frame(frame)

    def result(self, result: Result, context: Mapping[str, Any] | None = None) -> None:
        """Keep and show what the models said, with the context of the decision made on it."""
        if self.recorder:
            self.recorder.put_result(result, context)
        if self.publisher:
            self.publisher.offer_result(result)

    def decision(self, decision: Decision) -> None:
        """Keep and show a decision."""
        if self.recorder:
            self.recorder.put_decision(decision)
        if self.publisher:
            self.publisher.event("decision", decision_to_row(decision))

    def event(self, kind: str, t_ns: int | None = None, /, **data: Any) -> None:
        """Keep an event; states and alarms are shown too."""
        if self.recorder:
            self.recorder.put_event(kind, self._clock.now_ns() if t_ns is None else t_ns, **data)
        if self.publisher and kind in ("state", "alarm"):
            self.publisher.event(kind, data)

    def metrics(self, data: Mapping[str, Any]) -> None:
        """Show running figures; the record derives them from its rows."""
        if self.publisher:
            self.publisher.event("metrics", data)

    @property
    def fault(self) -> RecorderError | None:
        """Why the record can no longer be kept, if so."""
        return self.recorder.fault if self.recorder else None

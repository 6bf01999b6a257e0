"""How often each kind of event has happened so far: withdrawn ones are taken back, confirmed ones are final."""

from __future__ import annotations

from smartscope.result import EVENT_KINDS, EVENT_STATUS, Events


class EventTally:
    """Counts what a run's results tell, one result after the other; holds no more than what is still provisional."""

    def __init__(self) -> None:
        self._open: dict[int, str] = {}
        """Provisional events: id → kind."""
        self._final = dict.fromkeys(EVENT_KINDS, 0)

    def add(self, events: Events) -> None:
        """Take in what one result told."""
        columns = (events.event_id.tolist(), events.kind.tolist(), events.status.tolist())
        for event_id, kind, status in zip(*columns, strict=True):
            if EVENT_STATUS[status] == "provisional":
                self._open[event_id] = EVENT_KINDS[kind]
                continue
            self._open.pop(event_id, None)
            self._final[EVENT_KINDS[kind]] += EVENT_STATUS[status] == "confirmed"

    def counts(self) -> dict[str, int]:
        """By kind, provisional ones included; kinds that never happened are left out."""
        waiting = [*self._open.values()]
        counts = {kind: final + waiting.count(kind) for kind, final in self._final.items()}
        return {kind: count for kind, count in counts.items() if count}

"""Events are counted once, however often they are told."""

import numpy as np
from track_helpers import FRAMES, events_at, table

from smartscope.event_tally import EventTally
from smartscope.result import EVENT_KINDS, Events


def test_withdrawn_events_are_taken_back_and_confirmed_ones_counted_once() -> None:
    tally, counts = EventTally(), []
    for frame in range(FRAMES):
        tally.add(events_at(frame))
        counts.append(tally.counts())
    assert counts[4] == {}
    assert counts[5] == {"division": 1}
    assert counts[6] == counts[8] == {"division": 1, "arrest": 1}
    assert counts[9] == {"division": 1}


def test_what_is_confirmed_at_once_counts() -> None:
    tally = EventTally()
    kinds = np.arange(len(EVENT_KINDS))
    tally.add(table(Events, len(kinds), event_id=kinds, kind=kinds, status=1))
    assert tally.counts() == dict.fromkeys(EVENT_KINDS, 1)

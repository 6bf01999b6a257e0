"""Answers that mean nothing are named: each fault of a table, a settled frame, a revision, an event."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import a_frame
from track_helpers import FRAMES, events_at, table, told

from smartscope.errors import StageFailed
from smartscope.result import Result, Revisions, Settled, Tracks, empty_events, empty_revisions, empty_tracks
from smartscope.soundness import check_answer

FRAME = a_frame(8)
TRACKS = table(Tracks, 2, track_id=[1, 2])
EVENTS = events_at(9)


def changed(what: Any, **columns: Any) -> Any:
    return replace(what, **{name: np.asarray(values) for name, values in columns.items()})


def test_a_story_is_sound() -> None:
    for index in range(FRAMES):
        so_far = Result(a_frame(index))
        assert check_answer(told(so_far), so_far).events is not None
    nothing = Result(FRAME, tracks=empty_tracks(), revisions=empty_revisions(), events=empty_events())
    assert check_answer(nothing, Result(FRAME)) is nothing


ids = np.array([1, 2], np.int32)
FAULTS = {
    "Tracks of 2 with x_px of shape": {"tracks": changed(TRACKS, x_px=np.zeros(3, np.float32))},
    "Tracks of 2 with y_px of shape": {"tracks": changed(TRACKS, y_px=np.zeros((2, 1), np.float32))},
    "Tracks with steady as float64 instead of float32": {"tracks": changed(TRACKS, steady=np.zeros(2))},
    "Tracks with parent_id as int64 instead of int32": {"tracks": changed(TRACKS, parent_id=ids.astype(np.int64))},
    "vx_px_s that are not finite in Tracks": {"tracks": changed(TRACKS, vx_px_s=np.array([1, np.inf], np.float32))},
    "positions that are not finite in Tracks": {
        "settled": Settled(8, changed(TRACKS, y_px=np.array([np.nan, 0], np.float32)))
    },
    "settled frame 9, which is not there yet": {"settled": Settled(9, TRACKS)},
    "settled frame -1, which is not there yet": {"settled": Settled(-1, TRACKS)},
    "Revisions of 1 with now_id of shape": {"revisions": changed(table(Revisions, 1), now_id=ids)},
    "Revisions of frames that are not there yet": {"revisions": table(Revisions, 1, since_frame=9)},
    "Events of a kind that nobody knows": {"events": changed(EVENTS, kind=np.array([6], np.int32))},
    "Events of a status that nobody knows": {"events": changed(EVENTS, status=np.array([-1], np.int32))},
    "Events with a probability outside 0..1": {"events": changed(EVENTS, probability=np.array([1.01], np.float32))},
    "probability that are not finite in Events": {
        "events": changed(EVENTS, probability=np.array([np.nan], np.float32))
    },
    "Events that have not begun yet": {"events": changed(EVENTS, onset_frame=np.array([9], np.int32))},
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_is_named(message: str) -> None:
    with pytest.raises(StageFailed, match=f"(returned )?{message}"):
        check_answer(replace(Result(FRAME), **FAULTS[message]), Result(FRAME))


def test_what_an_earlier_stage_said_is_not_checked_again() -> None:
    wrong = Result(FRAME, tracks=changed(TRACKS, x_px=np.zeros(3, np.float32)))
    assert check_answer(replace(wrong, trust=0.5), wrong).trust == 0.5

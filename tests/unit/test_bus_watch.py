"""The board shows what the messages said, in words a person can act on."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from fakes import a_frame
from rich.console import Console
from track_helpers import told

from smartscope.bus import watch
from smartscope.bus.client import Message
from smartscope.bus.streams import content_of
from smartscope.bus.watch import Board, decision_line, event_lines
from smartscope.result import Result


def message(type: str, **fields: Any) -> Message:
    return Message(type, {"type": type, "session": "S1", "t_ns": 0, "t_published_ns": 10**9, **fields}, {})


def shown(board: Board) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(board.panel())
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_everything_a_person_wants_to_know_is_shown() -> None:
    board = Board()
    board.update(message("state", state="running"))
    board.update(
        message(
            "metrics", frame=12, t_ns=10**9 - 20_000_000, signal_to_noise=9.876, exposure_ms=14.0, latency_p50_ms=4.0,
            latency_p95_ms=11.0, lights_mw={"laser_488": 2.5}, dose_j_per_cm2=30.0, budget_j_per_cm2=600.0,
            lost_frames=0, displaced_frames=3, stale_results=0, untrusted_results=7,
        )
    )  # fmt: skip
    why = "photons 120 to 300"
    board.update(
        message("decision", frame=11, policy="exposure", asked="20 ms", granted="14 ms", clipped_by="dose", why=why)
    )
    board.update(message("alarm", what="stage timed out"))
    text = shown(board)
    for part in (
        "running  S1", "frame            12", "20 ms", "9.88", "14 ms", "laser_488 2.5 mW", "30 J/cm²", "600 J/cm²",
        "4.0 ms", "11.0 ms", "0 frames", "3 frames", "not trusted      7 results", "stage timed out",
        "11 exposure: 20 ms, granted 14 ms by dose: photons 120 to 300",
    ):  # fmt: skip
        assert part in text, part
    assert board.line().startswith("state running; frame 12; frame age ")


def test_single_molecules_are_counted_where_there_are_any() -> None:
    board = Board()
    board.update(message("metrics", frame=1, t_ns=0))
    assert "molecules" not in shown(board)
    board.update(
        message(
            "metrics", frame=2, t_ns=0, emitters=61.83, density_per_um2=0.3712, localizations=123456.0,
            localization_error_nm=9.42, ring_resolution_nm=38.4,
        )
    )  # fmt: skip
    text = shown(board)
    for part in (
        "molecules glowing  61.8", "density            0.371 per µm²", "molecules found    123,456",
        "localised within   9.4 nm", "ring resolution    38 nm",
    ):  # fmt: skip
        assert part in text, part


def test_events_are_counted_and_the_last_ones_told() -> None:
    board = Board()
    board.update(message("metrics", frame=1, t_ns=0))
    assert "event" not in shown(board)
    board.update(message("metrics", frame=2, t_ns=0, events={"division": 3, "arrest": 1}))
    for frame in (5, 6, 9):
        content = content_of("events", told(Result(a_frame(frame))))
        assert content is not None
        arrays = {name: column for name, (column, _) in content.arrays.items()}
        header = {"t_published_ns": 0, **content.header("S1", 0, 0)}
        board.update(Message("events", header, arrays))
    assert list(board.events) == [
        "5 division provisional 0.62 at (12, 8) px since frame 5, track 1/2",
        "6 arrest provisional 0.50 at (12, 8) px since frame 3, track 4",
        "9 arrest withdrawn 0.12 at (12, 8) px since frame 3, track 4",
    ]
    assert "events     3 division, 1 arrest" in shown(board)
    assert board.events[-1] in shown(board)


def test_an_event_of_no_track_has_no_track() -> None:
    header = {"frame": 3, "kinds": ["flash"], "statuses": ["confirmed"]}
    values = {"event_id": 0, "kind": 0, "status": 0, "onset_frame": 2, "x_px": 1, "y_px": 2, "probability": 1}
    arrays = {name: np.array([value]) for name, value in {**values, "track_id": -1, "other_id": -1}.items()}
    assert event_lines(Message("events", header, arrays)) == ["3 flash confirmed 1.00 at (1, 2) px since frame 2"]


def test_the_frame_grows_old_and_silence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(watch.time, "monotonic", lambda: now_s)
    board = Board()
    assert board.frame_age_ms() is None
    board.update(message("state", state="paused", why="asked by a client"))
    board.update(message("heartbeat", frame=3, frame_age_ms=5.0))
    board.update(message("heartbeat", frame=-1, frame_age_ms=None))
    assert board.frame_age_ms() == pytest.approx(5.0)
    assert "paused (asked by a client)" in shown(board)
    now_s += 4.0
    assert board.frame_age_ms() == pytest.approx(4005.0)
    assert "no word for 4 s" in shown(board)


@pytest.mark.parametrize(
    ("decision", "line"),
    [
        ({"policy": "p", "asked": "a", "granted": "a", "why": "w"}, "-1 p: a, granted: w"),
        (
            {"policy": "p", "asked": "a", "granted": None, "clipped_by": "limits", "why": "w"},
            "-1 p: a, refused by limits: w",
        ),
        (
            {"frame": 4, "policy": "p", "asked": {"x_um": 1}, "granted": {"x_um": 0}, "shadow": True, "why": "w"},
            "4 p: x_um 1, granted x_um 0 (shadow): w",
        ),
        ({"policy": "p", "asked": "a", "granted": None, "shadow": True}, "-1 p: a, not carried out (shadow): "),
    ],
)
def test_a_decision_in_one_line(decision: dict[str, Any], line: str) -> None:
    assert decision_line(decision) == line

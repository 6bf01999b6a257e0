"""What is told reaches record and bus, each as it should; both may be absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from recording import SHAPE, StubDisk, a_frame, recording, run_path

from smartscope.bus.publisher import Publisher
from smartscope.clock import VirtualClock
from smartscope.command import SetExposure
from smartscope.config import BusConfig
from smartscope.decision import Decision
from smartscope.diary import Diary
from smartscope.recorder.reader import RunReader
from smartscope.result import Result

DECISION = Decision(0, 7, "exposure", SetExposure(12.0), SetExposure(10.0), "limits.exposure_ms", "too dim")
RESULT = Result(a_frame(0), np.ones(SHAPE, np.float32))


def tell(diary: Diary) -> None:
    """One of each kind."""
    diary.frame(RESULT.frame)
    diary.result(RESULT, {"step": 3})
    diary.decision(DECISION)
    diary.event("state", 11, state="running")
    diary.event("light", light="laser", power_mw=2.0)
    diary.metrics({"frame": 0})


def test_the_record_keeps_all_but_the_running_figures(tmp_path: Path) -> None:
    clock = VirtualClock(77)
    with recording(tmp_path, clock=clock) as recorder:
        diary = Diary(clock, recorder)
        tell(diary)
        assert diary.fault is None
    run = RunReader(run_path(tmp_path))
    assert [frame.index for frame in run.frames] == [0]
    assert [row["context"] for row in run.results] == [{"step": 3}]
    assert [row["policy"] for row in run.decisions] == ["exposure"]
    assert [(row["kind"], row["t_ns"]) for row in run.events] == [("state", 11), ("light", 77)]


def test_the_bus_shows_states_and_alarms_among_the_events() -> None:
    publisher = Publisher(BusConfig(events_port=0, data_port=0), "S", VirtualClock())
    try:
        tell(Diary(VirtualClock(), publisher=publisher))
    finally:
        publisher.close()  # sends what still waits
    assert set(publisher.statistics().offered) == {"raw", "denoised"}
    assert set(publisher.statistics().sent) - {"heartbeat"} == {"state", "decision", "metrics"}


def test_with_neither_nothing_is_kept() -> None:
    diary = Diary(VirtualClock())
    tell(diary)
    assert diary.fault is None


def test_a_fault_of_the_record_is_the_diarys(tmp_path: Path) -> None:
    with recording(tmp_path, open_stack=StubDisk(fails_at=0)) as recorder:
        diary = Diary(VirtualClock(), recorder)
        for index in range(4):
            diary.frame(a_frame(index))
        recorder.finish("failed")
        assert diary.fault is not None
        assert "No space left" in diary.fault.line()

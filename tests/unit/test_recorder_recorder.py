"""The recorder keeps everything it is given, lets go of it afterwards, and turns every trouble into one fault."""

import gc
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recording import SHAPE, StubDisk, a_frame, config, noise, recording, run_path

from smartscope.clock import LiveClock, VirtualClock
from smartscope.command import SetExposure
from smartscope.decision import Decision
from smartscope.errors import RecorderError
from smartscope.recorder import recorder as module
from smartscope.recorder.folder import RunFolder
from smartscope.recorder.reader import RunReader
from smartscope.recorder.recorder import Recorder
from smartscope.recorder.rows import decision_from_row, result_from_row
from smartscope.result import Result, StageTiming

DECISION = Decision(3, 7, "exposure", SetExposure(12.0), SetExposure(10.0), "limits.exposure_ms", "too dim")
FRAME_MB = SHAPE[0] * SHAPE[1] * 2 / 1e6


def a_result(index: int) -> Result:
    """A result with an image that its index tells."""
    image = np.full(SHAPE, index + 0.5, np.float32)
    timing = StageTiming("denoise", 1, 2)
    judged = {"image_trust": 0.25, "residual_map": np.full((2, 2, 2), 1.0 + index / 3, np.float32)}
    about: dict[str, Any] = judged if index < 9 else {}
    return Result(a_frame(index), image, quality={"signal_e": 3.5}, trust=0.5, timings=(timing,), ready_ns=9, **about)


def put_frames(recorder: Recorder, count: int) -> None:
    """Hand over frames 0, 1, …"""
    for index in range(count):
        recorder.put_frame(a_frame(index))


def test_everything_handed_over_comes_back(tmp_path: Path) -> None:
    with recording(tmp_path, config(processed_every=3)) as recorder:
        for index in range(10):
            recorder.put_frame(a_frame(index))
            recorder.put_result(a_result(index), {"elapsed_s": index})
        recorder.put_decision(DECISION)
        recorder.put_event("epoch", 12, epoch=1, light="laser")
        recorder.finish("stopped", summary={"median_latency_ms": 4.5})
    run = RunReader(run_path(tmp_path))
    assert recorder.fault is None
    assert [frame.index for frame in run.frames] == list(range(10))
    for frame in run.frames:
        np.testing.assert_array_equal(frame.pixels, noise(frame.index))
        assert frame.settings == a_frame(frame.index).settings
    results = [result_from_row(row, a_frame(row["frame"])) for row in run.results]
    assert [(r.frame.index, r.trust, r.timings[0].stage) for r in results] == [(k, 0.5, "denoise") for k in range(10)]
    assert [row["context"]["elapsed_s"] for row in run.results] == list(range(10))
    assert [row["frame"] for row in run.processed_rows] == [0, 3, 6, 9]
    for row in run.processed_rows:
        np.testing.assert_array_equal(run.processed(row), np.full(SHAPE, row["frame"] + 0.5, np.float32))
    assert [result.image_trust for result in results] == [0.25] * 9 + [None]
    left = [run.residual_map(row) for row in run.processed_rows]
    assert left[-1] is None
    for residual_map, chi2 in zip(left[:-1], (1, 2, 3), strict=True):
        np.testing.assert_array_equal(residual_map, np.full((2, 2, 2), chi2, np.float32))
    assert [decision_from_row(row) for row in run.decisions] == [DECISION]
    assert list(run.events) == [{"t_ns": 12, "kind": "epoch", "epoch": 1, "light": "laser"}]
    assert (run.run["state"], run.run["summary"]) == ("stopped", {"median_latency_ms": 4.5})
    counts = run.run["recorder"]
    assert (counts["frames_received"], counts["frames_written"], counts["frames_lost"]) == (10, 10, 0)
    assert counts["bytes_written"] == 10 * SHAPE[0] * SHAPE[1] * 2


@pytest.mark.parametrize(("clock", "kind"), [(LiveClock(), "live"), (VirtualClock(77), "virtual")])
def test_run_json_maps_the_clock_to_wall_time(tmp_path: Path, clock: LiveClock | VirtualClock, kind: str) -> None:
    before_ns = clock.now_ns()
    with recording(tmp_path, clock=clock):
        run = RunReader(run_path(tmp_path))
        assert run.interrupted
    assert run.run["clock"] == kind
    assert before_ns <= run.run["clock_origin_ns"] <= clock.now_ns()
    assert not RunReader(run_path(tmp_path)).interrupted


def test_frames_can_be_listed_without_being_kept(tmp_path: Path) -> None:
    with recording(tmp_path, config(frames=False, processed_every=0)) as recorder:
        recorder.put_frame(a_frame(0))
        recorder.put_result(a_result(0))
    run = RunReader(run_path(tmp_path))
    assert run.frames[0].pixels.shape == (0, 0)
    assert run.frames[0].settings == a_frame(0).settings
    assert recorder.statistics().frames_written == 1
    assert not list(run_path(tmp_path).rglob("*.zarr"))


def test_only_the_recorder_holds_frames_and_only_until_they_are_on_disk(tmp_path: Path) -> None:
    with recording(tmp_path, config(chunk_mb=1e-6, processed_every=0)) as recorder:
        frame = a_frame(0)
        image = np.zeros(SHAPE, np.float32)
        pixels_alive, image_alive = weakref.ref(frame.pixels), weakref.ref(image)
        recorder.put_result(Result(frame, image))
        recorder.put_frame(frame)
        del frame, image
        recorder.finish("done")
        gc.collect()
        assert pixels_alive() is None
        assert image_alive() is None


def test_a_slow_disk_is_a_fault_and_what_was_taken_is_still_written(tmp_path: Path) -> None:
    disk = StubDisk(held=True)
    with recording(tmp_path, config(chunk_mb=1e-6, queue_mb=3.5 * FRAME_MB), open_stack=disk) as recorder:
        with pytest.raises(RecorderError, match=r"frames come faster than the disk takes them.*queue_mb.*faster disk"):
            put_frames(recorder, 100)
        refused_at = recorder.statistics().frames_received - 1
        assert recorder.fault is not None
        assert recorder.statistics().queue_fullness > 0.8
        with pytest.raises(RecorderError, match="frames come faster"):
            recorder.put_frame(a_frame(refused_at + 1))
        recorder.put_decision(DECISION)
        recorder.put_event("fault", 5, what="recorder")
        recorder.put_result(Result(a_frame(0)))
        disk.may_end.set()
        recorder.finish("done")
    run = RunReader(run_path(tmp_path))
    assert [row["index"] for row in run.frame_rows] == list(range(refused_at))
    assert (len(run.decisions), len(run.events)) == (1, 1)
    assert run.run["state"] == "failed"
    assert "frames come faster" in run.run["error"]
    counts = recorder.statistics()
    assert (counts.frames_written, counts.frames_lost) == (refused_at, 2)


def test_on_a_virtual_clock_the_run_waits_for_the_disk(tmp_path: Path) -> None:
    disk = StubDisk(held=True)
    settings = config(chunk_mb=1e-6, queue_mb=2.5 * FRAME_MB)
    with recording(tmp_path, settings, open_stack=disk, clock=VirtualClock()) as recorder:
        thread = threading.Thread(target=put_frames, args=(recorder, 40))
        thread.start()
        assert disk.opened.wait(10)
        disk.may_end.set()
        thread.join(10)
        assert not thread.is_alive()
    assert recorder.fault is None
    assert [row["index"] for row in RunReader(run_path(tmp_path)).frame_rows] == list(range(40))


def test_a_failing_write_is_a_fault_and_the_diary_goes_on(tmp_path: Path) -> None:
    disk = StubDisk(fails_at=1)
    with recording(tmp_path, config(chunk_mb=1e-6), open_stack=disk) as recorder:
        with pytest.raises(RecorderError, match=r"No space left on device.*frames\.jsonl lists is safe"):
            put_frames(recorder, 10**6)
        recorder.put_event("fault", 1, what="disk")
        recorder.put_result(a_result(1))
        recorder.finish("done", summary={"frames": 1})
    run = RunReader(run_path(tmp_path))
    assert [row["index"] for row in run.frame_rows] == [0]
    assert (len(run.events), len(run.results)) == (1, 1)
    assert (run.run["state"], run.run["summary"]) == ("failed", {"frames": 1})
    counts = recorder.statistics()
    assert counts.frames_received == counts.frames_written + counts.frames_lost
    assert counts.rows_lost == 0


def test_a_disk_that_fails_at_the_very_end_is_a_fault_too(tmp_path: Path) -> None:
    with recording(tmp_path, config(flush_s=1e6), open_stack=StubDisk(fails_at=0)) as recorder:
        recorder.put_frame(a_frame(0))
        recorder.finish("done")
    assert "No space left" in str(recorder.fault)
    assert RunReader(run_path(tmp_path)).run["state"] == "failed"
    assert recorder.statistics().frames_lost == 1


def test_a_row_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        circle: dict[str, object] = {}
        circle["itself"] = circle
        recorder.put_event("strange", 0, key=circle)
        recorder.put_event("plain", 1)
        recorder.finish("done")
    assert [row["kind"] for row in RunReader(run_path(tmp_path)).events] == ["plain"]
    assert recorder.statistics().rows_lost == 1
    assert recorder.fault is not None


def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    disk = StubDisk(held=True)
    with recording(tmp_path, config(chunk_mb=1e-6), open_stack=disk, drain_s=0.01) as recorder:
        recorder.put_frame(a_frame(0))
        recorder.finish("done")
        assert "did not take the rest" in str(recorder.fault)
        disk.may_end.set()
    for thread in threading.enumerate():
        if thread.name == "recorder":
            thread.join(10)


def test_what_comes_after_the_end_is_refused_or_counted(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        recorder.finish("done")
        with pytest.raises(RecorderError, match="a frame came after it"):
            recorder.put_frame(a_frame(0))
        recorder.put_decision(DECISION)
        assert recorder.statistics().rows_lost == 1
        assert "none could be taken any more" in str(recorder.fault)
        recorder.finish("failed", "again")
    assert RunReader(run_path(tmp_path)).run["state"] == "done"


def test_too_little_space_ends_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_S", 0.001)
    with recording(tmp_path, config(min_free_gb=1e9)) as recorder:
        while recorder.fault is None:
            threading.Event().wait(0.001)
        assert "GB left" in str(recorder.fault)


def test_a_run_json_that_cannot_be_completed_is_a_fault(tmp_path: Path) -> None:
    with recording(tmp_path) as recorder:
        (run_path(tmp_path) / "run.json.part").mkdir()
        recorder.finish("done")
    assert recorder.fault is not None
    assert RunReader(run_path(tmp_path)).interrupted


def test_a_folder_that_is_gone_cannot_be_recorded_into(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "gone")
    with pytest.raises(OSError):
        Recorder(folder, config(), 0.1, LiveClock())
    (tmp_path / "half").mkdir()
    with pytest.raises(OSError):  # no results/ in it: the logs opened before are closed again
        Recorder(RunFolder(tmp_path / "half"), config(), 0.1, LiveClock())


def test_a_result_without_an_image_does_not_count_for_processed_every(tmp_path: Path) -> None:
    with recording(tmp_path, config(processed_every=2)) as recorder:
        for index in range(6):
            result = a_result(index)
            recorder.put_result(result if index % 2 else replace(result, image=None))
    assert [row["frame"] for row in RunReader(run_path(tmp_path)).processed_rows] == [1, 5]

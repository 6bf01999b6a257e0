"""A recording process that is killed, or whose disk fails, leaves every frame that it listed readable and right."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from localization_helpers import molecules, same_bits
from recording import SHAPE, a_frame, config, noise, recording, run_path
from track_helpers import told

from smartscope.errors import RecorderError
from smartscope.localization_files.thunderstorm import read_thunderstorm
from smartscope.recorder import recorder as module
from smartscope.recorder import rows
from smartscope.recorder.chunks import IN_FLIGHT
from smartscope.recorder.folder import LOCALIZATIONS, LOCALIZATIONS_CSV, SETTLED_TRACKS, SPECIMEN_EVENTS
from smartscope.recorder.reader import RunReader
from smartscope.result import Result

TESTS = str(Path(__file__).parents[1])

# records frames as fast as the disk takes them, and says after each how many are on disk
RECORD_FOR_EVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from localization_helpers import molecules
from recording import a_frame, config, recording
from track_helpers import told
from smartscope.command import SetExposure
from smartscope.decision import Decision
from smartscope.result import Result
with recording(Path(sys.argv[1]), config(chunk_mb=float(sys.argv[3]), flush_s=0.02, queue_mb=0.05)) as recorder:
    frame = 0
    while recorder.fault is None:
        if recorder.statistics().queue_fullness < 0.5:
            recorder.put_decision(Decision(frame, frame, "exposure", SetExposure(1.0), None, "", "why"))
            recorder.put_frame(a_frame(frame))
            recorder.put_result(told(Result(a_frame(frame), localizations=molecules(frame % 50, frame))))
            frame += 1
        print(recorder.statistics().frames_written, frame, flush=True)
"""

# the operating system refuses any file beyond 60 kB, as a full disk would: the fourth chunk of noise does not fit
RECORD_ON_A_SMALL_DISK = """
import json, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from recording import SHAPE, a_frame, config, recording
from smartscope.errors import RecorderError
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
chunk_mb = float(sys.argv[3])
refused = ""
with recording(Path(sys.argv[1]), config(compression="none", chunk_mb=chunk_mb, flush_s=1e6)) as recorder:
    try:
        for frame in range(10**6):
            recorder.put_frame(a_frame(frame))
    except RecorderError as error:
        refused = str(error)
print(json.dumps({"fault": str(recorder.fault), "refused": refused}))
"""


def check_listed_molecules(run: RunReader) -> None:
    """Each result's molecules are there, the right ones, and the files for other programs have them, too."""
    for row in run.results:
        found = run.localizations(row)
        assert found is not None
        assert same_bits(found, molecules(row["frame"] % 50, row["frame"]))
    in_csv = read_thunderstorm(run.path / LOCALIZATIONS_CSV, 100.0)
    first, count = run.results[-1]["localizations"]
    assert len(in_csv) >= first + count
    np.testing.assert_array_equal(in_csv.frame, np.load(run.path / LOCALIZATIONS)["frame"][: len(in_csv)])


def check_listed_tracks(run: RunReader) -> None:
    """Each result has what the tracker told, and the tables have at least that."""
    changes = settled = 0
    for row in run.results:
        expected = told(Result(a_frame(row["frame"])))
        assert rows.told_to_row(rows.result_from_row(row, expected.frame)) == rows.told_to_row(expected)
        changes += len(expected.events or ())
        settled += 0 if expected.settled is None else len(expected.settled.tracks)
    for name, least in ((SPECIMEN_EVENTS, changes), (SETTLED_TRACKS, settled)):
        lines = (run.path / name).read_text().splitlines(keepends=True)
        assert least <= len([line for line in lines[1:] if line.endswith("\n")]) <= least + 3


def check_listed_frames(run: RunReader) -> None:
    """Each listed frame is there, is the right one, and none is missing before it."""
    assert [row["index"] for row in run.frame_rows] == list(range(len(run.frame_rows)))
    for frame in run.frames:
        np.testing.assert_array_equal(frame.pixels, noise(frame.index))


@pytest.mark.parametrize("frames_per_chunk", [1, 16])
def test_killed_process_loses_no_more_than_the_frames_in_flight(tmp_path: Path, frames_per_chunk: int) -> None:
    chunk_mb = frames_per_chunk * SHAPE[0] * SHAPE[1] * 2 / 1e6
    command = [sys.executable, "-c", RECORD_FOR_EVER, str(tmp_path), TESTS, str(chunk_mb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = taken = 0
        while written < 100:
            written, taken = map(int, process.stdout.readline().split())
        process.kill()
        for line in process.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):
                written, taken = map(int, line.split())
    run = RunReader(run_path(tmp_path))
    in_flight = 17 + (IN_FLIGHT + 2) * frames_per_chunk  # half the queue, chunks under way, being started, filling
    assert max(written, taken - in_flight) <= len(run.frame_rows) <= taken + 1
    check_listed_frames(run)
    assert [row["frame"] for row in run.decisions] == list(range(len(run.decisions)))
    assert len(run.decisions) >= written
    check_listed_molecules(run)
    check_listed_tracks(run)
    assert run.interrupted


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("chunk_mb", [0.001, 0.1], ids=["log", "image"])
def test_a_disk_that_takes_no_more_is_a_fault_at_once(tmp_path: Path, chunk_mb: float) -> None:
    """With one frame per chunk frames.jsonl meets the limit, with large chunks the first chunk does."""
    command = [sys.executable, "-c", RECORD_ON_A_SMALL_DISK, str(tmp_path), TESTS, str(chunk_mb)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said = json.loads(ended.stdout)
    assert "File too large" in said["fault"]
    assert "File too large" in said["refused"]
    run = RunReader(run_path(tmp_path))
    assert run.run["state"] == "failed"
    assert "File too large" in run.run["error"]
    assert (len(run.frame_rows) > 0) == (chunk_mb < 0.1)
    check_listed_frames(run)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not delete open files")
def test_a_folder_that_vanishes_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPACE_CHECK_S", 0.0)
    with recording(tmp_path, config(chunk_mb=1e-6)) as recorder:
        recorder.put_frame(a_frame(0))
        while recorder.statistics().frames_written < 1:
            os.sched_yield()
        shutil.rmtree(run_path(tmp_path))
        while recorder.fault is None:
            os.sched_yield()
        with pytest.raises(RecorderError, match="No such file"):
            recorder.put_frame(a_frame(1))
        recorder.finish("done")


def test_ten_thousand_small_frames_make_few_files_and_all_come_back(tmp_path: Path) -> None:
    with recording(tmp_path, config(chunk_mb=8.0, flush_s=0.05)) as recorder:
        for index in range(10_000):
            recorder.put_frame(a_frame(index))
    assert recorder.statistics().frames_lost == 0
    run = RunReader(run_path(tmp_path))
    assert len(run.frame_rows) == 10_000
    for index in (0, 1, 5207, 5208, 9_999):
        np.testing.assert_array_equal(run.frames[index].pixels, noise(index))
    assert len(list(run_path(tmp_path).rglob("*"))) < 20

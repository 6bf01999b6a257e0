"""A user's workplace: YAML files, the command line, the runs it makes, and the lamps as seen from outside."""

from __future__ import annotations

import copy
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import yaml
import zmq

from smartscope import cli
from smartscope.app import Rig
from smartscope.recorder.reader import RunReader
from smartscope_drivers.simulated.bench import LightBench

REPOSITORY = Path(__file__).parents[1]
PATIENCE_S = 60.0
LIGHT = "laser"
POWER_MW = 2.0
TREE: dict[str, Any] = {
    "name": "trial",
    "frames": 30,
    "output": "runs",
    "microscope": {
        "driver": "simulated",
        "sensor": [64, 64],
        "options": {"specimen": "beads"},
        "lights": [{"name": LIGHT}],
        "stage": {"affine_um_per_px": [[0.1, 0.0], [0.0, 0.1]]},
    },
    "start": {"exposure_ms": 5, "lights_mw": {LIGHT: POWER_MW}},
    "limits": {
        "exposure_ms": {"low": 1, "high": 50},
        "lights": {LIGHT: {"max_power_mw": 20}},
        "x_um": {"low": -100, "high": 100},
        "y_um": {"low": -100, "high": 100},
    },
    # patient, for a busy machine that runs tests may keep a thread waiting
    "safety": {"lease_ms": 250, "heartbeat_ms": 250, "max_lapses_per_minute": 1000},
    "pipeline": [{"model": "quality", "deadline_ms": 1000, "virtual_ms": 1}],
    "recorder": {"min_free_gb": 0, "flush_s": 0.05},
    "bus": {"enabled": False, "events_port": 0, "data_port": 0, "control_port": 0},
}
"""A short live run of a small simulated camera; tests change what they are about."""


def experiment(**changes: Any) -> dict[str, Any]:
    """``TREE`` with changes, ``start__exposure_ms=3`` for ``start.exposure_ms``; ``...`` takes a key away."""
    tree = copy.deepcopy(TREE)
    for name, value in changes.items():
        *path, last = name.split("__")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return tree


@dataclass(frozen=True, slots=True)
class Ended:
    """What a user sees of a command that has ended."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one clear line of a command that failed."""
        assert self.code == 1, f"exit code {self.code}\n{self.out}\n{self.err}"
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("smartscope: "), self.err
        return lines[0].removeprefix("smartscope: ")

    @property
    def said(self) -> str:
        """What a command that did its work printed."""
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        assert not self.err, self.err
        return self.out.strip()


class Workplace:
    """A working directory with everything that one test's commands leave in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lamps = Lamps(folder / "temporary")

    def write(self, name: str = "experiment.yaml", **changes: Any) -> str:
        """A YAML file; the path as a user would type it."""
        text = yaml.safe_dump(experiment(**changes))
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def run(self, **changes: Any) -> Ended:
        """``smartscope run`` of the experiment with these changes."""
        return smartscope("run", self.write(**changes))

    @property
    def folders(self) -> list[Path]:
        """Run folders, oldest first."""
        return sorted((self.folder / "runs").glob("*"), key=lambda path: path.stat().st_ctime_ns)

    @property
    def the_run(self) -> RunReader:
        """The only run that was made."""
        (folder,) = self.folders
        return RunReader(folder)

    @contextmanager
    def started(self, **changes: Any) -> Iterator[subprocess.Popen[str]]:
        """``smartscope run`` in a process of its own; ended when the block ends, if it has not by itself."""
        command = [sys.executable, "-m", "smartscope", "run", self.write(**changes)]
        path = os.pathsep.join([str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


class Lamps:
    """The simulated lights, seen as an onlooker in the laboratory sees them: not through the controller."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def powers_mw(self) -> list[list[float]]:
        """For each run the powers that its light has had, oldest first, beginning with 0."""
        return [
            [0.0, *(power for _, power in self._changes(path))]
            for path in sorted(self._folder.glob("smartscope-lights-*.bin"))
        ]

    def history(self, t0_ns: int, t1_ns: int) -> set[float]:
        """Powers that the light of the only run has had in this time, in ns on the run's clock."""
        (path,) = self._folder.glob("smartscope-lights-*.bin")
        bench = self._bench(path)
        try:
            return {power for _, _, power in bench.power_history(LIGHT, t0_ns, t1_ns)}
        finally:
            bench.close()

    @property
    def on(self) -> bool:
        """Whether any light is on."""
        return any(powers[-1] > 0 for powers in self.powers_mw())

    @property
    def ever_on(self) -> bool:
        """Whether any light has been on."""
        return any(max(powers) > 0 for powers in self.powers_mw())

    def wait(self, *, on: bool, process: subprocess.Popen[str] | None = None) -> None:
        """Until some light is on, or all are off."""
        wait_for(lambda: self.on == on, f"light {'on' if on else 'off'}", process)

    def _changes(self, path: Path) -> list[tuple[int, float]]:
        bench = self._bench(path)
        try:
            return bench.changes_since(LIGHT, 0)[1]
        finally:
            bench.close()

    def _bench(self, path: Path) -> LightBench:
        return LightBench(path.stem.removeprefix("smartscope-lights-"), [LIGHT], self._folder)


def wait_for(condition: Callable[[], object], what: str, process: subprocess.Popen[str] | None = None) -> None:
    """Look until ``condition`` holds; fails after PATIENCE_S, or when the process that should bring it about ends."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if process is not None and process.poll() is not None and not condition():
            raise AssertionError(f"ended with {process.returncode} before {what}: {process.communicate()}")
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.002)


def control_endpoint(rig: Rig) -> str:
    """Where the run answers, as its events say to whoever comes late."""
    assert rig.diary.publisher is not None
    with zmq.Context() as context, context.socket(zmq.SUB) as events:
        events.linger = 0
        events.subscribe(b"session")
        events.connect(rig.diary.publisher.endpoints["events"])
        assert events.poll(10_000)
        return str(json.loads(events.recv_multipart()[1])["endpoints"]["control"])


def smartscope(*arguments: str) -> Ended:
    """The command line in this process: as ``python -m smartscope ARGUMENTS``, without the wait for a new Python."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "argv", ["smartscope", *arguments]), redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Ended(code, out.getvalue(), err.getvalue())


def set_all(*settings: str) -> list[str]:
    """``--set`` before each."""
    return [part for setting in settings for part in ("--set", setting)]


@contextmanager
def no_process_left() -> Iterator[None]:
    """Fails if the block leaves a child process running."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child not in before]
    _, alive = psutil.wait_procs(left, timeout=5.0)
    assert not alive, f"left running: {alive}"


def check_frames(run: RunReader) -> None:
    """Every listed frame is there with its pixels, in order, without a gap."""
    assert [row["index"] for row in run.frame_rows] == list(range(len(run.frame_rows)))
    for frame in run.frames:
        height, width = frame.settings.roi.height, frame.settings.roi.width
        assert frame.pixels.shape == (height, width)
        assert frame.pixels.dtype == np.uint16
        assert frame.pixels.any()


def check_lights_of_frames(place: Workplace) -> None:
    """Each frame of the only run says the power that its light truly had, or that it is not sure."""
    for frame in place.the_run.frames:
        if not frame.mixed:
            truth = place.lamps.history(frame.t_start_ns, frame.t_end_ns)
            assert truth == {frame.settings.lights_mw[LIGHT]}, f"frame {frame.index} of {len(place.the_run.frames)}"


def check_failed_run(place: Workplace, ended: Ended, *words: str) -> RunReader:
    """What every fault has in common: one line, dark, the record closed and readable, the report written."""
    assert not place.lamps.on
    complaint = ended.complaint
    for word in words:
        assert word in complaint
    run = place.the_run
    assert run.run["state"] == "failed"
    assert run.run["error"] == complaint
    assert (run.path / "report.html").stat().st_size > 1000
    check_frames(run)
    return run


def alarms(run: RunReader) -> list[str]:
    """What the alarms of a run say."""
    return [str(row["what"]) for row in run.events if row["kind"] == "alarm"]


def rows(run: RunReader, log: str) -> list[str]:
    """Rows of one log as text, for comparison."""
    return [json.dumps(row, sort_keys=True) for row in getattr(run, log)]

"""One trial of "fault → light off", the light watched from outside: shared by the tests and by the benchmark."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent
FAULTS = (
    "killed",
    "interpreter_lock_held",
    "blocked_call",
    "lease_not_renewed",
    "sigterm",
    "exception",
    "supervisor_killed",
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one fault led to."""

    off_ms: float
    """Fault → light off in the light's own state."""
    exit_code: int
    lapse_off_ms: float | None
    """From the rehearsal at arming."""
    take_over_ms: float | None


def run_trial(
    fault: str,
    owner: str,
    folder: Path,
    power_mw: Callable[[], float],
    *,
    driver: str,
    token: str,
    patience_s: float = 10.0,
) -> Trial:
    """Start a controller, let it commit ``fault``, and time the light by ``power_mw()``, which looks from outside."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(HERE / "controller_under_fault.py"), fault, owner, driver, token]
    with (folder / "stderr.txt").open("w") as errors:
        controller = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    assert controller.stdin is not None
    assert controller.stdout is not None
    try:
        rehearsal = json.loads(_said(controller.stdout, "rehearsal"))
        supervisor_pid = int(_said(controller.stdout, "lit"))
        _wait_until(lambda: power_mw() > 0, patience_s)
        controller.stdin.write("now\n")
        controller.stdin.flush()
        t_fault_ns = int(_said(controller.stdout, "fault"))
        if fault in ("killed", "sigterm", "supervisor_killed"):
            number = signal.SIGTERM if fault == "sigterm" or sys.platform == "win32" else signal.SIGKILL
            t_fault_ns = time.perf_counter_ns()
            os.kill(supervisor_pid if fault == "supervisor_killed" else controller.pid, number)
        _wait_until(lambda: power_mw() == 0, patience_s)
        t_off_ns = time.perf_counter_ns()
        return Trial((t_off_ns - t_fault_ns) / 1e6, _end(controller, fault), **rehearsal)
    finally:
        if controller.poll() is None:
            controller.kill()
        controller.wait()
        controller.stdin.close()
        controller.stdout.close()


def _wait_until(true: Callable[[], bool], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, f"the light did not change within {patience_s} s"
        time.sleep(0.0002)


def _said(lines: IO[str], word: str) -> str:
    """The rest of the next line that begins with ``word``."""
    for line in lines:
        if line.startswith(word):
            return line.removeprefix(word)
    raise AssertionError(f"the controller ended before it said {word!r}")


def _end(controller: subprocess.Popen[str], fault: str) -> int:
    """Exit code; a controller that would sit in its fault for long is killed."""
    if fault in ("interpreter_lock_held", "blocked_call", "lease_not_renewed"):
        controller.kill()
    return controller.wait(timeout=30)

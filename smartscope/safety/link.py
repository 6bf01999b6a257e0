"""The controller's end of the pipes to one supervisor process: starts it, sends orders, waits for answers."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from smartscope.errors import DeviceError, DeviceTimeout, Refused
from smartscope.safety.messages import (
    Close,
    Dark,
    Done,
    Failed,
    Order,
    ReadBack,
    Ready,
    Report,
    SetPower,
    Start,
    reports,
)

START_PATIENCE_S = 30.0
CLOSE_PATIENCE_S = 5.0

if sys.platform == "win32":  # Ctrl-C and the closing of the terminal shall not reach the supervisor
    APART_FROM_OUR_CONSOLE = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
else:
    APART_FROM_OUR_CONSOLE = 0  # there, a session of its own does it


class SupervisorLink:
    """One supervisor process. ``send`` and ``request`` may be called from any thread, signal handlers included.

    An order is one ``os.write`` of less than a pipe's atomic size, so that no lock is needed, which a signal handler
    could find taken by the very thread that it interrupts.
    """

    def __init__(
        self, start: Start, *, on_report: Callable[[Report], None] = lambda _: None, on_gone: Callable[[], None]
    ) -> None:
        self._on_report, self._on_gone = on_report, on_gone
        self._ids = itertools.count(1)
        self._answers: dict[int, SimpleQueue[Done | Failed]] = {}
        self._ready: SimpleQueue[Ready | Failed] = SimpleQueue()
        self._open = self._closing = self._gone = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "smartscope.safety.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            creationflags=APART_FROM_OUR_CONSOLE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._stdin.write(start.line())
        self._stdin.flush()
        self._reader = threading.Thread(target=self._read, name="supervisor reports", daemon=True)
        self._reader.start()

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._gone

    @property
    def pid(self) -> int:
        """Of the supervisor process."""
        return self._process.pid

    def wait_ready(self) -> dict[str, float]:
        """Wait until its lights are open and dark; the powers (mW) then read back.

        Raises:
            DeviceError: the lights cannot be opened.
            DeviceTimeout: no answer within START_PATIENCE_S.
        """
        try:
            report = self._ready.get(timeout=START_PATIENCE_S)
        except Empty:
            raise DeviceTimeout("no sign of life", where="supervisor", allowed=f"{START_PATIENCE_S:g} s") from None
        if isinstance(report, Failed):
            raise DeviceError(report.what, where="supervisor")
        return report.powers_mw

    def send(self, order: Order) -> bool:
        """Send an order that needs no answer; whether it could be written."""
        try:
            os.write(self._stdin.fileno(), order.line())
        except (OSError, ValueError):  # dead, or closed: the reader sees that too, and acts on it
            return False
        return True

    def request(self, make_order: Callable[[int], SetPower | Dark | ReadBack], timeout_s: float) -> dict[str, float]:
        """Send an order under a fresh id and wait for its answer: the powers (mW) that it reports.

        Raises:
            Refused: the supervisor will not do it.
            DeviceTimeout: no answer in time.
            DeviceError: it could not do it, or it is dead.
        """
        order = make_order(next(self._ids))
        answers = self._answers[order.id] = SimpleQueue()
        try:
            if self._gone or not self.send(order):
                raise DeviceError("is dead", where="supervisor", remedy="start the run again")
            answer = answers.get(timeout=timeout_s)
        except Empty:
            raise DeviceTimeout(f"no answer to {order.kind}", where="supervisor", allowed=f"{timeout_s:g} s") from None
        finally:
            del self._answers[order.id]
        if isinstance(answer, Done):
            return answer.powers_mw
        raise (Refused(answer.what) if answer.refused else DeviceError(answer.what))

    def kill(self) -> None:
        """End a supervisor that does not answer; ``on_gone`` follows."""
        self._process.kill()

    def close(self) -> bool:
        """Let it darken and end; whether it ended by itself within CLOSE_PATIENCE_S (else it is killed)."""
        self._closing = True
        self.send(Close())
        try:
            orderly = self._process.wait(CLOSE_PATIENCE_S) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            orderly = False
        if threading.current_thread() is not self._reader:
            self._reader.join()
        self._stdout.close()
        with contextlib.suppress(OSError):
            self._stdin.close()
        return orderly

    def _read(self) -> None:
        for line in self._stdout:
            if line.endswith(b"\n"):  # else it was killed in the middle of a word
                self._route(reports.validate_json(line))
        self._gone = True
        self._ready.put(Failed(id=0, what="ended before its lights were open"))
        for answers in list(self._answers.values()):
            answers.put(Failed(id=0, what="supervisor: died"))
        if self._open and not self._closing:
            self._on_gone()

    def _route(self, report: Report) -> None:
        if not self._open and isinstance(report, Ready | Failed):
            self._open = isinstance(report, Ready)
            self._ready.put(report)
            return
        if isinstance(report, Done | Failed) and (answers := self._answers.get(report.id)):
            answers.put(report)
        self._on_report(report)

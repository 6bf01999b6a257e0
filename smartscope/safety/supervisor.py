"""The supervisor as a process: it alone opens the lights, and outlives whatever becomes of the controller.

``python -m smartscope.safety.supervisor`` reads ``messages.Start`` and then orders from stdin, and writes reports to
stdout; what it does with them is in ``holder``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import BinaryIO, NoReturn

from smartscope.safety.holder import Supervisor, text_of
from smartscope.safety.messages import Failed, Start


def _private_stdout() -> BinaryIO:
    """Keep stdout for reports alone: what a plug-in prints goes to stderr."""
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return outgoing


def _raise_priority() -> None:
    """Ask for the processor before others; where that is not allowed, go on without."""
    if sys.platform == "win32":
        import ctypes

        high_priority_class = 0x80
        kernel = ctypes.WinDLL("kernel32")
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), high_priority_class)
    else:
        with contextlib.suppress(OSError):
            os.nice(-10)


def _heed_signals(supervisor: Supervisor) -> None:
    """Ctrl-C and a closed terminal reach every process of the console, but ending is the controller's affair."""
    for name in ("SIGINT", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGBREAK"):
        if number := getattr(signal, name, None):
            signal.signal(number, lambda number, frame: supervisor.end(f"signal {number}"))


def main() -> NoReturn:
    """Run as a process. Ends without Python's own shutdown, in which Micro-Manager's threads may abort."""
    outgoing = _private_stdout()
    _raise_priority()
    sys.setswitchinterval(0.0005)
    code = 0
    if line := sys.stdin.buffer.readline():
        try:
            supervisor = Supervisor(Start.model_validate_json(line), sys.stdin.buffer, outgoing)
            _heed_signals(supervisor)
            supervisor.serve()
        except Exception as error:
            code = 1
            with contextlib.suppress(OSError):
                outgoing.write(Failed(id=0, what=text_of(error)).line())
                outgoing.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

"""How the supervisor ends the controller's process, and knows that it has let go of its ports."""

from __future__ import annotations

import os
import signal
import sys
import time

POLL_S = 0.001

if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    _SYNCHRONIZE_AND_TERMINATE = 0x00100000 | 0x0001

    class ControllerProcess:
        """A process known by its handle, which Windows keeps valid after its end."""

        def __init__(self, pid: int) -> None:
            self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)
            self._kernel.OpenProcess.restype = wintypes.HANDLE
            self._handle = wintypes.HANDLE(self._kernel.OpenProcess(_SYNCHRONIZE_AND_TERMINATE, False, pid))

        def end(self) -> None:
            """Terminate it; harmless if it has ended."""
            self._kernel.TerminateProcess(self._handle, 1)

        def wait(self, timeout_s: float) -> bool:
            """Whether it has ended, and with that closed its ports, within the time."""
            return bool(self._kernel.WaitForSingleObject(self._handle, int(timeout_s * 1000)) == 0)

else:

    class ControllerProcess:
        """The parent of this process: when it has ended, its files closed, the kernel gives us another parent."""

        def __init__(self, pid: int) -> None:
            self._pid = pid

        def end(self) -> None:
            """Kill it; harmless if it has ended."""
            if os.getppid() == self._pid:
                os.kill(self._pid, signal.SIGKILL)

        def wait(self, timeout_s: float) -> bool:
            """Whether it has ended, and with that closed its ports, within the time."""
            deadline = time.monotonic() + timeout_s
            while os.getppid() == self._pid:
                if time.monotonic() > deadline:
                    return False
                time.sleep(POLL_S)
            return True

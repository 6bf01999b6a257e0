"""How lights are taken over from a controller: its process ended, its ports awaited, its lights opened and darkened."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from typing import Literal

from smartscope.errors import DeviceError
from smartscope.plugins import build
from smartscope.ports import Lights, LightsSetup

POLL_S = 0.001
PORT_PATIENCE_S = 5.0


def open_lights_of(setup: LightsSetup, owner: Literal["supervisor", "controller"]) -> Lights | None:
    """Build the lights plug-in for the lights of one owner; None where it has none.

    Raises:
        PluginError: not found, beside the constructor's own errors.
    """
    lights = tuple(light for light in setup.lights if light.owner == owner)
    if not lights:
        return None
    plug_in: Lights = build("lights", setup.microscope.driver, {}, replace(setup, lights=lights))
    return plug_in


def safe_off(setup: LightsSetup) -> dict[str, float]:
    """Open the controller's lights, as soon as their port is free, and darken them; the powers (mW) then read back.

    Raises:
        DeviceError, or what the plug-in raises: the port stayed busy for PORT_PATIENCE_S, or a light did not obey.
    """
    deadline = time.monotonic() + PORT_PATIENCE_S
    while True:
        try:
            lights = open_lights_of(setup, "controller")
            break
        except Exception:  # whatever a plug-in raises while its port is busy
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
    if lights is None:
        return {}
    try:
        lights.dark()
        powers_mw = dict(lights.read_back())
        if any(power_mw > 0 for power_mw in powers_mw.values()):
            raise DeviceError(f"still lit after being switched off: {powers_mw}", where="supervisor")
        return powers_mw
    finally:
        lights.close()


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

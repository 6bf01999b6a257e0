"""A small controller that lights up, beats, and on the word of its parent commits one fault (run as a process).

``python controller_under_fault.py FAULT OWNER DRIVER TOKEN``: prints ``rehearsal JSON``, then ``lit SUPERVISOR_PID``
once the light is on, reads one line, prints ``fault T_NS`` (``time.perf_counter_ns()``, shared by all processes) and
commits the fault.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import threading
import time

from smartscope.config import LightConfig, LightLimits, LimitsConfig, MicroscopeConfig, SafetyConfig
from smartscope.errors import Refused
from smartscope.ports import LightsSetup
from smartscope.safety.hand_over import perform_hand_over
from smartscope.safety.lights import GuardedLights, open_lights
from smartscope.safety.signals import StopFlag, light_guard
from smartscope.safety.watchdog import Watchdog

POWER_MW = 5.0
LONG_S = 20.0
LIGHT = "laser_0"


def say(*words: object) -> None:
    print(*words, flush=True)


def hold_the_interpreter_lock() -> None:
    """What a model's badly written C extension can do: PyDLL calls keep the lock."""
    if sys.platform == "win32":
        ctypes.PyDLL("kernel32").Sleep(int(LONG_S * 1000))
    else:
        ctypes.PyDLL(None).usleep(int(LONG_S * 1e6))


class Controller:
    """Loop and watchdog around the lights, without a camera."""

    def __init__(self, fault: str, lights: GuardedLights, stop: StopFlag, faults: StopFlag) -> None:
        self._fault, self._lights, self._stop, self._faults = fault, lights, stop, faults
        self._told = threading.Event()
        safety = SafetyConfig(max_lapses_per_minute=1000)
        self._watchdog = Watchdog(lights, safety, on_lapse=lambda lapse: None, on_trip=faults.set)

    def run(self) -> None:
        """Light on, and the loop until the fault or the stop flag ends it."""
        self._watchdog.beat("loop")
        self._watchdog.start()
        self._light_up()
        say("lit", self._lights.leased.supervisor_pid if self._lights.leased else 0)
        threading.Thread(target=self._wait_for_the_word, daemon=True).start()
        try:
            while not (self._stop or self._faults):
                self._watchdog.beat("loop")
                if self._watchdog.recovered() or not self._lights.lit:
                    self._light_up()
                if self._told.is_set():
                    self._told.clear()
                    self._commit()
                time.sleep(0.002)
        finally:
            self._lights.dark()
            self._watchdog.stop()

    def _light_up(self) -> None:
        """On a busy machine a set-point can be overtaken by a lapse; the loop then tries again."""
        with contextlib.suppress(Refused):
            self._lights.set_power(LIGHT, POWER_MW)

    def _wait_for_the_word(self) -> None:
        sys.stdin.readline()
        self._told.set()

    def _commit(self) -> None:
        say("fault", time.perf_counter_ns())
        match self._fault:
            case "killed" | "sigterm" | "supervisor_killed":
                pass  # the parent sends the signal
            case "exception":
                raise RuntimeError("a fault made for this test")
            case "interpreter_lock_held":
                hold_the_interpreter_lock()
            case "blocked_call":
                time.sleep(LONG_S)  # as a device call that does not come back
            case "lease_not_renewed":
                self._watchdog.stop()


def main() -> None:
    fault, owner, driver, token = sys.argv[1:]
    light = LightConfig(name=LIGHT, owner="controller" if owner == "controller" else "supervisor", device="Laser0")
    setup = LightsSetup((light,), MicroscopeConfig(driver=driver, lights=(light,)), token=token)
    limits = LimitsConfig(lights={LIGHT: LightLimits(max_power_mw=10)})
    faults = StopFlag()
    lights = open_lights(setup, SafetyConfig(), limits, on_fault=faults.set)
    try:
        with light_guard(lights.dark) as stop:
            done = perform_hand_over(lights)
            say("rehearsal", json.dumps({"lapse_off_ms": done.lapse_off_ms, "take_over_ms": done.take_over_ms}))
            Controller(fault, lights, stop, faults).run()
    finally:
        lights.close()


if __name__ == "__main__":
    main()

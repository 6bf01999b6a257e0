"""Only this file knows how a simulated laser obeys: within its own limits, late if told to, and dark on demand."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Self

from smartscope.clock import LiveClock
from smartscope.errors import DeviceError
from smartscope.ports import Clock, LightsSetup
from smartscope_drivers.simulated.bench import LightBench
from smartscope_drivers.simulated.faults import Faults
from smartscope_drivers.simulated.options import WorldOptions


class SimulatedLights:
    """The ``Lights`` port on the light bench of the setup's token, in whatever process owns the lights.

    Raises:
        DeviceError: the setup has no token.
    """

    def __init__(self, setup: LightsSetup) -> None:
        options = WorldOptions.among(setup.microscope.options)
        self._names = tuple(light.name for light in setup.lights)
        self._max_mw = options.laser_max_mw
        self._clock: Clock = LiveClock()
        self._faults = Faults(options.faults, self._clock)
        self._bench = LightBench(setup.token, [light.name for light in setup.microscope.lights])
        self._lock = threading.Lock()
        self._darkened = 0
        self._closed = False

    @classmethod
    def in_process(cls, setup: LightsSetup, clock: Clock, faults: Faults) -> Self:
        """Lights in the process of the world: they share its clock, which may be virtual, and its faults."""
        lights = cls(setup)
        lights._clock, lights._faults = clock, faults
        return lights

    def set_power(self, light: str, power_mw: float) -> float:
        """Set and return the power that the laser confirms.

        Raises:
            DeviceError: no such light, beyond the laser's own limits, or ``dark`` was called meanwhile.
        """
        if light not in self._names:
            raise DeviceError(f"no light {light!r}", allowed=", ".join(self._names) or "none")
        if not 0 <= power_mw <= self._max_mw:
            raise DeviceError(f"{power_mw} mW", where=light, allowed=f"0 to {self._max_mw} mW")
        darkened = self._darkened
        self._faults.call("light")  # no lock is held: a call that hangs must not keep dark() waiting
        with self._lock:
            if self._closed or darkened != self._darkened:
                raise DeviceError("darkened while the power was being set", where=light, remedy="set it again")
            self._bench.set_power(light, power_mw, self._clock.now_ns())
            return self._bench.power_mw(light)

    def read_back(self) -> Mapping[str, float]:
        """Power in mW of each light, as the bench says."""
        powers = self._bench.read_back()
        return {light: powers[light] for light in self._names}

    def dark(self) -> None:
        """Every light off; safe to call twice and from any thread, also while ``set_power`` hangs."""
        with self._lock:
            if self._closed:
                return
            self._darkened += 1
            for light in self._names:
                self._bench.set_power(light, 0.0, self._clock.now_ns())

    def close(self) -> None:
        """Dark, end hanging calls, let go of the bench."""
        self.dark()
        self._faults.release()
        with self._lock:
            if not self._closed:
                self._closed = True
                self._bench.close()

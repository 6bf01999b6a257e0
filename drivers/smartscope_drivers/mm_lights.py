"""The light lines alone, through a Micro-Manager core: power, switch, read-back, dark."""

from __future__ import annotations

import atexit
from collections.abc import Mapping

from pymmcore_plus import CMMCorePlus, PropertyType

from smartscope.clock import LiveClock
from smartscope.config import LightConfig
from smartscope.errors import ConfigurationError, DeviceError
from smartscope.ports import Clock, LightsSetup
from smartscope_drivers.adapters import find_adapters
from smartscope_drivers.cfg_file import CfgFile, as_file
from smartscope_drivers.core_tools import close_core, device_errors, open_core, wait_until_idle
from smartscope_drivers.roles import light_devices, light_problems

TOLERANCE = 0.05
"""A power that reads back further than this fraction from the one asked for was not confirmed."""
FLOOR_MW = 0.01
"""Below this the difference is the device's rounding."""
TIMEOUT_S = 2.0


class CoreLights:
    """Lights of a core that somebody else opens and closes."""

    def __init__(self, core: CMMCorePlus, lights: tuple[LightConfig, ...], clock: Clock) -> None:
        self._core, self._clock = core, clock
        self._lights = {light.name: light for light in lights}

    def set_power(self, light: str, power_mw: float) -> float:
        """Set and return the power that the device confirms, mW; the switch is opened last and closed first.

        Raises:
            DeviceError: no such light, the device refused, or it reads back something else.
        """
        config = self._light(light)
        with device_errors(f"setting {power_mw:g} mW", light):
            if power_mw <= 0:
                self._switch_off(config)
                return 0.0
            self._set(config, power_mw * config.power_per_mw)
            self._switch(config, on=True)
            wait_until_idle(self._core, config.device, TIMEOUT_S, self._clock)
            confirmed_mw = self._read(config)
        if abs(confirmed_mw - power_mw) > max(FLOOR_MW, TOLERANCE * power_mw):
            self._switch_off(config)
            raise DeviceError(
                f"asked for {power_mw:g} mW, reads back {confirmed_mw:g} mW",
                where=light,
                allowed=f"within {TOLERANCE:.0%}",
                remedy="check interlock and key switch, and power_per_mw of this light",
            )
        return confirmed_mw

    def read_back(self) -> Mapping[str, float]:
        """Power in mW of each light, as the device says; 0 while its switch is off."""
        with device_errors("reading the lights"):
            return {name: self._read(light) for name, light in self._lights.items()}

    def dark(self) -> None:
        """Every light off; all are tried, whatever the first ones answer.

        Raises:
            DeviceError: a light did not confirm.
        """
        failed = []
        for name, light in self._lights.items():
            try:
                with device_errors("switching off", name):
                    self._switch_off(light)
            except DeviceError as error:
                failed.append(error.line())
        if failed:
            raise DeviceError("; ".join(failed), where="dark", remedy="switch the laser off at its key")

    def close(self) -> None:
        """Dark; the core is its owner's."""
        self.dark()

    def _light(self, name: str) -> LightConfig:
        if name not in self._lights:
            known = ", ".join(self._lights) or "none"
            raise DeviceError("no such light", where=name, allowed=known, remedy="name a light of microscope.lights")
        return self._lights[name]

    def _switch_off(self, light: LightConfig) -> None:
        self._switch(light, on=False)
        core, device, name = self._core, light.device, light.power_property
        lowest = core.getPropertyLowerLimit(device, name) if core.hasPropertyLimits(device, name) else 0.0
        self._set(light, max(0.0, lowest))

    def _set(self, light: LightConfig, value: float) -> None:
        """Write the power property in its own units; a property of whole numbers refuses anything that looks broken."""
        whole = self._core.getPropertyType(light.device, light.power_property) == PropertyType.Integer
        self._core.setProperty(light.device, light.power_property, round(value) if whole else value)

    def _switch(self, light: LightConfig, *, on: bool) -> None:
        switch = light.switch_device or light.device
        if light.switch_property:
            self._core.setProperty(switch, light.switch_property, light.switch_on if on else light.switch_off)
        elif light.switch_device:
            self._core.setShutterOpen(switch, on)

    def _read(self, light: LightConfig) -> float:
        switch = light.switch_device or light.device
        if light.switch_property:
            lit = str(self._core.getProperty(switch, light.switch_property)) != light.switch_off
        elif light.switch_device:
            lit = self._core.getShutterOpen(switch)
        else:
            lit = True
        power = float(self._core.getProperty(light.device, light.power_property)) if lit else 0.0
        # properties are text: without the rounding 3 mW come back as 2.9999999999999996
        return round(power / light.power_per_mw, 9)


class MicroManagerLights(CoreLights):
    """The lights in a core of their own, from their lines of the .cfg alone: what the supervisor process opens."""

    def __init__(self, setup: LightsSetup) -> None:
        """Load the lines, check the labels, and darken.

        Raises:
            InputError: no .cfg or adapters.
            ConfigurationError: a label or property that does not exist.
            DeviceError: the lines do not load.
        """
        options = setup.microscope.options
        source = str(options.get("cfg", ""))
        cfg = CfgFile.read(source)
        lines = tuple(dict.fromkeys(line for light in setup.lights for line in light.cfg_lines))
        text = "\n".join(lines) if lines else cfg.reaching(light_devices(setup.lights)).text()
        self._own_core = open_core(CMMCorePlus, find_adapters(str(options.get("adapter_path", ""))))
        atexit.register(self.close)
        try:
            with as_file(text) as path, device_errors("loading the light lines", source):
                self._own_core.loadSystemConfiguration(path)
            if problems := light_problems(self._own_core, setup.lights):
                raise ConfigurationError(source, problems)
            super().__init__(self._own_core, setup.lights, LiveClock())
            self.dark()
        except BaseException:
            close_core(self._own_core)
            raise

    def close(self) -> None:
        """Dark, then let go of the hardware; harmless the second time."""
        atexit.unregister(self.close)
        if len(self._own_core.getLoadedDevices()) <= 1:  # "Core" itself
            return
        try:
            self.dark()
        finally:
            close_core(self._own_core)

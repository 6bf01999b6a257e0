"""Any Micro-Manager configuration as a microscope: which of its lines this process loads, and what is wrong there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.experimental.unicore import UniMMCore

from smartscope.config import LightConfig, MicroscopeConfig
from smartscope.errors import ConfigurationError, DeviceError, InputError, Problem
from smartscope.ports import Lights, MicroscopeSetup
from smartscope_drivers.adapters import find_adapters
from smartscope_drivers.cfg_file import CfgFile, as_file
from smartscope_drivers.core_microscope import CoreMicroscope
from smartscope_drivers.core_tools import close_core, device_errors, open_core
from smartscope_drivers.lights_by_owner import joined
from smartscope_drivers.mm_lights import CoreLights
from smartscope_drivers.options import CoreOptions
from smartscope_drivers.roles import NONE, TYPES, choose_roles, light_devices, light_problems

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class MicroManagerMicroscope(CoreMicroscope):
    """Devices of a .cfg, by their labels; a role left empty takes the device that the .cfg makes current."""

    def __init__(
        self,
        setup: MicroscopeSetup,
        *,
        cfg: str,
        adapter_path: str = "",
        camera: str = "",
        shutter: str = "",
        xy_stage: str = "",
        focus: str = "",
        autofocus: str = "",
        slm: str = "",
        ring_mb: Positive = 256.0,
        live_exposure: bool | None = None,
        calibrated: tuple[str, ...] = (),
        readout_ms: NotNegative = 0.0,
        move_timeout_s: Positive = 10.0,
        stage_tolerance_um: Positive = 1.0,
        focus_tolerance_um: Positive = 0.5,
    ) -> None:
        """Load the configuration, without the lights that the supervisor owns, and take it over in the dark.

        Raises:
            InputError: no such .cfg, no adapters, or adapters of another device interface.
            ConfigurationError: labels or properties that do not exist, with those that do.
            DeviceError: a device does not load or does not answer.
        """
        if setup.clock.virtual:
            raise DeviceError("real hardware keeps real time", where="clock", allowed="live", remedy="set clock: live")
        asked = {"camera": camera, "shutter": shutter, "xy_stage": xy_stage}
        asked |= {"focus": focus, "autofocus": autofocus, "slm": slm}
        file = CfgFile.read(cfg)
        lights = setup.config.lights
        elsewhere = supervised(lights) if setup.lights is not None else ()
        if shared := shared_problems(file, elsewhere):
            raise ConfigurationError(cfg, shared)
        core = load(file.without(light_devices(elsewhere)), lights, cfg, find_adapters(adapter_path))
        try:
            roles = choose_roles(core, asked, cfg)
            own = tuple(light for light in lights if light not in elsewhere)
            if problems := light_problems(core, own):
                raise ConfigurationError(cfg, problems)
        except BaseException:
            close_core(core)
            raise
        options = CoreOptions(
            ring_mb=ring_mb,
            live_exposure=live_exposure,
            calibrated=frozenset(calibrated),
            readout_ms=readout_ms,
            move_timeout_s=move_timeout_s,
            stage_tolerance_um=stage_tolerance_um,
            focus_tolerance_um=focus_tolerance_um,
        )
        super().__init__(core, roles, setup, options, lights_of(core, setup))

    @classmethod
    def problems(cls, config: MicroscopeConfig) -> Iterator[Problem]:
        """What the .cfg's text alone shows to be wrong; loads nothing, for ``smartscope check``."""
        path, adapter_path = (str(config.options.get(key, "")) for key in ("cfg", "adapter_path"))
        if not path:
            return  # the option is required, and was named missing already
        try:
            file = CfgFile.read(path)
        except InputError as error:
            yield Problem("microscope.options.cfg", repr(path), error.what, error.allowed, error.remedy)
            return
        try:
            find_adapters(adapter_path)
        except InputError as error:
            yield Problem("microscope.options.adapter_path", repr(error.where), error.what, error.allowed, error.remedy)
        yield from _unknown_labels(file, config)
        yield from shared_problems(file, supervised(config.lights))


def supervised(lights: tuple[LightConfig, ...]) -> tuple[LightConfig, ...]:
    """Those that the supervisor process opens."""
    return tuple(light for light in lights if light.owner == "supervisor")


def lights_of(core: CMMCorePlus, setup: MicroscopeSetup) -> Lights:
    """The supervisor's lights where it runs, the others through our own core."""
    supervisor, lights = setup.lights, setup.config.lights
    own = tuple(light for light in lights if supervisor is None or light.owner == "controller")
    here = CoreLights(core, own, setup.clock)
    return joined(supervisor, here, [light.name for light in own], [light.name for light in lights])


def load(file: CfgFile, lights: tuple[LightConfig, ...], source: str, adapters: str) -> CMMCorePlus:
    """The configuration in a core of its own; its start-up preset lights nothing.

    Raises:
        DeviceError: a line does not load.
    """
    has_python_devices = any(fields[0].startswith("#py ") for fields in file.lines)
    core = open_core(UniMMCore if has_python_devices else CMMCorePlus, adapters)
    try:
        with as_file(file.dark_start(light_devices(lights)).text()) as path, device_errors("loading", source):
            core.loadSystemConfiguration(path)
            core.setAutoShutter(False)
    except BaseException:
        close_core(core)
        raise
    return core


def shared_problems(file: CfgFile, lights: tuple[LightConfig, ...]) -> list[Problem]:
    """Lights of the supervisor that hang on a hub or port which other devices need too."""
    problems = []
    for light in lights:
        if shared := file.shared(light_devices((light,))):
            names = ", ".join(sorted(shared))
            what = f"shares {names} with other devices, which two processes cannot open"
            remedy = "set owner: controller, or list lines in cfg_lines that reach the light by itself"
            if not light.cfg_lines:
                problems.append(
                    Problem(f"microscope.lights.{light.name}.owner", light.owner, what, "controller", remedy)
                )
    return problems


def _unknown_labels(file: CfgFile, config: MicroscopeConfig) -> Iterator[Problem]:
    known = file.devices()
    named: list[tuple[str, Any]] = [(f"microscope.options.{role}", config.options.get(role)) for role in TYPES]
    for i, light in enumerate(config.lights):
        named += [
            (f"microscope.lights.{i}.device", light.device),
            (f"microscope.lights.{i}.switch_device", light.switch_device),
        ]
    for key, label in named:
        if label and label != NONE and label not in known:
            yield Problem(key, repr(label), "no such device", ", ".join(known), "correct the label")

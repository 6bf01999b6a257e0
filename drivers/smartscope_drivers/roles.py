"""Which device plays which part: labels from the options or the core's current devices, checked."""

from __future__ import annotations

from dataclasses import dataclass

from pymmcore_plus import CMMCorePlus, DeviceType

from smartscope.config import LightConfig
from smartscope.errors import ConfigurationError, Problem


@dataclass(frozen=True, slots=True)
class Roles:
    """Labels of the devices of one microscope; empty where there is none."""

    camera: str
    shutter: str = ""
    xy_stage: str = ""
    focus: str = ""
    autofocus: str = ""
    slm: str = ""


TYPES = {
    "camera": DeviceType.CameraDevice,
    "shutter": DeviceType.ShutterDevice,
    "xy_stage": DeviceType.XYStageDevice,
    "focus": DeviceType.StageDevice,
    "autofocus": DeviceType.AutoFocusDevice,
    "slm": DeviceType.SLMDevice,
}
NONE = "none"
"""An option of this value says: leave this part out although the .cfg names a device for it."""


def current_roles(core: CMMCorePlus) -> Roles:
    """The devices that the loaded .cfg made current."""
    return Roles(
        camera=core.getCameraDevice(),
        shutter=core.getShutterDevice(),
        xy_stage=core.getXYStageDevice(),
        focus=core.getFocusDevice(),
        autofocus=core.getAutoFocusDevice(),
        slm=core.getSLMDevice(),
    )


def choose_roles(core: CMMCorePlus, asked: dict[str, str], source: str) -> Roles:
    """The asked labels, the current devices for those left empty.

    Raises:
        ConfigurationError: every label that is not loaded or is of another type, with the labels that would do.
    """
    current, loaded = current_roles(core), set(core.getLoadedDevices())
    chosen, problems = {}, []
    for role, wanted_type in TYPES.items():
        label = asked.get(role, "")
        if label == NONE:
            chosen[role] = ""
            continue
        fitting = core.getLoadedDevicesOfType(wanted_type)
        if label and label not in fitting:
            what = f"is no {wanted_type.name}" if label in loaded else "is no device of this configuration"
            allowed = ", ".join(fitting) or "no device of this type is loaded"
            problems.append(Problem(f"microscope.options.{role}", repr(label), what, allowed, "correct the label"))
        chosen[role] = label or getattr(current, role)
    if not chosen["camera"] and not problems:
        allowed = ", ".join(core.getLoadedDevicesOfType(DeviceType.CameraDevice)) or "no camera is loaded"
        problems.append(Problem("microscope.options.camera", "", "no camera", allowed, "name one of these"))
    if problems:
        raise ConfigurationError(source, problems)
    return Roles(**chosen)


def make_current(core: CMMCorePlus, roles: Roles) -> None:
    """Let the core's own notion of current devices, which plans go by, be ours."""
    core.setCameraDevice(roles.camera)
    core.setShutterDevice(roles.shutter)
    core.setXYStageDevice(roles.xy_stage)
    core.setFocusDevice(roles.focus)
    core.setSLMDevice(roles.slm)


def light_problems(core: CMMCorePlus, lights: tuple[LightConfig, ...]) -> list[Problem]:
    """Labels and properties of the lights that the core does not know, with those that it does."""
    problems, loaded = [], core.getLoadedDevices()
    for i, light in enumerate(lights):
        key = f"microscope.lights.{i}"
        pairs = [("device", light.device, "power_property", light.power_property)]
        if light.switch_device or light.switch_property:
            pairs.append(
                ("switch_device", light.switch_device or light.device, "switch_property", light.switch_property)
            )
        for device_key, label, property_key, name in pairs:
            if label not in loaded:
                known = ", ".join(d for d in loaded if d != "Core")
                problems.append(
                    Problem(f"{key}.{device_key}", repr(label), "no such device", known, "correct the label")
                )
            elif name and not core.hasProperty(label, name):
                known = ", ".join(core.getDevicePropertyNames(label))
                problems.append(
                    Problem(f"{key}.{property_key}", repr(name), "no such property", known, "correct the name")
                )
        if not light.power_property:
            problems.append(
                Problem(f"{key}.power_property", "", "this key is required", remedy="name the power property")
            )
    return problems


def light_devices(lights: tuple[LightConfig, ...]) -> frozenset[str]:
    """Labels of every device that makes or switches light."""
    return frozenset(label for light in lights for label in (light.device, light.switch_device) if label)

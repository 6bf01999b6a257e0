"""How each command becomes CMMCore calls, and how the device's answer is confirmed; the ROI is the camera's own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pymmcore_plus import CMMCorePlus, DeviceType

from smartscope.command import MoveFocus, MoveStage, RunAutofocus, SetExposure, SetLight, SetPreset
from smartscope.errors import DeviceError, Refused
from smartscope.ports import Clock, Lights
from smartscope_drivers.core_tools import device_errors, wait_until_idle
from smartscope_drivers.options import CoreOptions
from smartscope_drivers.presets import devices_of
from smartscope_drivers.roles import Roles

AUTOFOCUS_START, AUTOFOCUS_STATUS, AUTOFOCUS_FAILED = "Run", "Status", "Failed"
"""A Python autofocus is a generic device: 1 in the first property starts it, the second tells how it went."""

Confirmed = SetExposure | SetLight | MoveStage | MoveFocus | SetPreset
"""What a device can confirm; an autofocus confirms the place it found."""
Moving = MoveStage | MoveFocus | RunAutofocus | SetPreset


class Actuators:
    """Everything that moves, lights or switches, but the camera's sequence."""

    def __init__(
        self,
        core: CMMCorePlus,
        roles: Roles,
        lights: Lights,
        presets: Mapping[str, tuple[str, ...]],
        options: CoreOptions,
        clock: Clock,
    ) -> None:
        self._core, self._roles, self._lights, self._presets = core, roles, lights, presets
        self._options, self._clock = options, clock
        self._darkened = 0

    # ---------------------------------------------------------------- light

    def dark(self) -> None:
        """Lights off and shutter closed, each whatever the other answers; from any thread.

        Raises:
            DeviceError: one of them did not confirm.
        """
        self._darkened += 1
        try:
            self._lights.dark()
        finally:
            self._open_shutter(False)

    def set_light(self, command: SetLight, lit: Mapping[str, float]) -> SetLight:
        """Set one light; the shutter opens with the first (``lit``: powers now) and closes with the last.

        Raises:
            DeviceError: not confirmed.
            Refused: ``dark`` was called meanwhile, which wins.
        """
        darkened = self._darkened
        confirmed_mw = self._lights.set_power(command.light, command.power_mw)
        if confirmed_mw > 0:
            self._open_shutter(True)
        elif not any(power_mw > 0 for light, power_mw in lit.items() if light != command.light):
            self._open_shutter(False)
        if self._darkened != darkened and confirmed_mw > 0:
            self.dark()
            raise Refused(
                "went dark while it was being set", where=command.light, remedy="set it again if that is wanted"
            )
        return SetLight(command.light, confirmed_mw)

    def _open_shutter(self, open_: bool) -> None:
        if label := self._roles.shutter:
            with device_errors("moving the shutter", label):
                self._core.setShutterOpen(label, open_)
                if self._core.getShutterOpen(label) != open_:
                    raise DeviceError(
                        f"did not {'open' if open_ else 'close'}", where=label, remedy="check the shutter"
                    )

    # ---------------------------------------------------------------- stages and the rest

    def carry_out(self, command: Moving) -> Confirmed:
        """Move, wait, read back.

        Raises:
            DeviceError: no such device, refused, or it ended somewhere else.
            DeviceTimeout: still moving after ``move_timeout_s``.
        """
        match command:
            case MoveStage(x_um, y_um):
                return self._move_stage(x_um, y_um)
            case MoveFocus(z_um):
                return self._move_focus(z_um)
            case RunAutofocus():
                return self._autofocus()
            case SetPreset(group, preset):
                return self._set_preset(group, preset)

    def read(self, setting: str) -> Any:
        """What the hardware says of one setting (``xy``, ``z``, ``light:NAME``, ``preset:GROUP``)."""
        core, roles = self._core, self._roles
        kind, _, name = setting.partition(":")
        with device_errors("reading back", setting):
            if kind == "light":
                return self._lights.read_back()[name]
            if kind == "preset":
                return core.getCurrentConfig(name)
            if kind == "z":
                return float(core.getPosition(roles.focus)) if roles.focus else 0.0
            x_um, y_um = core.getXYPosition(roles.xy_stage) if roles.xy_stage else (0.0, 0.0)
            return float(x_um), float(y_um)

    def _move_stage(self, x_um: float, y_um: float) -> MoveStage:
        label = self._need(self._roles.xy_stage, "XY stage")
        with device_errors(f"moving to ({x_um:g}, {y_um:g}) um", label):
            self._core.setXYPosition(label, x_um, y_um)
            self._wait(label)
            reached = MoveStage(*self.read("xy"))
        off_um = math.hypot(reached.x_um - x_um, reached.y_um - y_um)
        self._check_place(label, off_um, self._options.stage_tolerance_um)
        return reached

    def _move_focus(self, z_um: float) -> MoveFocus:
        label = self._need(self._roles.focus, "focus drive")
        with device_errors(f"moving to {z_um:g} um", label):
            self._core.setPosition(label, z_um)
            self._wait(label)
            reached = MoveFocus(self.read("z"))
        self._check_place(label, abs(reached.z_um - z_um), self._options.focus_tolerance_um)
        return reached

    def _autofocus(self) -> MoveFocus:
        core, label = self._core, self._need(self._roles.autofocus, "hardware autofocus")
        with device_errors("autofocus", label):
            if core.getDeviceType(label) == DeviceType.AutoFocusDevice:
                core.setAutoFocusDevice(label)
                core.fullFocus()
            else:
                core.setProperty(label, AUTOFOCUS_START, 1)
            for moving in (label, self._roles.focus):
                if moving:
                    self._wait(moving)
            failed = core.hasProperty(label, AUTOFOCUS_STATUS)
            failed = failed and core.getProperty(label, AUTOFOCUS_STATUS) == AUTOFOCUS_FAILED
        if failed:
            raise DeviceError("found no focal plane", where=label, remedy="move closer to the sample's plane by hand")
        return MoveFocus(self.read("z"))

    def _set_preset(self, group: str, preset: str) -> SetPreset:
        if preset not in self._presets.get(group, ()):
            free = "; ".join(f"{name}: {', '.join(presets)}" for name, presets in self._presets.items()) or "none"
            raise DeviceError(
                f"no preset {preset!r} in group {group!r} that leaves lights and shutters alone",
                where="preset",
                allowed=free,
                remedy="name one of these; lights are set by SetLight only",
            )
        with device_errors(f"setting {group} to {preset}", "preset"):
            self._core.setConfig(group, preset)
            for label in devices_of(self._core, group, preset):
                self._wait(label)
            current = self._core.getCurrentConfig(group)
        if current != preset:
            raise DeviceError(
                f"{group} reads back {current!r} instead of {preset!r}", where="preset", remedy="check the device"
            )
        return SetPreset(group, preset)

    def _wait(self, label: str) -> None:
        wait_until_idle(self._core, label, self._options.move_timeout_s, self._clock)

    @staticmethod
    def _need(label: str, what: str) -> str:
        if not label:
            raise DeviceError(f"this microscope has no {what}", remedy="give its label in microscope.options")
        return label

    @staticmethod
    def _check_place(label: str, off_um: float, tolerance_um: float) -> None:
        if off_um > tolerance_um:
            raise DeviceError(
                f"stopped {off_um:.2f} um from where it was sent",
                where=label,
                allowed=f"{tolerance_um:g} um",
                remedy="check for limits and obstacles",
            )


def value_of(confirmed: Confirmed) -> Any:
    """The value of its setting that a confirmed command made true."""
    match confirmed:
        case SetExposure(exposure_ms):
            return exposure_ms
        case SetLight(_, power_mw):
            return power_mw
        case MoveStage(x_um, y_um):
            return x_um, y_um
        case MoveFocus(z_um):
            return z_um
        case SetPreset(_, preset):
            return preset

"""How far each kind of command may go: limits, capabilities, duty and dose applied to one command."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from smartscope.command import (
    Command,
    EndRun,
    MoveFocus,
    MoveStage,
    RunAutofocus,
    SetExposure,
    SetInterval,
    SetLight,
    SetPreset,
    SetRoi,
)
from smartscope.config import LimitsConfig, Range
from smartscope.frame import Roi, Settings
from smartscope.ports import Capabilities
from smartscope.safety.ledger import DoseLedger

_NUMBERS: Mapping[type, tuple[str, ...]] = {
    SetExposure: ("exposure_ms",),
    SetInterval: ("interval_ms",),
    SetLight: ("power_mw",),
    MoveStage: ("x_um", "y_um"),
    MoveFocus: ("z_um",),
    SetRoi: ("x", "y", "width", "height"),
}
LONGEST_INTERVAL_MS = 3_600_000.0
"""Nobody means a longer rest than an hour."""
_NAMES: Mapping[type, tuple[str, ...]] = {SetLight: ("light",), SetPreset: ("group", "preset")}


@dataclass(frozen=True, slots=True)
class Ruling:
    """A command as far as it may go (None: not at all), and what held it back."""

    command: Command | None
    by: str = ""
    """Key of the limit; empty if the command passes unchanged."""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Walls:
    """Everything that a command is held against."""

    limits: LimitsConfig
    capabilities: Capabilities
    ledger: DoseLedger

    def rule(self, command: Command, settings: Settings, t_ns: int) -> Ruling:
        """The command brought within the walls, ``settings`` being true now; nonsense is refused, never raised."""
        if wrong := _nonsense(command):
            return Ruling(None, "command", wrong)
        match command:
            case SetExposure():
                return self._exposure(command)
            case SetInterval():
                return self._interval(command)
            case SetLight():
                return self._light(command, settings, t_ns)
            case MoveStage():
                return self._stage(command, settings, t_ns)
            case MoveFocus():
                return self._focus(command, settings)
            case SetRoi():
                return self._roi(command)
            case RunAutofocus():
                return self._autofocus(command)
            case SetPreset():
                return self._preset(command)
            case EndRun():
                return Ruling(command)
        return Ruling(None, "command", f"{type(command).__name__} is no command")

    def standing(self, light: str, power_mw: float, t_ns: int, *, dose_spent: bool) -> Ruling:
        """A power above 0 as far as limit, duty and dose let it stand at ``t_ns``."""
        dark, key = SetLight(light, 0.0), f"limits.lights.{light}"
        limit = self.limits.lights.get(light)
        if limit is None:
            return Ruling(dark, key, "a light without limits stays off")
        if dose_spent:
            return Ruling(dark, "dose", "the dose budget of this field is spent")
        if limit.max_duty < 1 and self.ledger.on_fraction(light, t_ns) >= limit.max_duty:
            return Ruling(dark, f"{key}.max_duty", f"on for {limit.max_duty:g} of the last ten seconds")
        if power_mw > limit.max_power_mw:
            why = f"{power_mw:g} mW is above {limit.max_power_mw:g} mW"
            return Ruling(SetLight(light, limit.max_power_mw), f"{key}.max_power_mw", why)
        return Ruling(SetLight(light, power_mw))

    def _light(self, command: SetLight, settings: Settings, t_ns: int) -> Ruling:
        light, power_mw = command.light, float(command.power_mw)
        if light not in self.capabilities.lights:
            return Ruling(None, "capabilities.lights", f"no light {light!r}, only {list(self.capabilities.lights)}")
        if power_mw < 0:
            return Ruling(SetLight(light, 0.0), "limits.power_mw", f"{power_mw:g} mW is below 0")
        if power_mw == 0:
            return Ruling(SetLight(light, 0.0))
        ruling = self.standing(light, power_mw, t_ns, dose_spent=not self.ledger.has_budget(t_ns))
        limit, now_mw = self.limits.lights.get(light), settings.lights_mw.get(light, 0.0)
        if limit and limit.max_step_mw and isinstance(ruling.command, SetLight):
            highest_mw = now_mw + limit.max_step_mw
            if ruling.command.power_mw > highest_mw:
                why = f"{power_mw:g} mW is a rise of more than {limit.max_step_mw:g} mW from {now_mw:g} mW"
                return Ruling(SetLight(light, highest_mw), f"limits.lights.{light}.max_step_mw", why)
        return ruling

    def _exposure(self, command: SetExposure) -> Ruling:
        wall, device = self.limits.exposure_ms, self.capabilities.exposure_range_ms
        low, high = max(wall.low, device[0]), min(wall.high, device[1])
        if low > high:
            return Ruling(
                None, "limits.exposure_ms", f"nothing is within both {_show(wall)} and {device} of the camera"
            )
        asked_ms = float(command.exposure_ms)
        exposure_ms = min(max(asked_ms, low), high)
        if exposure_ms == asked_ms:
            return Ruling(SetExposure(exposure_ms))
        by = "limits.exposure_ms" if exposure_ms in (wall.low, wall.high) else "capabilities.exposure_range_ms"
        return Ruling(SetExposure(exposure_ms), by, f"{asked_ms:g} ms is outside {low:g} to {high:g} ms")

    def _interval(self, command: SetInterval) -> Ruling:
        asked_ms = float(command.interval_ms)
        if not self.capabilities.has_interval:
            return Ruling(None, "capabilities.has_interval", "the camera cannot rest between exposures")
        lit = [name for name in self.capabilities.lights if self.ledger.power_mw(name) > 0]
        if asked_ms > 0 and (always_on := [name for name in lit if not self.ledger.rests(name)]):
            why = f"{always_on[0]} would stay on between exposures: gate it by the camera, or switch it off first"
            return Ruling(None, "lights.gated_by_camera", why)
        interval_ms = min(max(asked_ms, 0.0), LONGEST_INTERVAL_MS)
        if interval_ms == asked_ms:
            return Ruling(SetInterval(interval_ms))
        why = f"{asked_ms:g} ms is outside 0 to {LONGEST_INTERVAL_MS:g} ms"
        return Ruling(SetInterval(interval_ms), "limits.interval_ms", why)

    def _stage(self, command: MoveStage, settings: Settings, t_ns: int) -> Ruling:
        if not self.capabilities.has_xy:
            return Ruling(None, "capabilities.has_xy", "there is no XY stage")
        walls, step_um = (self.limits.x_um, self.limits.y_um), self.limits.max_stage_step_um
        x_um, x_why = _clip("x", float(command.x_um), settings.x_um, walls[0])
        y_um, y_why = _clip("y", float(command.y_um), settings.y_um, walls[1])
        by, why = "limits.x_um" if x_why else "limits.y_um" if y_why else "", x_why or y_why
        distance_um = math.hypot(x_um - settings.x_um, y_um - settings.y_um)
        if not distance_um <= step_um:  # also true for a position that is not a number
            by, why = "limits.max_stage_step_um", f"{distance_um:g} um is more than {step_um:g} um in one step"
            share = step_um / distance_um
            x_um = settings.x_um + share * (x_um - settings.x_um)
            y_um = settings.y_um + share * (y_um - settings.y_um)
            if not (may_stand(x_um, settings.x_um, walls[0]) and may_stand(y_um, settings.y_um, walls[1])):
                return Ruling(None, by, "the stage stands outside its limits: bring it back by hand")
        lit = any(self.ledger.power_mw(light) > 0 for light in self.capabilities.lights)
        if lit and not self.ledger.has_budget(t_ns, (x_um, y_um)):
            return Ruling(None, "dose", f"no dose left at ({x_um:g}, {y_um:g}) um: switch the light off first")
        return Ruling(MoveStage(x_um, y_um), by, why)

    def _focus(self, command: MoveFocus, settings: Settings) -> Ruling:
        if not self.capabilities.has_z:
            return Ruling(None, "capabilities.has_z", "there is no focus drive")
        wall, step_um = self.limits.z_um, self.limits.max_focus_step_um
        z_um, why = _clip("z", float(command.z_um), settings.z_um, wall)
        by = "limits.z_um" if why else ""
        if not abs(z_um - settings.z_um) <= step_um:
            by, why = "limits.max_focus_step_um", f"{command.z_um:g} um is more than {step_um:g} um away"
            z_um = settings.z_um + math.copysign(step_um, z_um - settings.z_um)
            if not may_stand(z_um, settings.z_um, wall):
                return Ruling(None, by, "the focus stands outside its limits: bring it back by hand")
        return Ruling(MoveFocus(z_um), by, why)

    def _roi(self, command: SetRoi) -> Ruling:
        if not self.capabilities.has_roi:
            return Ruling(None, "capabilities.has_roi", "the camera has no ROI")
        asked, least = command.roi, self.limits.min_roi_px
        sensor_h, sensor_w = self.capabilities.sensor_shape
        width, height = min(max(asked.width, least), sensor_w), min(max(asked.height, least), sensor_h)
        x, y = min(max(asked.x, 0), sensor_w - width), min(max(asked.y, 0), sensor_h - height)
        roi = Roi(int(x), int(y), int(width), int(height))
        if roi == asked:
            return Ruling(SetRoi(roi))
        too_small = asked.width < least or asked.height < least
        by = "limits.min_roi_px" if too_small else "capabilities.sensor_shape"
        return Ruling(
            SetRoi(roi), by, f"{asked} is below {least} px or beyond the sensor of {sensor_w} x {sensor_h} px"
        )

    def _autofocus(self, command: RunAutofocus) -> Ruling:
        if not self.capabilities.has_autofocus:
            return Ruling(None, "capabilities.has_autofocus", "there is no hardware autofocus")
        if self.limits.z_um is None:
            return Ruling(None, "limits.z_um", "the focus may not move without limits")
        return Ruling(command)

    def _preset(self, command: SetPreset) -> Ruling:
        if command.preset not in self.capabilities.presets.get(command.group, ()):
            why = f"{command.group}/{command.preset} is no preset that leaves the lights alone"
            return Ruling(None, "capabilities.presets", why)
        return Ruling(command)


def may_stand(value_um: float, now_um: float, wall: Range | None) -> bool:
    """Whether an axis may be at this place; without a wall only where it is now."""
    return value_um == now_um if wall is None else wall.low <= value_um <= wall.high


def _clip(axis: str, asked_um: float, now_um: float, wall: Range | None) -> tuple[float, str]:
    """The value within the wall, and why it had to change; without a wall the axis stays where it is."""
    if wall is None:
        return now_um, "" if asked_um == now_um else f"{axis} may not move without limits"
    value_um = min(max(asked_um, wall.low), wall.high)
    return value_um, "" if value_um == asked_um else f"{axis} = {asked_um:g} um is outside {_show(wall)} um"


def _show(wall: Range) -> str:
    return f"{wall.low:g} to {wall.high:g}"


def _nonsense(command: Command) -> str:
    """What is wrong with the types or numbers inside a command; empty if they can be judged."""
    fields, kind = (command.roi, Integral) if isinstance(command, SetRoi) else (command, Real)
    if isinstance(command, SetRoi) and not isinstance(fields, Roi):
        return f"{fields!r} is no Roi"
    for name in _NUMBERS.get(type(command), ()):
        value = getattr(fields, name)
        if not isinstance(value, kind) or not _is_finite(value):
            return f"{name} = {value!r} is no finite number"
    for name in _NAMES.get(type(command), ()):
        if not isinstance(getattr(command, name), str):
            return f"{name} = {getattr(command, name)!r} is no name"
    return ""


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large to be a float
        return False

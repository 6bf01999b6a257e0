"""A planned part is checked whole, and its dose with it, before its first event runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice

import useq

from smartscope.command import NO_LIGHTS, Request, SetLight
from smartscope.config import LightConfig
from smartscope.errors import Refused
from smartscope.frame import Settings
from smartscope.safety.gate import SafetyGate
from smartscope.safety.walls import may_stand

PATTERN = "pattern"
"""Key of an event's metadata: step of the structured illumination, from 0."""
MAX_EVENTS = 100_000
"""A plan must end; one that yields more events than this is taken for endless."""


class PlanGate:
    """Judges useq plans by the limits, capabilities and ledger of the one gate. Nothing is clipped: all or nothing."""

    def __init__(self, gate: SafetyGate, lights: tuple[LightConfig, ...]) -> None:
        self._gate = gate
        self._light_devices = {device for light in lights for device in (light.device, light.switch_device) if device}

    def check(
        self,
        events: Iterable[useq.MDAEvent],
        settings: Settings,
        t_ns: int,
        lights_mw: Mapping[str, float] = NO_LIGHTS,
    ) -> list[useq.MDAEvent]:
        """The plan as a list, if every event is within the limits and its dose within the budget.

        The lights are taken to be as ``lights_mw`` says, and those that it does not name as ``settings`` says, from the
        start of the plan to its end (camera-gated ones during exposures). Between this call and the plan's end,
        ``gate.begin_plan`` keeps others from the dose.

        Raises:
            Refused: names the event by its position in the plan, the value, the limit and the remedy.
        """
        if self._gate.arm == "shadow":
            raise Refused("a plan would act on the hardware", where="plan", remedy="arm with --arm clamped or armed")
        plan = list(islice(events, MAX_EVENTS + 1))
        if len(plan) > MAX_EVENTS:
            raise Refused("the plan does not end", where="plan", allowed=f"at most {MAX_EVENTS} events")
        self._check_lights(lights_mw, settings, t_ns)
        now = settings = replace(settings, lights_mw={**settings.lights_mw, **lights_mw})
        for number, event in enumerate(plan):
            for what, allowed, remedy in self._faults(event, now):
                raise Refused(what, where=f"plan event {number}", allowed=allowed, remedy=remedy)
            now = settings_after(event, now)
        self._check_dose(plan, settings, t_ns)
        return plan

    def _check_lights(self, lights_mw: Mapping[str, float], settings: Settings, t_ns: int) -> None:
        """As live commands are judged, but what would be clipped is refused."""
        for light, power_mw in lights_mw.items():
            command = SetLight(light, power_mw)
            verdict = self._gate.judge(Request(command, "a plan"), settings, t_ns)
            if verdict.granted != command:
                raise Refused(
                    f"{power_mw:g} mW during the plan: {verdict.why}",
                    where=f"plan light {light}",
                    allowed=verdict.clipped_by,
                    remedy="ask for less, or change the limits",
                )

    def _faults(self, event: useq.MDAEvent, now: Settings) -> Iterator[tuple[str, str, str]]:
        """(what, allowed, remedy) of everything wrong with one event, the settings before it being ``now``."""
        yield from self._time_faults(event)
        yield from self._place_faults(event, now)
        yield from self._device_faults(event)

    def _time_faults(self, event: useq.MDAEvent) -> Iterator[tuple[str, str, str]]:
        if not math.isfinite(event.min_start_time or 0.0):
            yield f"start time {event.min_start_time}", "a finite number of seconds", "change the plan"
        if event.exposure is None:
            return
        for key, low, high in (
            ("limits.exposure_ms", self._gate.limits.exposure_ms.low, self._gate.limits.exposure_ms.high),
            ("exposure of the camera", *self._gate.capabilities.exposure_range_ms),
        ):
            if not low <= event.exposure <= high:
                yield f"exposure of {event.exposure:g} ms", f"{low:g} to {high:g} ms ({key})", "change the plan"

    def _place_faults(self, event: useq.MDAEvent, now: Settings) -> Iterator[tuple[str, str, str]]:
        limits, after = self._gate.limits, settings_after(event, now)
        walls = (("x", event.x_pos, now.x_um, limits.x_um), ("y", event.y_pos, now.y_um, limits.y_um))
        for axis, value_um, now_um, wall in (*walls, ("z", event.z_pos, now.z_um, limits.z_um)):
            if value_um is not None and not may_stand(value_um, now_um, wall):
                allowed = f"{wall.low:g} to {wall.high:g} um" if wall else f"{now_um:g} um, without limits.{axis}_um"
                yield f"{axis} = {value_um:g} um", allowed, f"change the plan or limits.{axis}_um"
        moves = (
            ("stage", math.hypot(after.x_um - now.x_um, after.y_um - now.y_um), limits.max_stage_step_um),
            ("focus", abs(after.z_um - now.z_um), limits.max_focus_step_um),
        )
        for axis, step_um, most_um in moves:
            if step_um > most_um:
                yield (
                    f"{axis} step of {step_um:g} um",
                    f"{most_um:g} um",
                    f"smaller steps, or limits.max_{axis}_step_um",
                )

    def _device_faults(self, event: useq.MDAEvent) -> Iterator[tuple[str, str, str]]:
        capabilities = self._gate.capabilities
        if event.channel is not None:
            presets = capabilities.presets.get(event.channel.group, ())
            if event.channel.config not in presets:
                what = f"channel {event.channel.group}/{event.channel.config}"
                yield what, f"presets that touch no light: {list(presets)}", "choose one of these"
        for device, name, value in event.properties or ():
            if device in self._light_devices or device == "Core":
                what = f"property {device}.{name} = {value}"
                yield (
                    what,
                    "properties of devices other than the lights and Core",
                    "set lights by commands before the plan",
                )
        if event.roi is not None:
            x, y, width, height = event.roi.offset_x, event.roi.offset_y, event.roi.width, event.roi.height
            (sensor_h, sensor_w), least = capabilities.sensor_shape, self._gate.limits.min_roi_px
            if x < 0 or y < 0 or x + width > sensor_w or y + height > sensor_h or min(width, height) < least:
                yield (
                    f"ROI of {width} x {height} px at ({x}, {y})",
                    f"{least} px at least, within {sensor_w} x {sensor_h} px",
                    "change the plan",
                )
        yield from self._action_faults(event)

    def _action_faults(self, event: useq.MDAEvent) -> Iterator[tuple[str, str, str]]:
        if isinstance(event.action, useq.CustomAction):
            yield (
                f"custom action {event.action.name!r}",
                "images and hardware autofocus",
                "its effect cannot be checked",
            )
        elif isinstance(event.action, useq.HardwareAutofocus):
            if not self._gate.capabilities.has_autofocus:
                yield "autofocus", "nothing: there is no hardware autofocus", "take it out of the plan"
            elif self._gate.limits.z_um is None:
                yield "autofocus", "nothing: the focus may not move without limits.z_um", "set limits.z_um"

    def _check_dose(self, plan: list[useq.MDAEvent], settings: Settings, t_ns: int) -> None:
        """Run the plan on a copy of the ledger, as quickly as it can go."""
        ledger = self._gate.ledger.forecast()
        for light, power_mw in settings.lights_mw.items():
            ledger.set_light(light, power_mw, t_ns)
        now, start_ns, overhead_ms = settings, t_ns, self._gate.capabilities.frame_period_overhead_ms
        for number, event in enumerate(plan):
            now = settings_after(event, now)
            ledger.set_exposure_duty(0.0, t_ns)
            ledger.move(now.x_um, now.y_um, t_ns)
            t_ns = max(t_ns, start_ns + round((event.min_start_time or 0.0) * 1e9))
            ledger.set_exposure_duty(1.0, t_ns)
            t_ns += round(now.exposure_ms * 1e6)
            dose = ledger.state(t_ns)
            if not ledger.has_budget(t_ns):
                raise Refused(
                    f"the plan's dose reaches {dose.spent_j_per_cm2:.3g} J/cm² here",
                    where=f"plan event {number}",
                    allowed=f"{dose.budget_j_per_cm2:.3g} J/cm² (dose)",
                    remedy="fewer events, less power or a fresh field",
                )
            ledger.set_exposure_duty(0.0, t_ns)
            t_ns += round(overhead_ms * 1e6)


def settings_after(event: useq.MDAEvent, now: Settings) -> Settings:
    """The settings that hold from this event of a plan on."""
    return replace(
        now,
        exposure_ms=now.exposure_ms if event.exposure is None else event.exposure,
        x_um=now.x_um if event.x_pos is None else event.x_pos,
        y_um=now.y_um if event.y_pos is None else event.y_pos,
        z_um=now.z_um if event.z_pos is None else event.z_pos,
        pattern=pattern_of(event),
    )


def pattern_of(event: useq.MDAEvent) -> int | None:
    """Step of the structured illumination that an event shows; None: even light."""
    pattern = event.metadata.get(PATTERN)
    return pattern if isinstance(pattern, int) else None

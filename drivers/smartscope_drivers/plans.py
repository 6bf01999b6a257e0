"""A planned part as a whole: lights and settings before, the events, and everything back as it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

import useq
from pymmcore_plus import CMMCorePlus

from smartscope.command import Command, MoveFocus, MoveStage, SetExposure, SetLight, SetPreset, SetRoi
from smartscope.config import LightConfig
from smartscope.frame import Settings
from smartscope.ports import Clock
from smartscope_drivers.core_camera import CoreCamera
from smartscope_drivers.core_tools import device_errors
from smartscope_drivers.plan_engine import Apply, PlanEngine, Planned
from smartscope_drivers.slm_memory import SlmMemory

EVEN_SLM = 255
"""All pixels alike: even light, and with an SLM that dims, all of it."""


class Plan:
    """One planned part: settings before, events, settings back."""

    def __init__(
        self,
        core: CMMCorePlus,
        camera: CoreCamera,
        clock: Clock,
        apply: Apply,
        settings: Callable[[], Settings],
        lights: tuple[LightConfig, ...],
        free: Mapping[str, tuple[str, ...]],
        slms: SlmMemory,
    ) -> None:
        """``free``: group → presets that may be chosen."""
        self._core, self._camera, self._clock, self._apply, self._settings = core, camera, clock, apply, settings
        self._lights, self._free, self._slms = lights, free, slms
        self._properties: dict[tuple[str, str], str] = {}
        self._shown: set[str] = set()

    def run(
        self, events: Iterable[useq.MDAEvent], lights_mw: Mapping[str, float], dark: Callable[[], None]
    ) -> Iterator[Planned]:
        """Images in the order of the plan; ends dark when it does not end well.

        ``lights_mw``: powers during the plan; lights that are not named stay as they are.

        Raises:
            DeviceError: a device does not confirm what an event asks for.
        """
        before, presets = self._settings(), self._presets()
        self._camera.count_from(0)
        done = False
        try:
            yield from self._run(events, lights_mw)
            done = True
        finally:
            if not done:
                dark()
                self._slms.forget()
            try:
                self._return_to(before, presets, lights=done)
            except BaseException:
                dark()
                raise

    def _run(self, events: Iterable[useq.MDAEvent], lights_mw: Mapping[str, float]) -> Iterator[Planned]:
        engine = PlanEngine(self._core, self._camera, self._clock, self._apply, self._slms)
        began_ns = self._clock.now_ns()
        self._set_lights(engine, lights_mw)
        # lights go through their owner, so that only events of equal light can be merged into a hardware sequence;
        # the base class would merge images of several SLMs, and events with and without one
        for (powers, _), group in itertools.groupby(events, lambda event: (self._powers_of(event), _slm_of(event))):
            self._set_lights(engine, dict(powers))
            for event in engine.event_iterator(self._remembered(self._without_lights(event)) for event in group):
                self._wait_for(event, began_ns)
                yield from engine.images(event, self._settings())

    def _set_lights(self, engine: PlanEngine, lights_mw: Mapping[str, float]) -> None:
        for light, power_mw in lights_mw.items():
            if self._settings().lights_mw.get(light) != power_mw:
                engine.do(SetLight(light, power_mw))

    def _remembered(self, event: useq.MDAEvent) -> useq.MDAEvent:
        """The event; what it will change, beyond the settings, is noted first."""
        if event.slm_image is not None:
            self._shown.add(event.slm_image.device or self._core.getSLMDevice())
        for label, name, _ in event.properties or ():
            if (label, name) not in self._properties:
                with device_errors("preparing an event", "plan"):
                    self._properties[label, name] = self._core.getProperty(label, name)
        return event

    def _wait_for(self, event: useq.MDAEvent, began_ns: int) -> None:
        if event.min_start_time:
            due_ns = began_ns + round(event.min_start_time * 1e9)
            self._clock.sleep((due_ns - self._clock.now_ns()) / 1e9)

    def _powers_of(self, event: useq.MDAEvent) -> tuple[tuple[str, float], ...]:
        """Light → mW that an event's properties ask for."""
        lines = {(light.device, light.power_property): light for light in self._lights}
        asked = ((lines[label, name], value) for label, name, value in event.properties or () if (label, name) in lines)
        return tuple((light.name, float(value) / light.power_per_mw) for light, value in asked)

    def _without_lights(self, event: useq.MDAEvent) -> useq.MDAEvent:
        lines = {(light.device, light.power_property) for light in self._lights}
        if not any((label, name) in lines for label, name, _ in event.properties or ()):
            return event
        return event.model_copy(update={"properties": [p for p in event.properties or () if (p[0], p[1]) not in lines]})

    def _presets(self) -> dict[str, str]:
        """Group → preset in force, where it can be chosen again."""
        current = {group: self._core.getCurrentConfig(group) for group in self._free}
        return {group: preset for group, preset in current.items() if preset in self._free[group]}

    def _return_to(self, before: Settings, presets: dict[str, str], *, lights: bool) -> None:
        """Lights that were lower go down first, those that were higher come up last."""
        now = self._settings()
        changed = [SetLight(light, mw) for light, mw in before.lights_mw.items() if now.lights_mw[light] != mw]
        raised = [light for light in changed if light.power_mw > now.lights_mw[light.light]]
        if lights:
            for command in changed:
                if command not in raised:
                    self._apply(command)
        self._straighten()
        back: list[Command] = [SetPreset(group, p) for group, p in presets.items() if p != self._presets().get(group)]
        if now.roi != before.roi:
            back.append(SetRoi(before.roi))
        if now.exposure_ms != before.exposure_ms or self._camera.exposure_ms != before.exposure_ms:
            back.append(SetExposure(before.exposure_ms))
        if self._core.getXYStageDevice() and tuple(self._core.getXYPosition()) != (before.x_um, before.y_um):
            back.append(MoveStage(before.x_um, before.y_um))
        if self._core.getFocusDevice() and self._core.getPosition() != before.z_um:
            back.append(MoveFocus(before.z_um))
        for command in [*back, *(raised if lights else ())]:
            self._apply(command)

    def _straighten(self) -> None:
        """Even light from every SLM that the plan used, and its properties as they were."""
        with device_errors("ending the plan", "plan"):
            for label in filter(None, self._shown):
                self._core.setSLMPixelsTo(label, EVEN_SLM)
                self._core.displaySLMImage(label)
            for (label, name), value in self._properties.items():
                if not self._core.isPropertyReadOnly(label, name) and self._core.getProperty(label, name) != value:
                    self._core.setProperty(label, name, value)


def _slm_of(event: useq.MDAEvent) -> str | None:
    """The SLM that an event shows something on; empty: the core's."""
    return None if event.slm_image is None else event.slm_image.device or ""

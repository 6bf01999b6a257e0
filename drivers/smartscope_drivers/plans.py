"""How a planned part runs: pymmcore-plus' engine merges events into hardware sequences, settings go our way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import useq
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.core._sequencing import SequencedEvent
from pymmcore_plus.mda import MDAEngine

from smartscope.command import (
    Applied,
    Command,
    MoveFocus,
    MoveStage,
    RunAutofocus,
    SetExposure,
    SetLight,
    SetPreset,
    SetRoi,
)
from smartscope.config import LightConfig
from smartscope.errors import DeviceError, DeviceTimeout
from smartscope.frame import Roi, Settings
from smartscope.ports import Clock
from smartscope.safety.plan_gate import settings_after
from smartscope_drivers.core_camera import CoreCamera, Image
from smartscope_drivers.core_tools import device_errors, wait_until_idle

Apply = Callable[[Command], Applied]
Planned = tuple[Image, Settings | None]
"""An image, and its settings where a hardware sequence stepped through them."""

SLACK_S = 5.0
"""A frame of a burst may be late by so much beyond four exposures, and a device may stay busy for so long."""


class PlanEngine(MDAEngine):
    """The engine, but strict: the base class logs a stage that does not move, and photographs the wrong place."""

    def __init__(self, core: CMMCorePlus, camera: CoreCamera, clock: Clock, apply: Apply) -> None:
        super().__init__(core, use_hardware_sequencing=not clock.virtual, restore_initial_state=False)
        self._camera, self._clock, self._apply = camera, clock, apply

    def setup_event(self, event: useq.MDAEvent) -> None:
        """A single event's devices are waited for one by one, so that virtual time can pass meanwhile."""
        if isinstance(event, SequencedEvent):
            super().setup_event(event)
        else:
            self.setup_single_event(event)

    def setup_single_event(self, event: useq.MDAEvent) -> None:
        """Every device of the event, each confirmed."""
        self._set_event_roi(event)
        self._set_event_xy_position(event)
        if event.z_pos is not None:
            self._set_event_z(event)
        self._set_event_channel(event)
        if event.exposure is not None:
            self.do(SetExposure(event.exposure))
        self._set_event_properties(event.properties or ())
        self._set_event_slm_image(event)

    def do(self, command: Command) -> None:
        """Carry out a command and let it take effect."""
        applied = self._apply(command)
        self._clock.sleep((applied.t_effect_ns - self._clock.now_ns()) / 1e9)

    def images(self, event: useq.MDAEvent, settings: Settings) -> Iterator[Planned]:
        """Carry out one event (or a merged sequence of events) and take its images."""
        if isinstance(event.action, useq.HardwareAutofocus):
            self.do(RunAutofocus())
            return
        if isinstance(event.action, useq.CustomAction):
            raise DeviceError(f"cannot carry out the action {event.action.name!r}", where="plan", remedy="leave it out")
        with device_errors("preparing an event", "plan"):
            self.setup_event(event)
        try:
            if event.slm_image is not None:
                self._exec_event_slm_image(event.slm_image)
            if isinstance(event, SequencedEvent):
                yield from self._burst(event, settings)
            else:
                yield self._camera.snap(), None
        finally:
            with device_errors("ending an event", "plan"):
                self.teardown_event(event)

    def _burst(self, event: SequencedEvent, settings: Settings) -> Iterator[Planned]:
        """One image per step of a hardware sequence; its settings are the list's, nobody can read them meanwhile."""
        first_number = self._camera.numbered
        self._camera.start_burst(len(event.events))
        try:
            for step in event.events:
                exposure_ms = step.exposure or settings.exposure_ms
                image = self._camera.next_image(SLACK_S + 4 * exposure_ms / 1e3)
                if image is None:
                    raise DeviceTimeout(
                        "a hardware-triggered frame did not come",
                        where="plan",
                        remedy="check the trigger lines of the sequence",
                    )
                yield replace(image, number=first_number + image.number), settings_after(step, settings)
        finally:
            self._camera.stop()
            self._camera.count_from(first_number + len(event.events))

    # ---------------------------------------------------------------- hooks of the base class, strict

    def _set_event_xy_position(self, event: useq.MDAEvent) -> None:
        if event.x_pos is None and event.y_pos is None:
            return
        x_um, y_um = self.mmcore.getXYPosition()
        self.do(MoveStage(x_um if event.x_pos is None else event.x_pos, y_um if event.y_pos is None else event.y_pos))

    def _set_event_z(self, event: useq.MDAEvent) -> None:
        if event.z_pos is not None:
            self.do(MoveFocus(event.z_pos))

    def _set_event_channel(self, event: useq.MDAEvent) -> None:
        if event.channel is not None:
            self.do(SetPreset(event.channel.group, event.channel.config))

    def _set_event_roi(self, event: useq.MDAEvent) -> None:
        if (roi := event.roi) is not None:
            self.do(SetRoi(Roi(roi.offset_x, roi.offset_y, roi.width, roi.height)))

    def _set_event_properties(self, properties: Sequence[useq.PropertyTuple]) -> None:
        for label, name, value in properties:
            self.mmcore.setProperty(label, name, value)
            wait_until_idle(self.mmcore, label, SLACK_S, self._clock)

    def _set_event_slm_image(self, event: useq.MDAEvent) -> None:
        if event.slm_image is not None and not (event.slm_image.device or self.mmcore.getSLMDevice()):
            raise DeviceError(
                "this microscope has no SLM", where="plan", remedy="give its label in microscope.options.slm"
            )
        super()._set_event_slm_image(event)


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
    ) -> None:
        """``free``: group → presets that may be chosen."""
        self._core, self._camera, self._clock, self._apply, self._settings = core, camera, clock, apply, settings
        self._lights, self._free = lights, free

    def run(self, events: Iterable[useq.MDAEvent], dark: Callable[[], None]) -> Iterator[Planned]:
        """Images in the order of the plan; ends dark when it does not end well.

        Raises:
            DeviceError: a device does not confirm what an event asks for.
        """
        before, presets = self._settings(), self._presets()
        self._camera.count_from(0)
        done = False
        try:
            yield from self._run(events)
            done = True
        finally:
            if not done:
                dark()
            self._return_to(before, presets, lights=done)

    def _run(self, events: Iterable[useq.MDAEvent]) -> Iterator[Planned]:
        engine = PlanEngine(self._core, self._camera, self._clock, self._apply)
        began_ns = self._clock.now_ns()
        # lights go through their owner, so that only events of equal light can be merged into a hardware sequence
        for powers, group in itertools.groupby(events, self._powers_of):
            for light, power_mw in powers:
                if self._settings().lights_mw[light] != power_mw:
                    engine.do(SetLight(light, power_mw))
            for event in engine.event_iterator(self._without_lights(event) for event in group):
                self._wait_for(event, began_ns)
                yield from engine.images(event, self._settings())

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
        now = self._settings()
        back: list[Command] = [SetPreset(group, p) for group, p in presets.items() if p != self._presets().get(group)]
        if now.roi != before.roi:
            back.append(SetRoi(before.roi))
        if now.exposure_ms != before.exposure_ms or self._camera.exposure_ms != before.exposure_ms:
            back.append(SetExposure(before.exposure_ms))
        if self._core.getXYStageDevice() and tuple(self._core.getXYPosition()) != (before.x_um, before.y_um):
            back.append(MoveStage(before.x_um, before.y_um))
        if self._core.getFocusDevice() and self._core.getPosition() != before.z_um:
            back.append(MoveFocus(before.z_um))
        if lights:
            changed = (light for light, power_mw in before.lights_mw.items() if now.lights_mw[light] != power_mw)
            back.extend(SetLight(light, before.lights_mw[light]) for light in changed)
        for command in back:
            self._apply(command)

"""How events become device calls: pymmcore-plus' engine merges them into hardware sequences, we do the rest.

The base class (0.18.1) logs what fails and goes on; here each device is confirmed. It cannot sequence an SLM: its
merged event takes the images for bytes and refuses them, drops one that all events share, and no sequence of images is
ever started. So its rules say which events merge, the images stay with their events, and the SLM is ours to load and
start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import useq
from pymmcore_plus import CMMCorePlus, Keyword
from pymmcore_plus.core._sequencing import EventCombiner, SequencedEvent
from pymmcore_plus.mda import MDAEngine

from smartscope.command import (
    Applied,
    Command,
    MoveFocus,
    MoveStage,
    RunAutofocus,
    SetExposure,
    SetPreset,
    SetRoi,
)
from smartscope.errors import DeviceError, DeviceTimeout
from smartscope.frame import Roi, Settings
from smartscope.ports import Clock
from smartscope.safety.plan_gate import pattern_of, settings_after
from smartscope_drivers.core_camera import CoreCamera, Image
from smartscope_drivers.core_tools import device_errors, wait_until_idle
from smartscope_drivers.slm_memory import SlmMemory

Apply = Callable[[Command], Applied]

SLACK_S = 5.0
"""A frame of a burst may be late by so much beyond four exposures, and a device may stay busy for so long."""


@dataclass(frozen=True, slots=True)
class Planned:
    """An image of a plan."""

    image: Image
    pattern: int | None = None
    """Step of the structured illumination that the event names."""
    settings: Settings | None = None
    """Where a hardware sequence stepped through them."""


class _Combiner(EventCombiner):
    """Merges events; their images stay where they are."""

    def _create_sequenced_event(self) -> useq.MDAEvent | SequencedEvent:
        self.attribute_changes.pop(Keyword.CoreSLM, None)
        return super()._create_sequenced_event()


class PlanEngine(MDAEngine):
    """The engine, but strict: the base class logs a stage that does not move, and photographs the wrong place."""

    def __init__(self, core: CMMCorePlus, camera: CoreCamera, clock: Clock, apply: Apply, slms: SlmMemory) -> None:
        super().__init__(core, use_hardware_sequencing=not clock.virtual, restore_initial_state=False)
        self._camera, self._clock, self._apply, self._slms = camera, clock, apply, slms
        self._stepping = ""

    def event_iterator(self, events: Iterable[useq.MDAEvent]) -> Iterator[useq.MDAEvent]:
        """Events, merged where the devices can step through them by themselves."""
        if not self.use_hardware_sequencing:
            yield from events
            return
        combiner = _Combiner(self.mmcore)
        for event in events:
            if (merged := combiner.feed_event(event)) is not None:
                yield merged
        if (merged := combiner.flush()) is not None:
            yield merged

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
            if isinstance(event, SequencedEvent):
                if not self._stepping:
                    self._show(event.events[0].slm_image)
                yield from self._burst(event, settings)
            else:
                self._show(event.slm_image)
                yield Planned(self._camera.snap(), pattern_of(event))
        finally:
            with device_errors("ending an event", "plan"):
                self.teardown_event(event)

    def _burst(self, event: SequencedEvent, settings: Settings) -> Iterator[Planned]:
        """One image per step of a hardware sequence; its settings are the list's, nobody can read them meanwhile."""
        first_number, steps = self._camera.numbered, len(event.events)
        self._camera.start_burst(steps)
        try:
            for _ in range(steps):
                image = self._camera.next_image(SLACK_S + 4 * (event.exposure or settings.exposure_ms) / 1e3)
                if image is None or image.number >= steps:
                    raise DeviceTimeout(
                        "a hardware-triggered frame did not come",
                        where="plan",
                        remedy="check the trigger lines of the sequence",
                    )
                step = event.events[image.number]  # a lost frame has taken its step along
                numbered = replace(image, number=first_number + image.number)
                yield Planned(numbered, pattern_of(step), settings_after(step, settings))
        finally:
            self._camera.stop()
            self._camera.count_from(first_number + steps)

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
        """Load one image, or one value for all pixels; ``_show`` shows it."""
        if (image := event.slm_image) is None:
            return
        label, pixels = self._slm_of(image), np.asarray(image)
        if pixels.ndim == 0 and pixels.dtype.kind in "bui":
            self.mmcore.setSLMPixelsTo(label, 255 * int(pixels) if pixels.dtype == bool else int(pixels))
        else:
            self.mmcore.setSLMImage(label, self._checked(label, pixels))
        if image.exposure:
            self.mmcore.setSLMExposure(label, image.exposure)

    def _show(self, image: useq.SLMImage | None) -> None:
        if image is not None:
            with device_errors("showing an image", "SLM"):
                self.mmcore.displaySLMImage(self._slm_of(image))

    def _load_sequenced_event(self, event: SequencedEvent) -> None:
        """As the base class, and the SLM gets the images that it does not hold yet, and waits for the camera."""
        super()._load_sequenced_event(event)
        images = [step.slm_image for step in event.events]
        if all(image == images[0] for image in images):
            self._set_event_slm_image(event.events[0])
            return
        label = self._slm_of(images[0])
        self._slms.load(label, [self._checked(label, np.asarray(image)) for image in images])
        self.mmcore.startSLMSequence(label)
        self._stepping = label

    def teardown_event(self, event: useq.MDAEvent) -> None:
        """As the base class, and the SLM's sequence is stopped as well."""
        super().teardown_event(event)
        if self._stepping:
            self.mmcore.stopSLMSequence(self._stepping)
            self._stepping = ""

    def _slm_of(self, image: useq.SLMImage | None) -> str:
        named = image.device if image is not None else None
        if not (label := named or self.mmcore.getSLMDevice()):
            raise DeviceError(
                "this microscope has no SLM", where="plan", remedy="give its label in microscope.options.slm"
            )
        return str(label)

    def _checked(self, label: str, pixels: np.ndarray) -> np.ndarray:
        """The image as the SLM takes it."""
        shape = self.mmcore.getSLMHeight(label), self.mmcore.getSLMWidth(label)
        if pixels.shape != shape:
            raise DeviceError(
                f"an image of {pixels.shape}",
                where=label,
                allowed=f"{shape}, the pixels of this SLM",
                remedy="correct optics.structured_illumination.slm.shape",
            )
        return pixels.astype(np.uint8, copy=False)

"""One microscope behind a Micro-Manager core: the ``Microscope`` port in CMMCore calls, real devices or simulated.

The grabber's thread owns the camera (start, stop, next_frame, run_plan), other threads apply commands; one that cannot
be carried out live takes its turn with the grabber. ``dark`` may come from any thread at any moment, also while another
thread is inside a call.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import useq
from pymmcore_plus import CMMCorePlus

from smartscope.command import (
    NO_LIGHTS,
    Applied,
    Command,
    EndRun,
    RunPlan,
    SetExposure,
    SetInterval,
    SetLight,
    SetPreset,
    SetRoi,
)
from smartscope.errors import DeviceError, Refused
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.ports import Capabilities, Lights, MicroscopeSetup
from smartscope_drivers.core_actuators import Actuators, Confirmed, Moving, value_of
from smartscope_drivers.core_camera import CoreCamera, Image
from smartscope_drivers.core_tools import close_core, device_errors
from smartscope_drivers.entry_state import EntryState
from smartscope_drivers.options import CoreOptions
from smartscope_drivers.plan_engine import Planned
from smartscope_drivers.plans import Plan
from smartscope_drivers.presets import devices_of, free_presets
from smartscope_drivers.roles import Roles, light_devices, make_current
from smartscope_drivers.slm_memory import SlmMemory
from smartscope_drivers.stamping import Stamper

T = TypeVar("T")
log = logging.getLogger(__name__)


class CoreMicroscope:
    """The ``Microscope`` port over one core, which it closes."""

    def __init__(
        self,
        core: CMMCorePlus,
        roles: Roles,
        setup: MicroscopeSetup,
        options: CoreOptions,
        lights: Lights,
    ) -> None:
        """Take the devices over: autoshutter off, light off, state recorded, camera at full sensor.

        Raises:
            DeviceError: a device does not answer.
        """
        self._core, self._roles, self._setup, self._options = core, roles, setup, options
        self._lights = lights
        self._slms = SlmMemory(core)
        self._clock = setup.clock
        self._epoch = -1
        self._kept: deque[Frame] = deque()
        self._camera_turn = threading.RLock()
        self._not_restarting = threading.Event()
        self._not_restarting.set()
        self._arrival_origin_ns: int | None = None
        self._closed = False
        atexit.register(self.close)
        try:
            self._open()
        except BaseException:
            atexit.unregister(self.close)
            close_core(core)
            raise

    def _open(self) -> None:
        core, roles, setup, options = self._core, self._roles, self._setup, self._options
        with device_errors("taking the devices over"):
            core.setAutoShutter(False)
            make_current(core, roles)
            self._free = presets = free_presets(core, light_devices(setup.config.lights))
        self._actuators = Actuators(core, roles, self._lights, presets, options, setup.clock)
        self._actuators.dark()
        self._entry = EntryState.record(core, roles)
        self._camera = self._open_camera()
        self._stamper = Stamper(
            self._read_settings(),
            options.calibrated,
            self._clock.now_ns(),
            {group: self._actuators.read(f"preset:{group}") for group in presets},
        )
        self._capabilities = self._find_capabilities(presets)

    def _open_camera(self) -> CoreCamera:
        return CoreCamera(self._core, self._roles.camera, self._clock, self._options.ring_mb)

    # ---------------------------------------------------------------- what it is

    def capabilities(self) -> Capabilities:
        """What was found at opening."""
        return self._capabilities

    def settings(self) -> Settings:
        """True now, as far as every change went through here."""
        return self._stamper.now()

    def exhausted(self) -> bool:
        """Never: a camera has always another frame."""
        return False

    def _find_capabilities(self, presets: dict[str, tuple[str, ...]]) -> Capabilities:
        roles, config = self._roles, self._setup.config
        live = {"xy", "z", *(f"light:{light.name}" for light in config.lights)}
        can = self._options.live_exposure
        if self._camera.accepts_live_exposure() if can is None else can:
            live.add("exposure_ms")
        return Capabilities(
            sensor_shape=self._camera.sensor_shape,
            bit_depth=self._camera.bit_depth,
            exposure_range_ms=self._camera.exposure_range_ms(),
            lights=tuple(light.name for light in config.lights),
            has_xy=bool(roles.xy_stage),
            has_z=bool(roles.focus),
            has_roi=True,
            live_settings=frozenset(live),
            stage_affine=config.stage.affine_um_per_px if roles.xy_stage else None,
            has_autofocus=bool(roles.autofocus),
            has_interval=True,
            presets=presets,
            frame_period_overhead_ms=self._options.readout_ms,
            device_properties=self._entry.as_text(),
        )

    def _read_settings(self) -> Settings:
        """Every setting from the hardware; the lights as ``dark`` left them."""
        x_um, y_um = self._actuators.read("xy")
        with device_errors("reading the camera"):
            exposure_ms, roi = self._camera.exposure_ms, self._camera.roi
        lights_mw = {light.name: 0.0 for light in self._setup.config.lights}
        return Settings(exposure_ms, roi, lights_mw, x_um, y_um, self._actuators.read("z"))

    # ---------------------------------------------------------------- frames

    @property
    def streaming(self) -> bool:
        """Between ``start`` and ``stop``."""
        return self._camera.streaming

    def start(self, epoch: int) -> None:
        """Stream; what was not taken of the epoch before is dropped.

        Raises:
            DeviceError: the camera refuses.
        """
        with self._camera_turn:
            self._camera.stop()
            self._kept.clear()
            self._begin(epoch)

    def _begin(self, epoch: int) -> None:
        self._epoch, self._arrival_origin_ns = epoch, None
        self._camera.start()

    def stop(self) -> None:
        """Stop streaming; frames in the ring can still be taken."""
        with self._camera_turn:
            self._camera.stop()

    def next_frame(self, timeout_s: float) -> Frame | None:
        """The oldest frame not taken yet; None if none came in time, or when stopped and all are taken.

        Raises:
            CameraStopped: the sequence has died.
            DeviceError: pixels and metadata of a frame disagree.
        """
        self._not_restarting.wait()
        with self._camera_turn:
            return self._take(timeout_s)

    def _take(self, timeout_s: float) -> Frame | None:
        if self._kept:
            return self._kept.popleft()
        image = self._camera.next_image(timeout_s)
        return None if image is None else self._frame(image)

    def frame_due_ns(self) -> int:
        """Virtual clock: when the exposure that is under way will be in hand."""
        return self._camera.due_ns()

    def _frame(self, image: Image) -> Frame:
        t_start_ns, t_end_ns = self._exposed(image)
        stamp = self._stamper.stamp(t_start_ns, t_end_ns, image.exposure_ms)
        return Frame(
            pixels=image.pixels,
            epoch=self._epoch,
            number=image.number,
            index=-1,
            settings=stamp.settings,
            certainty=stamp.certainty,
            t_start_ns=t_start_ns,
            t_end_ns=t_end_ns,
            t_received_ns=image.t_received_ns,
        )

    def _exposed(self, image: Image) -> tuple[int, int]:
        """Start and end of the exposure: the camera's word, else reckoned back from the arrival in the core.

        The core stamps arrivals in ms since a moment that we do not know; the smallest (received - stamp) of the epoch
        is the closest to it, since a frame can be taken late but never early.
        """
        if image.t_start_ns is not None and image.t_end_ns is not None:
            return image.t_start_ns, image.t_end_ns
        arrived_ns = image.t_received_ns
        if image.elapsed_ms is not None:
            elapsed_ns = round(image.elapsed_ms * 1e6)
            origin_ns = min(arrived_ns - elapsed_ns, self._arrival_origin_ns or arrived_ns)
            self._arrival_origin_ns = origin_ns
            arrived_ns = origin_ns + elapsed_ns
        end_ns = arrived_ns - round(self._options.readout_ms * 1e6)
        return end_ns - round(self._stamper.exposure_at(end_ns) * 1e6), end_ns

    # ---------------------------------------------------------------- commands

    def apply(self, command: Command) -> Applied:
        """Carry out one command; frames exposed before its effect is confirmed are mixed.

        Raises:
            DeviceError: no such device, or it does not confirm.
            DeviceTimeout: it is still moving after ``move_timeout_s``.
            Refused: a light that ``dark`` overtook.
        """
        setting, t_called_ns = command.setting, self._clock.now_ns()
        certainty = Certainty.EXACT if setting in self._options.calibrated else Certainty.ASSUMED
        if isinstance(command, SetRoi):
            made_roi = SetRoi(self._while_stopped(lambda: self._set_roi(command.roi)))
            # a restart separates old frames from new ones: nothing is uncertain about it
            return Applied(command, made_roi, t_called_ns, self._clock.now_ns(), Certainty.EXACT)
        if isinstance(command, SetInterval):
            self._while_stopped(lambda: self._set_interval(command.interval_ms))
            return Applied(command, command, t_called_ns, self._clock.now_ns(), Certainty.EXACT)
        if isinstance(command, RunPlan | EndRun) or setting not in self._stamper.keys:  # plans go through run_plan
            known = ", ".join(self._stamper.keys)
            raise DeviceError("no such setting here", where=setting, allowed=known, remedy="name one of these")
        self._stamper.begin(setting, t_called_ns)
        try:
            made_true = self._carry_out(command)
        except (DeviceError, Refused):
            self._stamper.finish(setting, self._read_or_assume(setting), t_called_ns, self._clock.now_ns())
            raise
        t_effect_ns = self._clock.now_ns() + self._settling_ns(command)
        self._stamper.finish(setting, value_of(made_true), t_called_ns, t_effect_ns)
        return Applied(command, made_true, t_called_ns, t_effect_ns, certainty)

    def _carry_out(self, command: SetExposure | SetLight | Moving) -> Confirmed:
        if isinstance(command, SetLight):
            return self._actuators.set_light(command, self._stamper.now().lights_mw)
        if isinstance(command, SetExposure):
            if self.streaming and "exposure_ms" not in self._capabilities.live_settings:
                return self._while_stopped(lambda: self._set_exposure(command))
            return self._set_exposure(command)
        if isinstance(command, SetPreset) and self._restarts_camera(command):
            return self._while_stopped(lambda: self._actuators.carry_out(command))
        return self._actuators.carry_out(command)

    def _set_exposure(self, command: SetExposure) -> SetExposure:
        return SetExposure(self._camera.set_exposure(command.exposure_ms))

    def _set_roi(self, roi: Roi) -> Roi:
        made_true = self._camera.set_roi(roi)
        self._stamper.set_roi(made_true)
        return made_true

    def _set_interval(self, interval_ms: float) -> None:
        self._camera.interval_ms = interval_ms
        self._stamper.set_interval(interval_ms)

    def _restarts_camera(self, command: SetPreset) -> bool:
        known = command.preset in self._capabilities.presets.get(command.group, ())
        return known and self._roles.camera in devices_of(self._core, command.group, command.preset)

    def _while_stopped(self, change: Callable[[], T]) -> T:
        """Make a change that no running sequence survives: stop, drain, change, new ring, new epoch if it ran."""
        self._not_restarting.clear()  # whoever takes frames on another thread lets us in
        try:
            with self._camera_turn:
                was_streaming = self.streaming
                self._camera.stop()
                drained = list(iter(lambda: self._take(0.0), None))
                try:
                    return change()
                finally:
                    self._camera.fit_ring()
                    self._stamper.set_roi(self._camera.roi)
                    if was_streaming:
                        self._begin(self._epoch + 1)
                    self._kept.extend(drained)
        finally:
            self._not_restarting.set()

    def _read_or_assume(self, setting: str) -> object:
        """What is true after a failed command: the hardware's word, or the value before."""
        try:
            return self._camera.exposure_ms if setting == "exposure_ms" else self._actuators.read(setting)
        except DeviceError:
            return self._stamper.latest(setting)

    def _settling_ns(self, command: Command) -> int:
        if not isinstance(command, SetLight):
            return 0
        return next(
            round(light.settling_ms * 1e6) for light in self._setup.config.lights if light.name == command.light
        )

    def run_plan(self, events: Iterable[useq.MDAEvent], lights_mw: Mapping[str, float] = NO_LIGHTS) -> Iterator[Frame]:
        """Run a planned part in an epoch of its own, hardware-sequenced where possible; the settings return afterwards.

        Raises:
            DeviceError: the camera streams, or a device does not confirm; the light is off then.
        """
        if self.streaming:
            raise DeviceError("a plan needs the camera, which streams", where="run_plan", remedy="stop it first")
        self._epoch, self._arrival_origin_ns = self._epoch + 1, None
        core, camera, config = self._core, self._camera, self._setup.config
        plan = Plan(core, camera, self._clock, self.apply, self.settings, config.lights, self._free, self._slms)
        return (self._planned(planned) for planned in plan.run(events, lights_mw, self.dark))

    def _planned(self, planned: Planned) -> Frame:
        """A frame of a plan, with the settings of its step where the hardware went through a list by itself."""
        frame = self._frame(planned.image)
        if planned.settings is None:
            return replace(frame, settings=replace(frame.settings, pattern=planned.pattern))
        certainty = dict.fromkeys(frame.certainty, Certainty.ASSUMED)
        return replace(frame, settings=planned.settings, certainty=certainty)

    # ---------------------------------------------------------------- the end

    def dark(self, since_ns: int = 0) -> None:
        """Every light off, shutter closed; from any thread, as often as wanted.

        ``since_ns``: the lights went dark by themselves at that time; frames not yet taken are stamped so.

        Raises:
            DeviceError: a light or the shutter did not confirm.
        """
        t_called_ns = since_ns or self._clock.now_ns()
        lit = [f"light:{light}" for light, power_mw in self._stamper.now().lights_mw.items() if power_mw > 0]
        for setting in lit:
            self._stamper.begin(setting, t_called_ns)  # a frame taken while they go out must not claim their light
        self._actuators.dark()
        for setting in lit:
            self._stamper.finish(setting, 0.0, t_called_ns, self._clock.now_ns())

    def close(self) -> None:
        """Dark, stop, state of entry restored (lights excepted), core closed; harmless the second time.

        Raises:
            DeviceError: the light could not be confirmed off; the core is closed all the same.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        try:
            self.dark()
        finally:
            try:
                self.stop()
                self._entry.restore(self._core, self._roles, light_devices(self._setup.config.lights), self._clock)
            except DeviceError as error:
                log.warning("%s", error)
            finally:
                close_core(self._core)

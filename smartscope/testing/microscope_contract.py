"""What every driver must keep behind the ``Microscope`` port. Subclass and say how yours is made::

    class TestMine(MicroscopeContract):
        def make(self) -> Microscope:
            return MyMicroscope(MicroscopeSetup(config, self.clock, lights=None), port="COM3")

Each test opens and closes a microscope of its own. What a driver cannot do (its ``Capabilities`` say so) it must refuse
with DeviceError.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import useq

from smartscope.clock import LiveClock
from smartscope.command import (
    Command,
    EndRun,
    MoveFocus,
    MoveStage,
    RunAutofocus,
    RunPlan,
    SetExposure,
    SetInterval,
    SetLight,
    SetPreset,
    SetRoi,
)
from smartscope.errors import DeviceError
from smartscope.frame import Certainty, Frame, Roi, Settings
from smartscope.ports import Clock, Microscope

PATIENCE_S = 10.0
"""A frame that is longer in coming does not come."""
SOON = 10
"""A live change must show within so many frames."""


class MicroscopeContract:
    """Collected by pytest through a subclass named ``Test...``."""

    clock: Clock = LiveClock()
    """What ``make`` gives the driver; for a virtual clock override it with a property or fixture."""

    def make(self) -> Microscope:
        """A microscope as an experiment would open it, with lights that the driver switches itself."""
        raise NotImplementedError(f"{type(self).__name__}.make() must open the microscope under test")

    @contextmanager
    def opened(self) -> Iterator[Microscope]:
        """A microscope that is closed whatever happens."""
        microscope = self.make()
        try:
            yield microscope
        finally:
            microscope.close()

    def take(self, microscope: Microscope) -> Frame:
        """The next frame of a streaming microscope, whatever the clock."""
        if self.clock.virtual:
            self.clock.sleep((microscope.frame_due_ns() - self.clock.now_ns()) / 1e9)
        frame = microscope.next_frame(PATIENCE_S)
        assert frame is not None, "no frame came"
        return frame

    # ---------------------------------------------------------------- what it says of itself

    def test_says_what_it_is(self) -> None:
        """Capabilities and settings are complete and fit together."""
        with self.opened() as microscope:
            assert isinstance(microscope, Microscope)
            can, now = microscope.capabilities(), microscope.settings()
            height, width = can.sensor_shape
            assert can.exposure_range_ms[0] <= now.exposure_ms <= can.exposure_range_ms[1]
            assert now.roi == Roi(0, 0, width, height), "opens at full sensor"
            assert set(can.lights) <= set(now.lights_mw)
            assert not any(now.lights_mw.values()), "opens in the dark"
            assert can.has_xy or can.stage_affine is None

    # ---------------------------------------------------------------- frames

    def test_frames_are_numbered_stamped_and_owned(self) -> None:
        """Numbers rise from 0, times are in order, pixels are uint16 arrays of their own."""
        with self.opened() as microscope:
            microscope.start(3)
            frames = [self.take(microscope) for _ in range(4)]
            height, width = microscope.capabilities().sensor_shape
            assert [frame.number for frame in frames] == [0, 1, 2, 3]
            for frame in frames:
                assert frame.epoch == 3
                assert frame.pixels.shape == (height, width)
                assert frame.pixels.dtype == np.uint16
                assert frame.pixels.flags.c_contiguous
                assert frame.t_start_ns < frame.t_end_ns <= frame.t_received_ns <= self.clock.now_ns()
                assert (frame.t_end_ns - frame.t_start_ns) / 1e6 == pytest.approx(frame.settings.exposure_ms, rel=0.01)
            for one, other in itertools.pairwise(frames):
                assert not np.shares_memory(one.pixels, other.pixels)
                assert one.t_mid_ns < other.t_mid_ns

    def test_nothing_comes_unless_started(self) -> None:
        """None, at once, before the start; None after the stop once all frames are taken; both without raising."""
        with self.opened() as microscope:
            assert microscope.next_frame(0.01) is None
            microscope.start(0)
            self.take(microscope)
            microscope.stop()
            microscope.stop()
            for _ in range(10_000):
                if microscope.next_frame(0.0) is None:
                    break
            assert microscope.next_frame(0.01) is None

    def test_numbers_restart_with_the_epoch(self) -> None:
        """Each start counts from 0 again."""
        with self.opened() as microscope:
            for epoch in (0, 1):
                microscope.start(epoch)
                first, second = self.take(microscope), self.take(microscope)
                assert (first.epoch, first.number, second.number) == (epoch, 0, 1)
                microscope.stop()

    def test_started_twice_streams_once(self) -> None:
        """A second start is a new epoch, no error."""
        with self.opened() as microscope:
            microscope.start(0)
            microscope.start(1)
            frame = self.take(microscope)
            assert (frame.epoch, frame.number) == (1, 0)

    # ---------------------------------------------------------------- commands

    def test_exposure_shows_in_the_frames(self) -> None:
        """What ``apply`` made true is soon what frames say, and what ``settings`` says."""
        with self.opened() as microscope:
            low, high = microscope.capabilities().exposure_range_ms
            microscope.start(0)
            before = self.take(microscope).settings.exposure_ms
            applied = microscope.apply(SetExposure(min(max(low, before / 2), high)))
            assert isinstance(applied.made_true, SetExposure)
            assert applied.t_called_ns <= applied.t_effect_ns
            wanted_ms = applied.made_true.exposure_ms
            assert microscope.settings().exposure_ms == wanted_ms
            frame = self.soon(microscope, lambda f: f.settings.exposure_ms == wanted_ms and not f.mixed)
            assert wanted_ms == before or frame.t_end_ns > applied.t_called_ns

    def test_a_slow_camera_rests_between_exposures(self) -> None:
        """Exposures begin an interval apart, say so, and are numbered on; a change of mind brings none too early."""
        with self.opened() as microscope:
            interval_ms = 4 * microscope.settings().exposure_ms + 20
            if not microscope.capabilities().has_interval:
                with pytest.raises(DeviceError):
                    microscope.apply(SetInterval(interval_ms))
                return
            microscope.start(0)
            self.take(microscope)
            assert microscope.apply(SetInterval(interval_ms)).made_true == SetInterval(interval_ms)
            assert microscope.settings().interval_ms == interval_ms
            slow = [self.soon(microscope, lambda frame: frame.settings.interval_ms == interval_ms)]
            microscope.start(7)
            slow += [self.take(microscope), self.take(microscope)]
            assert [(frame.epoch, frame.number) for frame in slow[1:]] == [(7, 0), (7, 1)]
            for one, other in itertools.pairwise(slow):
                assert other.t_start_ns - one.t_start_ns > 0.5e6 * interval_ms  # a camera takes time to begin
                assert not other.mixed
            microscope.apply(SetInterval(0.0))
            quick = [self.soon(microscope, lambda frame: not frame.settings.interval_ms), self.take(microscope)]
            assert (quick[1].t_start_ns - quick[0].t_start_ns) / 1e6 < interval_ms

    def test_roi_restarts_the_camera(self) -> None:
        """Frames of the old region keep their epoch, those of the new one have the next, and its shape."""
        with self.opened() as microscope:
            height, width = microscope.capabilities().sensor_shape
            roi = Roi(width // 4 // 8 * 8, height // 4 // 8 * 8, width // 2 // 8 * 8, height // 2 // 8 * 8)
            microscope.start(5)
            self.take(microscope)
            applied = microscope.apply(SetRoi(roi))
            assert applied.made_true == SetRoi(roi)
            assert microscope.settings().roi == roi
            frame = self.soon(microscope, lambda f: f.epoch == 6)
            assert frame.pixels.shape == (roi.height, roi.width)
            assert frame.settings.roi == roi
            assert frame.number == 0
            assert self.take(microscope).number == 1

    def test_roi_while_stopped(self) -> None:
        """The grabber's way: stop, apply, start."""
        with self.opened() as microscope:
            microscope.apply(SetRoi(Roi(0, 0, 64, 32)))
            microscope.start(0)
            assert self.take(microscope).pixels.shape == (32, 64)

    @pytest.mark.parametrize(
        "roi", [Roi(-1, 0, 32, 32), Roi(0, 0, 100_000, 32), Roi(0, 1, 32, 100_000), Roi(0, 0, 0, 8)]
    )
    def test_roi_outside_the_sensor_is_refused(self, roi: Roi) -> None:
        """DeviceError, and the camera goes on."""
        with self.opened() as microscope:
            microscope.start(0)
            with pytest.raises(DeviceError, match="outside"):
                microscope.apply(SetRoi(roi))
            height, width = microscope.capabilities().sensor_shape
            assert self.take(microscope).pixels.shape == (height, width)

    def test_lights(self) -> None:
        """Each light obeys, shows in the frames, and is off after ``dark``; an unknown one is refused."""
        with self.opened() as microscope:
            lights = microscope.capabilities().lights
            microscope.start(0)
            for light in lights:
                applied = microscope.apply(SetLight(light, 1.0))
                assert microscope.settings().lights_mw[light] == pytest.approx(1.0, rel=0.1)
                frame = self.soon(microscope, partial(_shows, light))
                assert frame.t_start_ns >= applied.t_effect_ns
            microscope.dark()
            assert not any(microscope.settings().lights_mw[light] for light in lights)
            with pytest.raises(DeviceError):
                microscope.apply(SetLight("no_such_light", 1.0))

    def test_dark_from_any_thread_and_twice(self) -> None:
        """Also while the camera streams and frames are taken."""
        with self.opened() as microscope:
            microscope.start(0)
            for light in microscope.capabilities().lights:
                microscope.apply(SetLight(light, 1.0))
            threads = [threading.Thread(target=microscope.dark) for _ in range(2)]
            for thread in threads:
                thread.start()
            self.take(microscope)
            for thread in threads:
                thread.join()
            microscope.dark()
            assert not any(microscope.settings().lights_mw[light] for light in microscope.capabilities().lights)

    def test_what_moves_arrives_or_is_refused(self) -> None:
        """Stage, focus, autofocus and presets: settings follow, or DeviceError where there is no such device."""
        with self.opened() as microscope:
            can, now = microscope.capabilities(), microscope.settings()
            stage, focus = MoveStage(now.x_um + 3, now.y_um - 2), MoveFocus(now.z_um + 1)
            moves: list[tuple[Command, bool]] = [
                (stage, can.has_xy),
                (focus, can.has_z),
                (RunAutofocus(), can.has_autofocus),
            ]
            moves += [(SetPreset(group, presets[0]), True) for group, presets in can.presets.items()]
            moves += [(SetPreset("no such group", "none"), False), (RunPlan("by run_plan only", ()), False)]
            moves += [(EndRun(), False)]
            for command, possible in moves:
                if not possible:
                    with pytest.raises(DeviceError):
                        microscope.apply(command)
                    continue
                applied = microscope.apply(command)
                assert applied.asked == command
                assert applied.t_called_ns <= applied.t_effect_ns
                if command is stage:
                    reached = microscope.settings()
                    assert (reached.x_um, reached.y_um) == pytest.approx((stage.x_um, stage.y_um), abs=0.5)
                if command is focus:
                    assert microscope.settings().z_um == pytest.approx(focus.z_um, abs=0.5)

    def test_frames_during_a_move_are_mixed(self) -> None:
        """A frame whose exposure the move overlaps says so; one that began after it does not."""
        with self.opened() as microscope:
            if not microscope.capabilities().has_xy:
                pytest.skip("this microscope has no stage")
            microscope.start(0)
            self.take(microscope)
            applied = microscope.apply(MoveStage(microscope.settings().x_um + 5, microscope.settings().y_um))
            for _ in range(SOON):
                frame = self.take(microscope)
                overlaps = frame.t_start_ns < applied.t_effect_ns and frame.t_end_ns > applied.t_called_ns
                assert (frame.certainty.get("xy") is Certainty.MIXED) == overlaps

    # ---------------------------------------------------------------- plans and the end

    def test_a_plan_runs_and_leaves_no_trace(self) -> None:
        """Frames in the order of the events, through the same path; the settings are as before. Movies refuse."""
        with self.opened() as microscope:
            can, before = microscope.capabilities(), microscope.settings()
            events = [useq.MDAEvent(index={"t": t}, exposure=2.0 + t) for t in range(3)]
            if can.exposure_range_ms[0] == can.exposure_range_ms[1]:
                with pytest.raises(DeviceError):
                    next(iter(microscope.run_plan(events)))
                return
            frames = list(microscope.run_plan(events))
            assert [frame.number for frame in frames] == [0, 1, 2]
            assert [frame.settings.exposure_ms for frame in frames] == pytest.approx([2.0, 3.0, 4.0])
            assert _same(microscope.settings(), before)
            microscope.start(9)
            assert self.take(microscope).epoch == 9

    def test_a_plan_has_its_own_light(self) -> None:
        """Every frame of the plan carries the power that was asked for; afterwards it is as before."""
        with self.opened() as microscope:
            can = microscope.capabilities()
            if not can.lights or can.exposure_range_ms[0] == can.exposure_range_ms[1]:
                pytest.skip("no light, or no plans")
            light = can.lights[0]
            before_mw = microscope.apply(SetLight(light, 1.0)).made_true
            frames = list(microscope.run_plan([useq.MDAEvent(exposure=2.0)] * 2, {light: 2.0}))
            assert [frame.settings.lights_mw[light] for frame in frames] == pytest.approx([2.0, 2.0], rel=0.05)
            assert SetLight(light, microscope.settings().lights_mw[light]) == before_mw

    def test_a_plan_is_refused_while_streaming(self) -> None:
        """The camera has one owner."""
        with self.opened() as microscope:
            microscope.start(0)
            with pytest.raises(DeviceError):
                next(iter(microscope.run_plan([useq.MDAEvent()])))
            self.take(microscope)

    def test_close_twice(self) -> None:
        """Also while streaming, light on."""
        microscope = self.make()
        microscope.start(0)
        for light in microscope.capabilities().lights:
            microscope.apply(SetLight(light, 1.0))
        microscope.close()
        microscope.close()

    # ---------------------------------------------------------------- helpers

    def soon(self, microscope: Microscope, wanted: Callable[[Frame], bool]) -> Frame:
        """The first of the coming frames that satisfies ``wanted``."""
        for _ in range(SOON):
            if wanted(frame := self.take(microscope)):
                return frame
        raise AssertionError(f"not within {SOON} frames; the last: {frame.settings}, {dict(frame.certainty)}")


def _shows(light: str, frame: Frame) -> bool:
    """Whether the light was on, and steady, while the frame was exposed."""
    return frame.settings.lights_mw[light] > 0 and not frame.mixed


def _same(one: Settings, other: Settings) -> bool:
    """Equal but for what a stage cannot do better."""
    places = ((one.x_um, other.x_um), (one.y_um, other.y_um), (one.z_um, other.z_um))
    return all(abs(a - b) < 0.5 for a, b in places) and replace(one, x_um=0, y_um=0, z_um=0) == replace(
        other, x_um=0, y_um=0, z_um=0
    )

"""Only this file knows when the simulated camera exposes: back to back, live or when a virtual clock says so."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from pymmcore_plus.experimental.unicore import CameraDevice

from smartscope.errors import CameraStopped, DeviceError
from smartscope.frame import Roi
from smartscope.ports import whole_sensor
from smartscope_drivers.simulated.timeline import Timeline
from smartscope_drivers.simulated.world import World

EXPOSURE_RANGE_MS = (0.01, 10_000.0)
_FRAMES_IN_CAMERA = 2
_NAP_S = 0.05
"""A waiting camera looks so often whether it is still wanted."""


class SimulatedCamera(CameraDevice):
    """Camera of the simulated microscope; sCMOS or EMCCD as the calibration says."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._roi = whole_sensor(world.config.sensor)
        self._exposure_ms = Timeline(10.0)
        self._frames = itertools.count()
        self._sequence = 0
        self.set_property_limits("Exposure", EXPOSURE_RANGE_MS)

    def get_exposure(self) -> float:
        """Exposure in force, ms."""
        return self._exposure_ms.at(self._world.clock.now_ns())

    def set_exposure(self, exposure: float) -> None:
        """Expose all frames that begin from now on for so many ms.

        Raises:
            DeviceError: out of range.
        """
        low, high = EXPOSURE_RANGE_MS
        if not low <= exposure <= high:
            raise DeviceError(f"exposure {exposure} ms", where=self.get_label(), allowed=f"{low} to {high} ms")
        self._exposure_ms.set(self._world.clock.now_ns(), float(exposure))

    def shape(self) -> tuple[int, int]:
        """(H, W) of the region read out."""
        return self._roi.height, self._roi.width

    def dtype(self) -> DTypeLike:
        """Counts are uint16 whatever the bit depth."""
        return np.uint16

    def get_roi(self) -> tuple[int, int, int, int]:
        """(x, y, width, height), pixels."""
        return self._roi.x, self._roi.y, self._roi.width, self._roi.height

    def set_roi(self, x: int, y: int, width: int, height: int) -> None:
        """Read out this part of the sensor; sequences under way keep theirs.

        Raises:
            DeviceError: it does not lie on the sensor.
        """
        sensor_height, sensor_width = self._world.config.sensor
        if min(x, y) < 0 or min(width, height) < 1 or x + width > sensor_width or y + height > sensor_height:
            raise DeviceError(
                f"ROI x={x} y={y} {width}x{height}",
                where=self.get_label(),
                allowed=f"within {sensor_width}x{sensor_height}",
            )
        self._roi = Roi(x, y, width, height)

    def clear_roi(self) -> None:
        """Read out the whole sensor."""
        self._roi = whole_sensor(self._world.config.sensor)

    def get_readout_time(self) -> float:
        """Time between two exposures, ms."""
        return self._world.options.readout_ms

    def start_sequence(
        self, n: int | None, get_buffer: Callable[[Sequence[int], DTypeLike], np.ndarray[Any, Any]]
    ) -> Iterator[Mapping[str, str]]:
        """Expose ``n`` frames, or until nobody asks for more.

        Live, each frame is there when its exposure is over; on a virtual clock nothing waits, and the exposure is the
        one whose read-out ends now. ``CameraFrameNumber`` counts over the camera's whole life, lost frames included.

        Raises:
            CameraStopped: a single frame was asked for after the camera was told to die.
            DeviceError: the camera was told to fail at this frame.
        """
        self._sequence += 1
        return self._exposures(n, get_buffer, self._sequence, self._roi)

    def _exposures(
        self,
        n: int | None,
        get_buffer: Callable[[Sequence[int], DTypeLike], np.ndarray[Any, Any]],
        sequence: int,
        roi: Roi,
    ) -> Iterator[Mapping[str, str]]:
        faults = self._world.faults
        ready_ns = self._world.clock.now_ns()
        delivered = 0
        while n is None or delivered < n:
            start_ns, end_ns = self._next_exposure(ready_ns)
            self._world.exposure_begins(start_ns)
            if not self._wait(end_ns, sequence):
                return
            ready_ns = end_ns + self._readout_ns
            number = next(self._frames)
            if faults.sequence_ends(number):
                if n == 1:
                    raise CameraStopped("the simulated camera was told to die", where=self.get_label())
                return
            faults.call("camera")
            if not faults.frame(number):
                if self._world.clock.virtual:  # a lost frame takes its time as well
                    self._world.clock.sleep((end_ns - start_ns + self._readout_ns) / 1e9)
                continue
            buffer = get_buffer((roi.height, roi.width), np.uint16)
            self._world.render(buffer, roi, start_ns, end_ns, number)
            delivered += 1
            yield {
                "CameraFrameNumber": str(number),
                "ExposureStart-ns": str(start_ns),
                "ExposureEnd-ns": str(end_ns),
                "Exposure-ms": str((end_ns - start_ns) / 1e6),
            }

    @property
    def _readout_ns(self) -> int:
        return round(self._world.options.readout_ms * 1e6)

    def _exposure_ns(self, t_ns: int) -> int:
        return round(self._exposure_ms.at(t_ns) * 1e6)

    def _next_exposure(self, ready_ns: int) -> tuple[int, int]:
        """Start and end of the next exposure, by the exposure time in force at its start."""
        now_ns, t0_ns = self._world.clock.now_ns(), self._world.t0_ns
        if self._world.clock.virtual:
            end_ns = max(now_ns - self._readout_ns, t0_ns)
            return max(end_ns - self._exposure_ns(now_ns), t0_ns), end_ns
        # Drawing the frame before takes its time, during which a camera goes on exposing; what it may be behind is what
        # a camera's own memory holds, beyond that it misses a turn and begins now.
        start_ns = ready_ns if now_ns < ready_ns + _FRAMES_IN_CAMERA * self._exposure_ns(ready_ns) else now_ns
        return start_ns, start_ns + self._exposure_ns(start_ns)

    def _wait(self, t_ns: int, sequence: int) -> bool:
        """Wait until ``t_ns`` on a live clock; whether the frame is still wanted then."""
        world = self._world
        while not world.clock.virtual and (left_ns := t_ns - world.clock.now_ns()) > 0:
            if world.closing.is_set() or sequence != self._sequence:
                return False
            world.clock.sleep(min(left_ns / 1e9, _NAP_S))
        return not world.closing.is_set() and sequence == self._sequence

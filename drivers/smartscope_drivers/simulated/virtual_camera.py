"""The simulated camera on a virtual clock: no sequence, no thread, no waiting; exposures are drawn when due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pymmcore_plus import CMMCorePlus

from smartscope.errors import CameraStopped, DeviceError
from smartscope.ports import Clock
from smartscope_drivers.core_camera import CoreCamera, Image
from smartscope_drivers.simulated.devices import SimulatedCamera


class VirtualCamera(CoreCamera):
    """Asks the device itself for each frame: a snap through the core would drop what the frame says about itself."""

    def __init__(self, core: CMMCorePlus, label: str, clock: Clock, ring_mb: float, device: SimulatedCamera) -> None:
        super().__init__(core, label, clock, ring_mb)
        self._device = device
        self._next_counted = self._counter_offset = 0
        self._exposing_since_ns, self._exposing_ms = 0, 0.0

    def start(self) -> None:
        """Expose from now on, or when the next turn comes."""
        self.start_burst(0)

    def start_burst(self, frames: int) -> None:
        """Expose from now on; plans on a virtual clock snap, so the count never matters."""
        self._streaming = True
        self.count_from(0)
        self._expose_from(self._clock.now_ns())

    def stop(self) -> None:
        """Stop; the exposure under way is lost, but has been."""
        if self._streaming and self._clock.now_ns() > self._exposing_since_ns:
            self._begun_ns = self._exposing_since_ns
        self._streaming = False

    def due_ns(self) -> int:
        """End of the exposure under way, and its read-out."""
        return self._exposing_since_ns + round((self._exposing_ms + self._device.get_readout_time()) * 1e6)

    def next_image(self, timeout_s: float) -> Image | None:
        """The image that is due; None if none is.

        Raises:
            CameraStopped: the camera was told to fail.
        """
        if not self._streaming or self._clock.now_ns() < self.due_ns():
            return None
        image = self._drawn(self._exposing_ms)
        self._begun_ns = self._exposing_since_ns
        self._expose_from(self._clock.now_ns())
        return image

    def snap(self) -> Image:
        """Let the exposure pass, and draw it."""
        exposure_ms = self.exposure_ms
        self._clock.sleep((exposure_ms + self._device.get_readout_time()) / 1e3)
        return self._drawn(exposure_ms)

    @property
    def numbered(self) -> int:
        """Number of the next frame, unless frames are lost before it."""
        return self._next_counted - self._counter_offset

    def count_from(self, number: int) -> None:
        """Let the next frame have this number."""
        self._counter_offset = self._next_counted - number

    def _expose_from(self, t_ns: int) -> None:
        """An exposure begins, and keeps its length whatever is set meanwhile."""
        self._exposing_since_ns, self._exposing_ms = self.turn_ns(t_ns), self.exposure_ms

    def _drawn(self, exposure_ms: float) -> Image:
        buffers: list[npt.NDArray[Any]] = []

        def buffer(shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
            buffers.append(np.empty(shape, dtype))
            return buffers[-1]

        set_ms = self.exposure_ms
        self.set_exposure(exposure_ms)  # the one that was set when this exposure began
        try:
            tags = next(iter(self._device.start_sequence(1, buffer)))
        except DeviceError as error:
            self._streaming = False
            raise CameraStopped(error.what, where=self.label, remedy="check cable and driver") from error
        finally:
            self.set_exposure(set_ms)
        counted = int(tags["CameraFrameNumber"])
        self._next_counted = counted + 1
        return Image(
            pixels=buffers[-1],
            number=counted - self._counter_offset,
            t_received_ns=self._clock.now_ns(),
            t_start_ns=int(tags["ExposureStart-ns"]),
            t_end_ns=int(tags["ExposureEnd-ns"]),
            exposure_ms=float(tags["Exposure-ms"]),
        )

"""How a Micro-Manager camera streams without losing a frame in silence: ring, start and stop, popping, death, snapping.

Streaming uses ``startSequenceAcquisition`` with a count that never comes and ``stopOnOverflow=True``. The other way,
``startContinuousSequenceAcquisition``, empties the whole ring when it is full and tells nobody; here the ring keeps the
frames it has, the camera stops, and the stop is reported as ``CameraStopped`` once the ring is empty.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pymmcore
from pymmcore_plus import CMMCorePlus

from smartscope.errors import CameraStopped, DeviceError
from smartscope.frame import Pixels, Roi
from smartscope.ports import Clock
from smartscope_drivers.core_tools import await_sequence_end, device_errors, sequence_thread, size_ring

ENDLESS = 2**31 - 1
"""Largest count of frames that fits a C++ long on Windows: 24 days at 1000 frames/s."""
POLL_S = 0.0005
"""Rest between two looks into an empty ring."""
LAST_FRAME_S = 5.0
"""A stopped sequence may take so long, beyond its exposure, to hand over its last frame."""
UNTOLD_RANGE_MS = (0.0, 60_000.0)
"""Exposures of a camera that does not tell its limits; the safety gate has its own."""
FRAME_COUNTER = "CameraFrameNumber"
"""Tag of cameras that count their frames themselves, which shows frames lost before the core."""

TIME_TAGS = ("ElapsedTime-ms", "ExposureStart-ns", "ExposureEnd-ns", "Exposure-ms")
"""Tags that say when and how long the camera exposed; ``-ns`` on the run's clock."""


@dataclass(frozen=True, slots=True)
class Image:
    """What the core hands over for one frame; None where this camera does not say."""

    pixels: Pixels
    number: int
    t_received_ns: int
    elapsed_ms: float | None = None
    """Core's time of arrival since the sequence started."""
    t_start_ns: int | None = None
    t_end_ns: int | None = None
    exposure_ms: float | None = None


class CoreCamera:
    """The camera of one core. Belongs to the grabber's thread; ``set_exposure`` alone may come from another."""

    def __init__(self, core: CMMCorePlus, label: str, clock: Clock, ring_mb: float) -> None:
        """Take the camera over at full sensor.

        Raises:
            DeviceError: a colour or 32-bit camera, or the core refuses.
        """
        self._core, self.label, self._clock, self._ring_mb = core, label, clock, ring_mb
        self._streaming = self._by_turns = self._exposing = False
        self._begun_ns: int | None = None
        self._thread: threading.Thread | None = None
        """Of the last sequence of a Python camera; it may still be about to end."""
        self._number = 0
        self.interval_ms = 0.0
        """From the start of one exposure to the next, changed while it stands still only; 0: back to back."""
        self._keys: dict[str, str] = {}
        self._counter_offset = 0
        with device_errors("opening", label):
            core.setCameraDevice(label)
            core.clearROI()
            if core.getNumberOfComponents() != 1 or core.getBytesPerPixel() > 2:
                raise DeviceError(
                    f"{core.getNumberOfComponents()} components of {core.getBytesPerPixel()} bytes per pixel",
                    where=label,
                    allowed="one component, 8 to 16 bit",
                    remedy="set the camera's PixelType to 8bit or 16bit in the .cfg",
                )
            self.sensor_shape = core.getImageHeight() * self.binning, core.getImageWidth() * self.binning
            self.bit_depth = int(core.getImageBitDepth())
            self.ring_frames = size_ring(core, ring_mb)

    @property
    def binning(self) -> int:
        """Edge of the binned square, sensor pixels."""
        if not self._core.hasProperty(self.label, "Binning"):
            return 1
        return int(str(self._core.getProperty(self.label, "Binning")).split("x")[0])

    @property
    def streaming(self) -> bool:
        """Whether somebody started it and nobody stopped it; it may have died since."""
        return self._streaming

    @property
    def exposure_ms(self) -> float:
        """As the camera says."""
        with device_errors("reading the exposure", self.label):
            return float(self._core.getExposure(self.label))

    def set_exposure(self, exposure_ms: float) -> float:
        """Set, and return what the camera made of it."""
        with device_errors(f"setting an exposure of {exposure_ms:g} ms", self.label):
            self._core.setExposure(self.label, exposure_ms)
            return self.exposure_ms

    def exposure_range_ms(self) -> tuple[float, float]:
        """Shortest and longest exposure, as far as the camera tells."""
        core, label = self._core, self.label
        with device_errors("reading the exposure limits", label):
            if not core.hasProperty(label, "Exposure") or not core.hasPropertyLimits(label, "Exposure"):
                return UNTOLD_RANGE_MS
            return core.getPropertyLowerLimit(label, "Exposure"), core.getPropertyUpperLimit(label, "Exposure")

    def accepts_live_exposure(self) -> bool:
        """Change the exposure of a running sequence: it must read back, and the sequence must live on."""
        before_ms = self.exposure_ms
        other_ms = before_ms * 1.25
        self.start()
        try:
            changed_ms = self.set_exposure(other_ms)
            came = self.next_image(2.0 + 4 * before_ms / 1e3) is not None
            return came and self._core.isSequenceRunning(self.label) and abs(changed_ms - other_ms) < 0.05 * before_ms
        except DeviceError:
            return False
        finally:
            self.stop()
            self.set_exposure(before_ms)

    @property
    def roi(self) -> Roi:
        """Part of the sensor that is read out, in unbinned pixels."""
        x, y, width, height = (int(v) * self.binning for v in self._core.getROI(self.label))
        return Roi(x, y, width, height)

    def set_roi(self, roi: Roi) -> Roi:
        """Set, and return what the camera made of it; only while it stands still, and ``fit_ring`` after it.

        Raises:
            DeviceError: outside the sensor, or refused.
        """
        height, width = self.sensor_shape
        if (
            min(roi.x, roi.y) < 0
            or min(roi.width, roi.height) < 1
            or roi.x + roi.width > width
            or roi.y + roi.height > height
        ):
            raise DeviceError(
                f"ROI x {roi.x}+{roi.width}, y {roi.y}+{roi.height} reaches outside the sensor",
                where=self.label,
                allowed=f"within {width} x {height} pixels",
                remedy="shrink or move it",
            )
        with device_errors(f"setting {roi}", self.label):
            self._core.clearROI()
            if (roi.width, roi.height) != (width, height):
                self._core.setROI(self.label, *(v // self.binning for v in (roi.x, roi.y, roi.width, roi.height)))
            return self.roi

    # ---------------------------------------------------------------- streaming

    def start(self) -> None:
        """Stream; numbers begin at 0, frames that were not taken are gone. A rest that is not over goes on."""
        if not self.interval_ms:
            self.start_burst(ENDLESS)
            return
        self._streaming, self._by_turns, self._exposing = True, True, False
        self.count_from(0)

    def start_burst(self, frames: int) -> None:
        """The same, back to back, but the camera stops by itself after so many frames."""
        self._by_turns = False
        self._begin(frames)

    def _begin(self, frames: int) -> None:
        self._keys = {}
        self._await_end()
        with device_errors("starting the sequence", self.label):
            # the core does not do this itself when the camera is named
            self._core.initializeCircularBuffer()
            self._core.startSequenceAcquisition(self.label, frames, 0.0, True)
        self._thread = sequence_thread(self._core)
        self._streaming = True

    def stop(self) -> None:
        """Stop; frames in the ring can still be taken. Lasts up to one exposure.

        Raises:
            DeviceTimeout: a Python camera's last frame does not come.
        """
        if self._streaming:
            self._streaming = False
            if self._resting:
                return
            with device_errors("stopping the sequence", self.label):
                self._core.stopSequenceAcquisition(self.label)
            self._await_end()

    def _await_end(self) -> None:
        """Two sequences of one camera must never overlap: neither may the end of one and the start of the next."""
        if self._thread is not None:
            await_sequence_end(self._thread, self.label, LAST_FRAME_S + self.exposure_ms / 1e3)
            self._thread = None

    def fit_ring(self) -> None:
        """Size the ring to the frames as they are now; after every change of ROI or binning, before the next start."""
        with device_errors("sizing the ring", self.label):
            self.ring_frames = size_ring(self._core, self._ring_mb)

    def next_image(self, timeout_s: float) -> Image | None:
        """The oldest image not taken yet, None if none came in time or the camera was stopped and the ring is empty.

        Raises:
            CameraStopped: the sequence ended and nobody asked for it.
            DeviceError: pixels and metadata disagree.
        """
        deadline = time.perf_counter() + timeout_s
        while True:
            self._expose_in_turn()
            alive = not self._streaming or self._resting or self._core.isSequenceRunning(self.label)
            if self._core.getRemainingImageCount() > 0:
                if (image := self._pop()) is not None:
                    return self._in_turn(image) if self._by_turns else image
            elif not alive:
                raise self._death()
            if not self._streaming or time.perf_counter() >= deadline:
                return None
            time.sleep(POLL_S)

    @property
    def _resting(self) -> bool:
        """Whether it waits for the turn of its next exposure."""
        return self._by_turns and not self._exposing

    def _expose_in_turn(self) -> None:
        """Begin the next exposure of a slow sequence when it is due: a sequence of one frame."""
        now_ns = self._clock.now_ns()
        if self._streaming and self._resting and now_ns >= self.turn_ns(now_ns):
            self._begin(1)
            self._exposing, self._begun_ns = True, now_ns

    def turn_ns(self, now_ns: int) -> int:
        """When the next exposure of a slow sequence may begin."""
        return now_ns if self._begun_ns is None else max(now_ns, self._begun_ns + round(self.interval_ms * 1e6))

    def _in_turn(self, image: Image) -> Image:
        """The frame of a sequence of one, numbered on; the core's time of arrival counts from a start of its own."""
        self._exposing, number = False, self._number
        self._number += 1
        return replace(image, number=number, elapsed_ms=None)

    def _pop(self) -> Image | None:
        """Take one image; None when the ring was emptied since it was counted (an overflow clears it)."""
        tags = pymmcore.Metadata()
        try:
            pixels = self._core.popNextImageMD(tags)
        except (RuntimeError, IndexError):
            return None
        t_ns = self._clock.now_ns()
        shape = int(tags.GetSingleTag("Height").GetValue()), int(tags.GetSingleTag("Width").GetValue())
        if pixels.shape != shape:
            # the core copies with the camera's present size, not with the frame's own
            raise DeviceError(
                f"frame of {pixels.shape} whose metadata says {shape}",
                where=self.label,
                remedy="let nothing else change ROI or binning while the camera streams",
            )
        return self._image(pixels, tags, t_ns)

    def _image(self, pixels: npt.NDArray[np.generic], tags: pymmcore.Metadata, t_ns: int) -> Image:
        if not self._keys:
            self._learn_keys(tags)

        def value(name: str) -> str | None:
            key = self._keys[name]
            return str(tags.GetSingleTag(key).GetValue()) if key else None

        number = int(tags.GetSingleTag("ImageNumber").GetValue())
        if (counted := value(FRAME_COUNTER)) is not None:
            number = int(counted) - self._counter_offset
        elapsed, start, end, exposure = map(value, TIME_TAGS)
        return Image(
            pixels=as_uint16(pixels),
            number=number,
            t_received_ns=t_ns,
            elapsed_ms=float(elapsed) if elapsed else None,
            t_start_ns=int(start) if start else None,
            t_end_ns=int(end) if end else None,
            exposure_ms=float(exposure) if exposure else None,
        )

    def _learn_keys(self, tags: pymmcore.Metadata) -> None:
        """Which tags this camera sends, once per start; a device's own may stand behind its label."""
        sent = tags.GetKeys()
        for name in (FRAME_COUNTER, *TIME_TAGS):
            self._keys[name] = next((key for key in sent if key == name or key.endswith(f"-{name}")), "")
        if key := self._keys[FRAME_COUNTER]:
            # a camera's own counter need not restart with the sequence
            first, image_number = (int(tags.GetSingleTag(k).GetValue()) for k in (key, "ImageNumber"))
            self._counter_offset = first - image_number

    def _death(self) -> CameraStopped:
        self._streaming = False
        if self._core.isBufferOverflowed():
            return CameraStopped(
                f"its ring of {self.ring_frames} frames overflowed; what was in it was handed out, the rest is lost",
                where=self.label,
                remedy="raise ring_mb, or free the processor: something held the grabber up",
            )
        return CameraStopped(
            "the sequence ended by itself",
            where=self.label,
            remedy="check cable and driver; see the log for the adapter's words",
        )

    def due_ns(self) -> int:
        """When the next frame will be in hand; of a live camera nobody knows, so: now."""
        return self._clock.now_ns()

    # ---------------------------------------------------------------- single images

    def snap(self) -> Image:
        """One image outside any sequence, numbered on from the last."""
        with device_errors("snapping", self.label):
            exposure_ns = round(self.exposure_ms * 1e6)
            self._core.snapImage()
            end_ns = self._clock.now_ns()
            pixels = self._core.getImage()
        image = Image(as_uint16(pixels), self._number, self._clock.now_ns(), None, end_ns - exposure_ns, end_ns)
        self._number += 1
        return image

    @property
    def numbered(self) -> int:
        """Number that the next snapped image gets."""
        return self._number

    def count_from(self, number: int) -> None:
        """Let the next snapped image have this number."""
        self._number = number


def as_uint16(pixels: npt.NDArray[np.generic]) -> Pixels:
    """The same array, or an 8-bit camera's pixels widened."""
    return pixels.astype(np.uint16, copy=False)

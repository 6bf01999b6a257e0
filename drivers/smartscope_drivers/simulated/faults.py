"""Only this file knows how the simulated devices can be told to misbehave, and when it is time to."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Annotated, Literal

from pydantic import Field

from smartscope.config import Positive, Section
from smartscope.errors import DeviceError
from smartscope.ports import Clock

Device = Literal["camera", "light", "stage", "focus"]
Count = Annotated[int, Field(ge=0)]


class BlockedCall(Section):
    """One call that takes far too long, counted by the device's own calls or by camera frames."""

    device: Device
    for_ms: Positive
    at_call: Count | None = None
    """The n-th call of this device, from 0 (a camera's calls are its frames)."""
    after_frame: Count | None = None
    """The first call once the camera has exposed so many frames."""


class FaultOptions(Section):
    """What goes wrong, and when; nothing by default. Frames are counted from 0 over the camera's whole life."""

    block: tuple[BlockedCall, ...] = ()
    lose_every: Annotated[int, Field(ge=2)] | None = None
    """Every n-th frame is exposed and numbered but never delivered."""
    lose_frames: frozenset[Count] = frozenset()
    stop_after_frame: Count | None = None
    """The camera's sequence ends by itself once this frame is delivered."""
    raise_at_frame: Count | None = None
    """The camera raises instead of delivering this frame."""
    stall_stage_at_call: Count | None = None
    """This move of the XY stage gets half-way and stays busy for ever."""
    autofocus_fails: bool = False


class Faults:
    """Counts calls and lets the chosen ones misbehave; one object for all devices of a world, for any thread."""

    def __init__(self, options: FaultOptions, clock: Clock) -> None:
        self.options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: Counter[str] = Counter()
        self._done: set[int] = set()
        self._released = threading.Event()
        self._frames = 0

    def call(self, device: Device) -> int:
        """Note a call of ``device``, block if it is meant to, and return its number."""
        with self._lock:
            number = self._calls[device]
            self._calls[device] += 1
            block_ms = sum(self._claim(device, number))
        if block_ms:
            self.block(block_ms)
        return number

    def _claim(self, device: Device, number: int) -> list[float]:
        """Durations of the blocks that this call takes upon itself; each strikes once."""
        struck = []
        for place, block in enumerate(self.options.block):
            due = block.at_call == number or (block.after_frame is not None and self._frames > block.after_frame)
            if block.device == device and due and place not in self._done:
                self._done.add(place)
                struck.append(block.for_ms)
        return struck

    def block(self, for_ms: float) -> None:
        """Wait so long, or until ``release``."""
        if self._clock.virtual:
            self._clock.sleep(for_ms / 1e3)
        else:
            self._released.wait(for_ms / 1e3)

    def release(self) -> None:
        """Let all blocked calls go, now and later: the world closes."""
        self._released.set()

    def frame(self, number: int) -> bool:
        """Note that the camera exposed frame ``number``; whether it is delivered.

        Raises:
            DeviceError: this is the frame at which the camera was told to fail.
        """
        with self._lock:
            self._frames = number + 1
        if number == self.options.raise_at_frame:
            raise DeviceError(f"the simulated camera was told to fail at frame {number}")
        every = self.options.lose_every
        return number not in self.options.lose_frames and not (every and number % every == every - 1)

    def sequence_ends(self, number: int) -> bool:
        """Whether the camera's sequence dies before frame ``number``."""
        last = self.options.stop_after_frame
        return last is not None and number > last

    def stage_stalls(self, call: int) -> bool:
        """Whether this move of the XY stage never arrives."""
        return call == self.options.stall_stage_at_call

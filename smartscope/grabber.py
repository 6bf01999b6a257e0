"""Who owns the camera: takes every frame, counts the missing, hands it on by reference, and lends the camera out."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from smartscope.errors import DeviceTimeout
from smartscope.frame import Certainty, Frame
from smartscope.mailbox import NewestOfEach, NewestWins
from smartscope.ports import Clock, Microscope

MOVIE_ENDED = "the movie has ended"
Window = tuple[Frame, ...]
"""Frames of one epoch, oldest first."""


def windows() -> NewestWins[Window]:
    """Where windows wait for the models: the newest of each epoch, so that a planned part's end is not passed over."""
    return NewestOfEach(lambda window: window[-1].epoch)


"""A frame with as much of its past as the models asked for; oldest first."""
Sink = Callable[[Frame], None]
"""Takes a frame by reference; must neither block nor write to its pixels."""


@dataclass(frozen=True, slots=True)
class GrabberStatistics:
    """What came from the camera in this run."""

    received: int
    lost: int
    epochs: int


def no_doubt(t_start_ns: int, t_end_ns: int) -> bool:
    """Nobody but us switches the lights, so what we know of them is true."""
    return False


class Grabber:
    """One step takes one frame; the live run steps in a thread of its own, the virtual run at each due frame.

    ``in_doubt`` says of an exposure whether the lights may have gone dark meanwhile without our doing (a lapsed lease).
    """

    def __init__(
        self,
        microscope: Microscope,
        clock: Clock,
        sinks: Sequence[Sink],
        mailbox: NewestWins[Window],
        *,
        history: int = 0,
        frame_timeout_s: float = 2.0,
        frames: int | None = None,
        in_doubt: Callable[[int, int], bool] = no_doubt,
    ) -> None:
        self._microscope, self._clock, self._sinks, self._mailbox = microscope, clock, tuple(sinks), mailbox
        self._past: deque[Frame] = deque(maxlen=history + 1)
        self._frames, self._in_doubt = frames, in_doubt
        self._timeout_ns = round(frame_timeout_s * 1e9)
        self._loans: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._epoch, self._next_number, self._received, self._lost = -1, 0, 0, 0
        self._last_frame_ns = 0

    @property
    def finished(self) -> str:
        """Why no further frame will be taken: all that were planned are there, or the movie has ended; else empty."""
        if self._frames is not None and self._received >= self._frames:
            return f"{self._frames} frames"
        return MOVIE_ENDED if self._microscope.exhausted() else ""

    def open_epoch(self) -> None:
        """Start the camera; image numbers restart, and the past of the models is forgotten."""
        self._epoch += 1
        self._next_number = 0
        self._past.clear()
        self._microscope.start(self._epoch)
        self._last_frame_ns = self._clock.now_ns()

    def step(self, timeout_s: float) -> Frame | None:
        """Serve waiting loans, then take one frame if one comes in time.

        Raises:
            DeviceTimeout: the camera has been silent for longer than an exposure and ``frame_timeout_s``.
            CameraStopped: the sequence has died.
        """
        self._serve_loans()
        if self.finished:
            return None
        frame = self._microscope.next_frame(timeout_s)
        if frame is None:
            self._check_silence()
            return None
        return self.receive(frame)

    def receive(self, frame: Frame) -> Frame:
        """Number the frame, count what is missing before it, and hand it on."""
        if frame.epoch != self._epoch:
            self._epoch, self._next_number = frame.epoch, 0
            self._past.clear()
        lost = max(0, frame.number - self._next_number)
        self._next_number = frame.number + 1
        frame = replace(frame, index=self._received, lost_before=lost)
        if self._in_doubt(frame.t_start_ns, frame.t_end_ns):
            frame = _with_doubtful_light(frame)
        self._received += 1
        self._lost += lost
        self._last_frame_ns = self._clock.now_ns()
        for sink in self._sinks:
            sink(frame)
        self._past.append(frame)
        self._mailbox.put(tuple(self._past))
        return frame

    @property
    def lending(self) -> bool:
        """Whether the next step will lend the camera out, which takes as long as the borrower needs."""
        return not self._loans.empty()

    def borrow(self, use: Callable[[], Any]) -> Future[Any]:
        """Ask for the camera: ``use`` runs on the grabber's thread between two frames; a restart opens an epoch."""
        future: Future[Any] = Future()
        self._loans.put((use, future))
        return future

    def restart_around(self, use: Callable[[], Any]) -> Any:
        """Stop and drain the camera, run ``use``, start a new epoch: for settings that cannot change live."""
        self._microscope.stop()
        while not self.finished and (frame := self._microscope.next_frame(0.0)) is not None:
            self.receive(frame)
        try:
            return use()
        finally:
            self.open_epoch()

    def _serve_loans(self) -> None:
        while not self._loans.empty():
            use, future = self._loans.get()
            try:
                future.set_result(self.restart_around(use))
            except Exception as error:
                future.set_exception(error)

    def _check_silence(self) -> None:
        settings = self._microscope.settings()
        silent_ns = self._clock.now_ns() - self._last_frame_ns
        allowed_ns = self._timeout_ns + round((settings.exposure_ms + settings.interval_ms) * 1e6)
        if silent_ns > allowed_ns and not self._microscope.exhausted():
            raise DeviceTimeout(
                f"no frame for {silent_ns / 1e9:.1f} s",
                where="camera",
                allowed=f"{allowed_ns / 1e9:.1f} s (exposure + interval + frame_timeout_s)",
                remedy="check cable, trigger mode and exposure; raise frame_timeout_s for a triggered camera",
            )

    def now_ns(self) -> int:
        """Time on the run's clock."""
        return self._clock.now_ns()

    def statistics(self) -> GrabberStatistics:
        """Counts so far."""
        return GrabberStatistics(self._received, self._lost, self._epoch + 1)


def _with_doubtful_light(frame: Frame) -> Frame:
    """The frame, saying of no light that it is sure."""
    doubtful = {f"light:{name}": Certainty.MIXED for name in frame.settings.lights_mw}
    return replace(frame, certainty={**frame.certainty, **doubtful})

"""The recorder as the loop sees it: hand over and go on; one thread writes, and its failure becomes a fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from smartscope.config import RecorderConfig
from smartscope.decision import Decision
from smartscope.errors import RecorderError
from smartscope.frame import Frame
from smartscope.mailbox import BoundedQueue
from smartscope.ports import Clock
from smartscope.recorder.folder import RUN, RunFolder, check_space, iso
from smartscope.recorder.image_stack import ImageStack
from smartscope.recorder.rows import without_image, without_pixels
from smartscope.recorder.stack_log import OpenStack
from smartscope.recorder.tables import Affine, Geometry
from smartscope.recorder.writer import EventItem, Item, ResultItem, RunWriter
from smartscope.result import Result

State = Literal["done", "stopped", "failed"]

_ROW_BYTES = 2000
_MOLECULE_BYTES = 60
_IDLE_S = 0.1
_SPACE_CHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class RecorderStatistics:
    """What was handed over and what is on disk."""

    frames_received: int
    frames_written: int
    """On disk and listed in frames.jsonl."""
    frames_lost: int
    """Refused, or given up after a fault; 0 in a run without one."""
    rows_lost: int
    """Results, decisions and events that were refused or that a failing disk did not take."""
    queue_fullness: float
    """0 (empty) to 1 (the next frame is a fault)."""
    bytes_written: int
    """Pixels of the frames written, before compression."""
    mb_per_s: float
    """The same in 1e6 bytes, averaged from the first frame until now or the end of writing."""


class Recorder:
    """Keeps a run. ``put_*`` cost the caller microseconds; a thread of its own writes.

    Frames are held by reference until they are on disk. On a live clock nothing here ever waits: a full queue is a
    fault. On a virtual clock, where no camera runs on meanwhile, ``put_frame`` and ``put_result`` wait for the disk.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RecorderConfig,
        pixel_size_um: float,
        clock: Clock,
        *,
        sensor_shape: tuple[int, int] | None = None,
        stage_affine: Affine | None = None,
        open_stack: OpenStack = ImageStack,
        drain_s: float = 120.0,
    ) -> None:
        """Open the files, note in run.json what the run's clock means, and start the thread.

        ``sensor_shape`` and ``stage_affine`` (as in ``Capabilities``) give tracks.csv its stage places; ``drain_s`` is
        how long ``finish`` waits for the disk.

        Raises:
            OSError: the folder is gone or cannot be written.
        """
        self._folder, self._config, self._clock, self._drain_s = folder, config, clock, drain_s
        self._geometry = Geometry(pixel_size_um, sensor_shape, stage_affine)
        self._queue: BoundedQueue[Item] = BoundedQueue(config.queue_mb * 1e6)
        self._closing, self._taken, self._lock = threading.Event(), threading.Event(), threading.Lock()
        self._fault: RecorderError | None = None
        self._received = self._refused = self._images = self._fine_images = self._rows_lost = 0
        self._began_s = self._ended_s = self._space_checked_s = 0.0
        kind = "virtual" if clock.virtual else "live"
        folder.update(clock=kind, clock_origin_ns=clock.now_ns(), started_at=iso(datetime.now()))
        self._writer = RunWriter(folder.path, config, self._geometry, open_stack)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> RecorderError | None:
        """Why the record is not complete; None while it is. The loop asks at every turn."""
        return self._fault

    def put_frame(self, frame: Frame) -> None:
        """Take a frame by reference; its pixels may never change again.

        Raises:
            RecorderError: the queue is full, or an earlier fault or ``finish`` has ended the record of frames.
        """
        self._received += 1
        self._began_s = self._began_s or time.monotonic()
        if self._fault is None and not self._closing.is_set():
            if self._offer(frame, frame.pixels.nbytes):
                return
            self._declare(
                RecorderError(
                    "frames come faster than the disk takes them",
                    where=str(self._folder.path),
                    allowed=f"{self._config.queue_mb:g} MB waiting (recorder.queue_mb)",
                    remedy="record to a faster disk, record fewer or smaller frames, or raise recorder.queue_mb",
                )
            )
        self._refused += 1
        # a new exception each time: a stored one would gather tracebacks, and with them frames
        raise RecorderError(self._fault.line() if self._fault else "the recorder is finished, a frame came after it")

    def put_result(self, result: Result, context_row: Mapping[str, Any] | None = None) -> None:
        """Take a result; of its images every n-th is kept. A refusal is a fault, not an exception."""
        image, fine = result.image, result.super_resolved
        if image is not None:
            every = self._config.processed_every
            if not every or self._images % every:
                image = None
            self._images += 1
        if fine is not None:
            every = self._config.super_resolved_every
            if not every or self._fine_images % every:
                fine = without_image(fine)
            self._fine_images += 1
        objects = len(result.detections or ()) + len(result.tracks or ()) + len(result.events or ())
        objects += 0 if result.settled is None else len(result.settled.tracks)
        weight = _ROW_BYTES + 40 * objects + (image.nbytes if image is not None else 0)
        weight += fine.image.nbytes if fine is not None else 0
        weight += _MOLECULE_BYTES * len(result.localizations or ())
        residual_map = None if image is None else result.residual_map
        frame = without_pixels(result.frame)
        slim = replace(result, frame=frame, image=image, residual_map=residual_map, super_resolved=fine)
        self._put_row(ResultItem(slim, context_row), weight)

    def put_decision(self, decision: Decision) -> None:
        """Take a decision."""
        # decisions and events weigh nothing: they are few, and a queue full of frames must not keep them out
        self._put_row(decision, 0)

    def put_event(self, kind: str, t_ns: int, **data: Any) -> None:
        """Take an event: epoch, alarm, lapse, fault, state or change of light, with anything that JSON can say."""
        self._put_row(EventItem({"t_ns": t_ns, "kind": kind, **data}), 0)

    def statistics(self) -> RecorderStatistics:
        """Counts so far; from any thread."""
        seconds = (self._ended_s or time.monotonic()) - self._began_s if self._began_s else 0.0
        written = self._writer.bytes_written
        return RecorderStatistics(
            frames_received=self._received,
            frames_written=self._writer.frames_written,
            frames_lost=self._refused + self._writer.frames_discarded,
            rows_lost=self._rows_lost,
            queue_fullness=self._queue.fullness,
            bytes_written=written,
            mb_per_s=written / 1e6 / seconds if seconds > 0 else 0.0,
        )

    def finish(self, state: State, error: str | None = None, summary: Mapping[str, Any] | None = None) -> None:
        """Write what waits, trim and close, complete run.json. Never raises; see ``fault``.

        A fault turns the state into ``failed``. A second call does nothing.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        self._queue.close()
        self._thread.join(self._drain_s)
        if self._thread.is_alive():
            self._declare(self._trouble(f"the disk did not take the rest within {self._drain_s:g} s"))
        self._ended_s = time.monotonic()
        try:
            self._complete(state, error, summary or {})
        except OSError as trouble:
            self._declare(self._trouble(str(trouble)))

    def _complete(self, state: State, error: str | None, summary: Mapping[str, Any]) -> None:
        if self._fault is not None:
            state, error = "failed", error or self._fault.line()
        self._folder.update(
            state=state,
            error=error,
            ended_at=iso(datetime.now()),
            summary=dict(summary),
            recorder=asdict(self.statistics()),
            tracks_um="stage" if self._geometry.on_stage else "sensor",
        )

    def _put_row(self, item: Item, weight: float) -> None:
        if self._closing.is_set() or not self._offer(item, weight):
            self._lose_row(self._trouble("a result, decision or event came when none could be taken any more"))

    def _offer(self, item: Item, weight: float) -> bool:
        while True:
            self._taken.clear()
            if self._queue.offer(item, weight):
                return True
            if not self._clock.virtual or not self._thread.is_alive():
                return False
            self._taken.wait(_IDLE_S)

    def _run(self) -> None:
        """The recorder's thread."""
        while self._step():
            pass
        try:
            self._writer.close()
        except Exception as trouble:
            self._fail(trouble)

    def _step(self) -> bool:
        """Write one item, or use the pause; False at the end. A function of its own, so that no local holds a frame."""
        closing = self._closing.is_set()  # asked first: what was put before ``finish`` is then still in the queue
        item = self._queue.take(0.0 if self._writer.busy else _IDLE_S)
        self._taken.set()
        if item is None and closing:
            return False
        try:
            if item is not None:
                self._writer.write(item)
            self._writer.tend(idle=item is None)
        except Exception as trouble:  # whatever it is, the record is no longer complete
            self._fail(trouble)
            if item is not None and not isinstance(item, Frame):
                self._lose_row(self._trouble(str(trouble)))
        self._check_space()
        return True

    def _check_space(self) -> None:
        now_s = time.monotonic()
        if self._fault is None and now_s - self._space_checked_s >= _SPACE_CHECK_S:
            self._space_checked_s = now_s
            try:
                # asked of run.json: a folder that was deleted would come back empty with the next chunk
                check_space(self._folder.path / RUN, self._config.min_free_gb)
            except RecorderError as trouble:
                self._declare(trouble)
            except OSError as trouble:
                self._fail(trouble)

    def _fail(self, trouble: Exception) -> None:
        self._declare(self._trouble(str(trouble)))
        self._writer.abandon()

    def _declare(self, fault: RecorderError) -> None:
        with self._lock:
            self._fault = self._fault or fault

    def _lose_row(self, fault: RecorderError) -> None:
        with self._lock:
            self._rows_lost += 1
            self._fault = self._fault or fault

    def _trouble(self, what: str) -> RecorderError:
        remedy = "make room or use another disk; what frames.jsonl lists is safe"
        return RecorderError(what, where=str(self._folder.path), remedy=remedy)

"""Where each thing of a run goes on disk; owned by the recorder's thread alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.config import RecorderConfig
from smartscope.decision import Decision
from smartscope.frame import Frame
from smartscope.recorder import folder as files
from smartscope.recorder.jsonl import JsonLinesWriter
from smartscope.recorder.rows import decision_to_row, frame_to_row, result_to_row, super_resolved_to_row
from smartscope.recorder.stack_log import OpenStack, StackLog
from smartscope.recorder.tables import Geometry, LocalizationTables
from smartscope.recorder.track_tables import TrackTables
from smartscope.result import Result


@dataclass(frozen=True, slots=True)
class ResultItem:
    """A result whose frame holds no pixels, and whose image is there only if it is to be kept."""

    result: Result
    context_row: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class EventItem:
    """A row of events.jsonl."""

    row: Mapping[str, Any]


Item = Frame | ResultItem | Decision | EventItem


class RunWriter:
    """The open files of one run. Any error of the disk comes out of the call that meets it first."""

    def __init__(self, run: Path, config: RecorderConfig, geometry: Geometry, open_stack: OpenStack) -> None:
        """Open every log; raises OSError when the folder is gone or cannot be written."""
        self._config = config
        self._abandoned = False
        self._flushed_s = time.monotonic()
        self._frame_rows = self._refused = 0
        with ExitStack() as stack:
            logs = (files.RESULTS, files.DECISIONS, files.EVENTS, files.FRAMES, files.PROCESSED, files.SUPER_RESOLVED)
            opened = [stack.enter_context(closing(JsonLinesWriter(run / name))) for name in logs]
            self._results, self._decisions, self._events, self._frame_log, processed_log, fine_log = opened
            now, settled, events = run / files.TRACKS, run / files.SETTLED_TRACKS, run / files.SPECIMEN_EVENTS
            self._tracks = TrackTables(now, settled, events, geometry)
            stack.callback(self._tracks.close)
            csv_copy = run / files.LOCALIZATIONS_CSV if config.localizations_csv else None
            self._molecules = LocalizationTables(run / files.LOCALIZATIONS, csv_copy, geometry.pixel_size_um * 1e3)
            stack.callback(self._molecules.close)
            self._files = stack.pop_all()
        pixel_size_um = geometry.pixel_size_um
        self._frames = StackLog(run, "frames", np.uint16, self._frame_log, config, pixel_size_um, open_stack)
        results = run / "results"
        self._processed = StackLog(results, "processed", np.float32, processed_log, config, pixel_size_um, open_stack)
        self._fine = StackLog(results, "super_resolved", np.float32, fine_log, config, pixel_size_um, open_stack)
        self._stacks = (self._frames, self._processed, self._fine)

    @property
    def frames_written(self) -> int:
        """Frames on disk and listed."""
        return self._frames.tally.listed + self._frame_rows

    @property
    def frames_discarded(self) -> int:
        """Frames given up because the disk failed."""
        return self._refused + (self._frames.tally.taken - self._frames.tally.listed if self._abandoned else 0)

    @property
    def bytes_written(self) -> int:
        """Pixels of these, before compression."""
        return self._frames.tally.listed_bytes

    @property
    def busy(self) -> bool:
        """Whether chunks are on their way to the disk."""
        return any(stack.busy for stack in self._stacks)

    def write(self, item: Item) -> None:
        """Put one item on its way; rows are on disk when this returns, images when they are listed."""
        match item:
            case Frame():
                self._write_frame(item)
            case ResultItem():
                self._write_result(item)
            case Decision():
                self._decisions.append(decision_to_row(item))
            case EventItem():
                self._events.append(item.row)

    def tend(self, *, idle: bool) -> None:
        """List what has arrived, and flush when ``flush_s`` has passed; ``idle``: there is time to wait for a chunk."""
        for stack in self._stacks:
            stack.settle(wait=idle)
        now_s = time.monotonic()  # the disk's rhythm is wall time also where the run's clock is virtual
        if now_s - self._flushed_s >= self._config.flush_s:
            for stack in self._stacks:
                stack.flush()
            self._flushed_s = now_s

    def abandon(self) -> None:
        """After an error: images not yet on disk are given up, further ones are discarded; rows are still tried."""
        self._abandoned = True
        for stack in self._stacks:
            stack.abandon()

    def close(self) -> None:
        """Flush, trim and close everything; each part is tried, and the first error comes out at the end."""
        with self._files as closing_last:
            for stack in reversed(self._stacks):
                closing_last.callback(stack.close)

    def _write_frame(self, frame: Frame) -> None:
        if self._abandoned:
            self._refused += 1
        elif self._config.frames:
            self._frames.add(frame.pixels, frame, frame_to_row(frame))
        else:
            self._frame_log.append({**frame_to_row(frame), "store": None, "plane": None})
            self._frame_rows += 1

    def _write_result(self, item: ResultItem) -> None:
        image, frame = item.result.image, item.result.frame
        if image is not None and not self._abandoned:
            left = item.result.residual_map
            row = {"frame": frame.index, "residual_map": None if left is None else left.astype(float).round(2).tolist()}
            self._processed.add(image, frame, row)
        fine = item.result.super_resolved
        if fine is not None and fine.image.size and not self._abandoned:
            self._fine.add(fine.image, frame, {"frame": frame.index, **super_resolved_to_row(fine)}, fine.scale)
        place = self._molecules.append(item.result)  # tables come before the row that vouches for them
        self._tracks.append(item.result)
        self._results.append(result_to_row(item.result, item.context_row, place))

"""Frames with noise in them, a recorder in a folder of its own, and image stacks that obey or fail on command."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from smartscope.clock import LiveClock
from smartscope.config import RecorderConfig
from smartscope.frame import Certainty, Frame, Pixels, Roi, Settings
from smartscope.recorder.folder import RunFolder
from smartscope.recorder.image_stack import ImageStack
from smartscope.recorder.recorder import Recorder

SHAPE = (24, 32)


def noise(index: int, shape: tuple[int, int] = SHAPE) -> Pixels:
    """Camera-like counts that depend on the index alone."""
    return np.random.default_rng(index).poisson(200, shape).astype(np.uint16)


def a_frame(index: int, shape: tuple[int, int] = SHAPE) -> Frame:
    """Frame ``index`` of a camera that exposes 9 of every 10 ms."""
    h, w = shape
    return Frame(
        pixels=noise(index, shape),
        epoch=1,
        number=index,
        index=index,
        settings=Settings(9.0, Roi(2, 1, w, h), {"laser": 0.1 * index}, x_um=5.0, y_um=-3.0),
        certainty={"exposure_ms": Certainty.EXACT},
        t_start_ns=index * 10_000_000,
        t_end_ns=index * 10_000_000 + 9_000_000,
        t_received_ns=index * 10_000_000 + 9_500_000,
    )


def config(**changes: Any) -> RecorderConfig:
    """Four planes of ``SHAPE`` to a chunk, whatever else is asked for, and no care for the size of the disk."""
    chunk_mb = 4 * SHAPE[0] * SHAPE[1] * 2 / 1e6
    return RecorderConfig(**{"chunk_mb": chunk_mb, "min_free_gb": 0.0, **changes})


@contextmanager
def recording(base: Path, settings: RecorderConfig | None = None, **options: Any) -> Iterator[Recorder]:
    """A recorder on ``base/run-…``, finished at the latest when the block ends."""
    folder = RunFolder.create(base, "run", datetime(2026, 1, 2, 3, 4, 5), min_free_gb=0.0)
    recorder = Recorder(folder, settings or config(), 0.1, options.pop("clock", LiveClock()), **options)
    try:
        yield recorder
    finally:
        recorder.finish("done")


def run_path(base: Path) -> Path:
    """Where ``recording`` writes."""
    return base / "run-20260102-030405"


class Write:
    """A write whose end the test decides."""

    def __init__(self, may_end: threading.Event, error: Exception | None = None) -> None:
        self._may_end, self._error = may_end, error

    def done(self) -> bool:
        return self._may_end.is_set()

    def result(self) -> None:
        self._may_end.wait()
        if self._error:
            raise self._error


class StubStack(ImageStack):
    """Keeps chunks in memory; writes end when ``may_end`` is set, the ``fails_at``-th of them with a full disk."""

    may_end: threading.Event
    fails_at: int | None

    def __init__(self, path: Path, *_: Any, **__: Any) -> None:
        self.path = path
        self.chunks: list[tuple[int, Any]] = []
        self.finished: tuple[int, float] | None = None

    def write(self, first_plane: int, chunk: Any, *, copy: bool = False) -> Write:
        self.chunks.append((first_plane, chunk.copy()))
        full = len(self.chunks) - 1 == self.fails_at
        return Write(self.may_end, OSError(28, "No space left on device") if full else None)

    def finish(self, n_planes: int, interval_s: float) -> None:
        self.finished = (n_planes, interval_s)


class StubDisk:
    """Opens ``StubStack`` objects and remembers them; ``release`` lets every write end."""

    def __init__(self, *, fails_at: int | None = None, held: bool = False) -> None:
        self.stacks: list[StubStack] = []
        self.opened, self.may_end = threading.Event(), threading.Event()
        self._fails_at = fails_at
        if not held:
            self.may_end.set()

    def __call__(self, *arguments: Any, **options: Any) -> StubStack:
        stack = StubStack(*arguments, **options)
        stack.may_end, stack.fails_at = self.may_end, self._fails_at
        self.stacks.append(stack)
        self.opened.set()
        return stack

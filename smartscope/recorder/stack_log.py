"""Which image stack a frame goes to (a new one with each change of shape), and how far its frames are apart in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartscope.config import RecorderConfig
from smartscope.frame import Frame
from smartscope.recorder.chunks import ChunkWriter, Image, Tally, planes_per_chunk
from smartscope.recorder.image_stack import ImageStack
from smartscope.recorder.jsonl import JsonLinesWriter

OpenStack = Callable[..., ImageStack]


class StackLog:
    """Images of one kind: ``STEM.ome.zarr``, after a change of shape ``STEM_1.ome.zarr`` and so on, and their rows."""

    def __init__(
        self,
        folder: Path,
        stem: str,
        dtype: npt.DTypeLike,
        log: JsonLinesWriter,
        config: RecorderConfig,
        pixel_size_um: float,
        open_stack: OpenStack = ImageStack,
    ) -> None:
        self.tally = Tally()
        self._folder, self._stem, self._dtype, self._log = folder, stem, np.dtype(dtype), log
        self._config, self._pixel_size_um, self._open_stack = config, pixel_size_um, open_stack
        self._stacks = 0
        self._store = ""
        self._current: ChunkWriter | None = None
        self._first_mid_ns = self._last_mid_ns = 0
        self._exposure_s = 0.0

    @property
    def busy(self) -> bool:
        """Whether chunks are under way."""
        return self._current is not None and self._current.busy

    def add(self, image: Image, frame: Frame, row: Mapping[str, Any], scale: int = 1) -> None:
        """Take an (H, W) image of ``frame``, ``scale`` times finer; its row gains ``store`` and ``plane``."""
        self.tally.taken += 1
        if self._current is None or image.shape != self._current.plane_shape:
            self.close()
            self._current = self._begin(image, frame, scale)
        self._last_mid_ns = frame.t_mid_ns
        self._current.add(image, {**row, "store": self._store, "plane": self._current.planes})

    def settle(self, *, wait: bool = False) -> None:
        """List what has arrived on disk; ``wait`` for the oldest chunk under way first."""
        if self._current is not None:
            self._current.settle(wait=wait)

    def flush(self) -> None:
        """Put everything taken so far on disk and list it."""
        if self._current is not None:
            self._current.flush()

    def abandon(self) -> None:
        """Give up every image that is not listed; ``close`` then cuts the stack before them."""
        if self._current is not None:
            self._current.abandon()

    def close(self) -> None:
        """Flush and cut the stack to its true length."""
        if self._current is not None:
            steps = self._current.planes - 1
            span_s = (self._last_mid_ns - self._first_mid_ns) / 1e9
            self._current.finish(span_s / steps if steps > 0 and span_s > 0 else self._exposure_s)
            self._current = None

    def _begin(self, image: Image, frame: Frame, scale: int) -> ChunkWriter:
        suffix = f"_{self._stacks}" if self._stacks else ""
        self._store = f"{self._stem}{suffix}.ome.zarr"
        self._stacks += 1
        self._first_mid_ns = frame.t_mid_ns
        self._exposure_s = max(frame.t_end_ns - frame.t_start_ns, 1) / 1e9
        per_chunk = planes_per_chunk(image.size * self._dtype.itemsize, self._config.chunk_mb)
        stack = self._open_stack(
            self._folder / self._store,
            image.shape,
            self._dtype,
            per_chunk,
            compression=self._config.compression,
            pixel_size_um=self._pixel_size_um / scale,
            interval_s=self._exposure_s,
        )
        return ChunkWriter(stack, image.shape, self._dtype, per_chunk, self._log, self.tally)

"""Resolution as a running figure: what two images in a row agree on, and what one image says of itself."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Floats, Result
from smartscope_models.resolution import decorrelation, ring_resolution


@dataclass(frozen=True, slots=True)
class Looked:
    """An image that was measured, and the raw frames in it."""

    image: Floats
    raw_frames: tuple[int, int]


class ResolutionMeter:
    """Adds ``frc_resolution_nm`` (Fourier ring correlation at 1/7) and ``decorrelation_resolution_nm`` to ``quality``.

    Two images in a row share no raw frame, so that their noise is independent; where the specimen moves between them,
    the ring correlation says less than each image shows. Its figure is the median of the last five.

    Options:
        of: the super-resolved image where it is ok, or the raw frame.
        every: measure every n-th image.
        window_px: edge of the square in the middle that is measured.
    """

    history = 0
    reads: frozenset[str] = frozenset()

    def __init__(
        self,
        setup: Instrument,
        *,
        of: Literal["super_resolved", "frame"] = "super_resolved",
        every: Annotated[int, Field(ge=1)] = 5,
        window_px: Annotated[int, Field(ge=64)] = 512,
    ) -> None:
        self._pixel_size_nm, self._of, self._every, self._window_px = setup.camera.pixel_size_nm, of, every, window_px
        self._last: Looked | None = None
        self._found: deque[float] = deque(maxlen=5)
        self._seen = 0

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Forget the images of another shape."""
        self._last = None
        self._found.clear()

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with the two figures, on the images whose turn it is."""
        looked, scale = self._looked(frames[-1], so_far)
        if looked is None:
            return so_far
        last = self._last
        if last is not None and looked.raw_frames[0] <= last.raw_frames[1]:
            return so_far  # a rolling image: it holds frames of the one before
        self._last, self._seen = looked, self._seen + 1
        if self._seen % self._every or last is None or last.image.shape != looked.image.shape:
            return so_far
        pixel_nm = self._pixel_size_nm / scale
        self._found.append(ring_resolution(last.image, looked.image, pixel_nm * len(looked.image)))
        figures = {
            "frc_resolution_nm": median(self._found),
            "decorrelation_resolution_nm": decorrelation(looked.image, pixel_nm).resolution_nm,
        }
        kept = {name: value for name, value in figures.items() if math.isfinite(value)}
        return replace(so_far, quality={**so_far.quality, **kept})

    def _looked(self, frame: Frame, so_far: Result) -> tuple[Looked | None, int]:
        """The square in the middle of the image that is measured, and its pixels along one of the frame."""
        if self._of == "frame":
            return Looked(_middle(frame.pixels.astype(np.float32), self._window_px), (frame.index, frame.index)), 1
        fine = so_far.super_resolved
        if fine is None or fine.verdict != "ok" or fine.preview:
            return None, 1
        return Looked(_middle(fine.image, self._window_px), fine.raw_frames), fine.scale


def _middle(image: Floats, edge: int) -> Floats:
    edge = min(edge, *image.shape)
    top, left = (image.shape[0] - edge) // 2, (image.shape[1] - edge) // 2
    return image[top : top + edge, left : left + edge]

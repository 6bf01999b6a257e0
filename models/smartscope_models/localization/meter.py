"""Live signals of single-molecule localisation, from the molecules of each frame as they come.

===================  ===================================================================================================
localizations        molecules so far in this field of view
on_time_ms           mean time that a molecule stays on, and its standard error ``on_time_error_ms``
drift_x_nm, _y_nm    how far the sample lies from where it lay in the first block, as of ``drift_age_s`` ago
drift_error_nm       standard error of either
ring_resolution_nm   Fourier ring correlation at 1/7 of two halves of the molecules, drift taken out
===================  ===================================================================================================

What is not known is left out: too few molecules, no block that can be laid over those before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field as Option

from smartscope.frame import Frame
from smartscope.ports import Instrument
from smartscope.result import Result
from smartscope_models.localization.drift import Drift
from smartscope_models.localization.molecules import Field, Molecules, molecules, moving
from smartscope_models.localization.on_time import OnTime
from smartscope_models.localization.ring_resolution import HalfSets

MOST_WAITING = 2_000_000
"""Molecules that wait for their drift to be known; beyond that the oldest are given up."""
MOST_FRAMES = 50_000
"""And so many frames with any."""
SETTLED_AT_ONCE = 2000
"""Molecules that go where they belong at one frame, beside twice as many as are new."""


class LocalizationMeter:
    """Adds the figures above to ``quality``; they begin anew with each field of view, the time on excepted.

    Frames that were dropped make intervals longer, no more. Molecules of a frame during which the stage or the focus
    moved are passed over.

    Options:
        block_s: time over which the drift is measured; halves of the ring correlation alternate as fast.
        ring_every_s: between two measurements of the ring resolution.
        ring_pixel_nm: of the pictures that it compares, at most 1024 pixels wide; no finer than two of these is seen.
    """

    history = 0
    reads = frozenset({"localizations"})

    def __init__(
        self,
        setup: Instrument,
        *,
        block_s: Annotated[float, Option(ge=0.5)] = 5.0,
        ring_every_s: Annotated[float, Option(gt=0)] = 5.0,
        ring_pixel_nm: Annotated[float, Option(ge=1)] = 10.0,
    ) -> None:
        self._pixel_size_nm = setup.camera.pixel_size_nm
        self._block_s, self._ring_every_s, self._ring_pixel_nm = block_s, ring_every_s, ring_pixel_nm
        self._on_time = OnTime()
        self._field: Field | None = None

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile; what is remembered stays."""
        few = Molecules(0.0, *(np.full(1, value) for value in (1e3, 1e3, 10.0)))
        signals = self._signals((64, 64))
        signals.drift.warm_up(few)
        signals.halves.warm_up(few)
        OnTime().take(few, 1.0)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with the figures as they stand after this frame."""
        frame = frames[-1]
        if self._field is None or not self._field.shows(frame, self._pixel_size_nm):
            self._field = Field.of(frame)
            self._now = self._signals(self._field.shape)
            self._on_time.lose_sight()
        if so_far.localizations is not None and not moving(frame):
            found = molecules(frame, so_far.localizations, self._pixel_size_nm)
            self._on_time.take(found, frame.settings.exposure_ms)
            self._now.take(found, self._on_time_ms)
        self._now.halves.work(frame.t_mid_ns / 1e9)
        return replace(so_far, quality={**so_far.quality, **self._figures(frame.t_mid_ns / 1e9)})

    @property
    def _on_time_ms(self) -> float | None:
        mean = self._on_time.mean
        return None if mean is None else mean.on_time_ms

    def _signals(self, shape: tuple[int, int]) -> _Signals:
        height_nm, width_nm = (edge * self._pixel_size_nm for edge in shape)
        drift = Drift(width_nm, height_nm, self._block_s)
        halves = HalfSets(width_nm, height_nm, self._ring_pixel_nm, self._block_s, self._ring_every_s)
        return _Signals(drift, halves)

    def _figures(self, t_s: float) -> dict[str, float]:
        now, mean = self._now, self._on_time.mean
        figures = {"localizations": float(now.count)}
        if mean is not None:
            figures |= {"on_time_ms": mean.on_time_ms, "on_time_error_ms": mean.error_ms}
        if now.drift.course.knots:
            knot = now.drift.course.knots[-1]
            figures |= {"drift_x_nm": knot.x_nm, "drift_y_nm": knot.y_nm, "drift_error_nm": knot.error_nm}
            figures["drift_age_s"] = t_s - knot.t_s
        if now.halves.resolution_nm is not None:
            figures["ring_resolution_nm"] = now.halves.resolution_nm
        return figures


class _Signals:
    """Drift and ring correlation of one field of view; molecules wait between the two until their drift is known."""

    def __init__(self, drift: Drift, halves: HalfSets) -> None:
        self.drift, self.halves, self.count = drift, halves, 0
        self._waiting: deque[Molecules] = deque()
        self._in_line = 0

    def take(self, found: Molecules, on_time_ms: float | None) -> None:
        """The molecules of a new frame; some of those that waited go where they belong."""
        self.count += len(found)
        self.drift.expect(found)
        if len(found):
            self._waiting.append(found)
            self._in_line += len(found)
        while self._in_line > MOST_WAITING or len(self._waiting) > MOST_FRAMES:
            self._in_line -= len(self._waiting.popleft())
        allowed = SETTLED_AT_ONCE + 2 * len(found)
        while self._waiting and allowed > 0 and self._waiting[0].t_s <= self.drift.course.settled_s:
            known = self._waiting.popleft()
            self._in_line -= len(known)
            allowed -= len(known)
            dx_nm, dy_nm = self.drift.course.at(known.t_s)
            self.drift.settle(known, dx_nm, dy_nm)
            self.halves.add(known, dx_nm, dy_nm, on_time_ms)

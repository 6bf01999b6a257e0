"""Which raw frames make one stack: the newest of each pattern, all exposed alike in one unbroken sequence."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np
import torch

from smartscope.frame import Frame, Settings
from smartscope.optics.pattern_layout import Layout
from smartscope_models.calibration import SensorCalibration


class Collected:
    """Buffers for frames of one size; written in place, nothing is allocated per frame."""

    def __init__(self, layout: Layout, size: int, sensor: SensorCalibration, device: str = "cpu") -> None:
        self._sensor, self._device = sensor, torch.device(device)
        self.electrons = torch.zeros((layout.frames, size, size), device=self._device)
        """(frames, N, N) float32, in the order of the patterns."""
        self.change = torch.zeros((size, size), device=self._device)
        """What the newest frame has more than the one before it in its place."""
        self.row: deque[int] = deque(maxlen=layout.frames)
        """Patterns of the newest frames, as far back as nothing broke the sequence."""
        self.exposed: Settings | None = None
        """What all frames of the row have in common: everything but the pattern."""
        self.t_mid_ns = 0
        """Middle of the newest exposure."""
        self._indices: deque[int] = deque(maxlen=layout.frames)
        self._saturated = np.zeros(layout.frames)
        self._new = np.zeros((size, size), np.float32)
        self._full = np.zeros((size, size), np.bool_)
        self._epoch, self._newest = -1, -1

    def is_new(self, frame: Frame) -> bool:
        """Whether ``frame`` came after all that was taken."""
        return (frame.epoch, frame.number) > (self._epoch, self._newest)

    def take(self, frame: Frame) -> int:
        """Put a patterned frame in its place, which is returned; a gap or other settings begin a new row."""
        pattern, settings = frame.settings.pattern, replace(frame.settings, pattern=None)
        assert pattern is not None
        if (frame.epoch, frame.number - 1, settings) != (self._epoch, self._newest, self.exposed):
            self.forget()
        self._epoch, self._newest, self.exposed, self.t_mid_ns = frame.epoch, frame.number, settings, frame.t_mid_ns
        known = self._sensor.of(frame)
        np.subtract(frame.pixels, known.offset_adu, out=self._new)
        np.multiply(self._new, known.electrons_per_adu, out=self._new)
        np.greater_equal(frame.pixels, known.saturation_adu, out=self._full)
        new = torch.from_numpy(self._new).to(self._device)
        torch.sub(new, self.electrons[pattern], out=self.change)
        self.electrons[pattern].copy_(new)
        self._saturated[pattern] = np.count_nonzero(self._full) / self._full.size
        self.row.append(pattern)
        self._indices.append(frame.index)
        return pattern

    def forget(self) -> None:
        """The next frame begins a new row."""
        self.row.clear()
        self._indices.clear()

    @property
    def whole(self) -> bool:
        """Whether every pattern is in the row."""
        return len(set(self.row)) == len(self._saturated)

    @property
    def raw_frames(self) -> tuple[int, int]:
        """Index of the first and of the last frame of the row."""
        return self._indices[0], self._indices[-1]

    @property
    def saturated(self) -> float:
        """Largest share of saturated pixels of any frame of the row."""
        return float(self._saturated[list(self.row)].max())

"""Which raw frames make one stack: the newest of each pattern, all exposed alike in one unbroken sequence."""

from __future__ import annotations

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
        self._new = np.zeros((size, size), np.float32)
        self._full = np.zeros((size, size), np.bool_)
        self._saturated = np.zeros(layout.frames)
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._numbers = np.full(len(self._saturated), -len(self._saturated))  # never in a row with a frame's
        self._indices = np.full(len(self._saturated), -1)
        self._epoch, self._newest, self._settings = -1, -1, None
        self.t_mid_ns = 0

    _settings: Settings | None
    """What all frames of the stack have in common: everything but the pattern."""

    def is_new(self, frame: Frame) -> bool:
        """Whether ``frame`` came after all that was taken."""
        return (frame.epoch, frame.number) > (self._epoch, self._newest)

    def take(self, frame: Frame) -> int:
        """Put a patterned frame in its place, which is returned; another exposure or epoch begins a new stack."""
        pattern, settings = frame.settings.pattern, replace(frame.settings, pattern=None)
        assert pattern is not None
        if frame.epoch != self._epoch or settings != self._settings:
            self.forget()
            self._epoch, self._settings = frame.epoch, settings
        known = self._sensor.of(frame)
        np.subtract(frame.pixels, known.offset_adu, out=self._new)
        np.multiply(self._new, known.electrons_per_adu, out=self._new)
        np.greater_equal(frame.pixels, known.saturation_adu, out=self._full)
        new = torch.from_numpy(self._new).to(self._device)
        torch.sub(new, self.electrons[pattern], out=self.change)
        self.electrons[pattern].copy_(new)
        self._saturated[pattern] = np.count_nonzero(self._full) / self._full.size
        self._numbers[pattern], self._indices[pattern] = frame.number, frame.index
        self._newest, self.t_mid_ns = frame.number, frame.t_mid_ns
        return pattern

    @property
    def whole(self) -> bool:
        """Whether every pattern is there, from as many frames in a row: one that was lost leaves a gap."""
        return bool(self._numbers.min() == self._newest - len(self._numbers) + 1)

    @property
    def raw_frames(self) -> tuple[int, int]:
        """Index of the first and of the last frame of the stack."""
        return int(self._indices.min()), int(self._indices.max())

    @property
    def saturated(self) -> float:
        """Largest share of saturated pixels of any frame."""
        return float(self._saturated.max())

    @property
    def exposed(self) -> Settings | None:
        """The settings of all frames of the stack, without the pattern."""
        return self._settings

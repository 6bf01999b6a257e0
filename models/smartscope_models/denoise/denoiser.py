"""The order of the steps that turn one noisy frame into one quiet frame, and the arrays in which they happen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smartscope.frame import Frame
from smartscope.ports import Instrument, whole_sensor
from smartscope.result import Result
from smartscope_models.anscombe import Anscombe
from smartscope_models.calibration import Floats, PixelCalibration, SensorCalibration
from smartscope_models.denoise.pilot import LIKENESS, OFFSETS, TAPS, average_alike, blur
from smartscope_models.denoise.trust import TrustMeter
from smartscope_models.denoise.wiener import normalise, penalties, split, wiener, workspace
from smartscope_models.mirror import mirror, place, sources

MARGIN = 8
"""Mirrored pixels around the frame: a pilot pixel looks 5 + 3 away, a block 6; even, as the blocks' step."""


class _Work:
    """Arrays for one frame size, overwritten by each frame: the frame with its margin, both lengths made even."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.rows, self.columns = (sources(n, MARGIN) for n in shape)
        height, width = len(self.rows), len(self.columns)
        self.stable = np.zeros(shape, np.float32)
        self.image, self.guide, self.pilot = (np.zeros((height, width), np.float32) for _ in range(3))
        self.line = np.zeros(width, np.float32)
        self.sums = np.zeros((2, width - 2 * MARGIN), np.float32)
        self.halves = np.zeros((6, height, width // 2), np.float32)
        self.cover = np.zeros((height // 2, width // 2), np.float32)
        self.blocks = workspace(width // 2)


class VarianceStabilisedDenoiser:
    """Classical single-frame denoising: Anscombe transform, pilot, empirical Wiener filter, exact unbiased inverse.

    It needs no earlier frame and so adds no lag; it holds no prior but that neighbours which look alike are alike and
    that nothing can be sharper than the optics. The result is in counts at the camera's nominal gain and offset.
    """

    history = 0

    def __init__(self, setup: Instrument) -> None:
        """Read the camera's maps; raises InputError if one cannot be used."""
        self._calibration = SensorCalibration(setup.camera)
        cutoff_per_nm = 2 * setup.optics.numerical_aperture / setup.optics.emission_nm
        self._penalty = penalties(cutoff_per_nm * setup.camera.pixel_size_nm)
        self._work = _Work((1, 1))
        self._known: tuple[PixelCalibration, Anscombe] | None = None
        self._trust = TrustMeter(setup, self._calibration)

    def warm_up(self, shape: tuple[int, int]) -> None:
        """Compile, and allocate for frames of this (H, W)."""
        self._work = _Work(shape)
        transform = Anscombe(self._calibration.region(whole_sensor(shape), shape))
        transform.forward(np.zeros(shape, np.uint16), self._work.stable)
        transform.inverse(self._filter(self._work.stable))
        self._trust.warm_up(shape)

    def step(self, frames: Sequence[Frame], so_far: Result) -> Result:
        """``so_far`` with ``image``, (H, W) float32 counts including the offset, and how far it can be trusted."""
        frame = frames[-1]
        if frame.pixels.shape != self._work.shape:
            self._work = _Work(frame.pixels.shape)
        transform = self._transform(frame)
        transform.forward(frame.pixels, self._work.stable)
        image = self._filter(self._work.stable)
        transform.inverse(image)
        return self._trust.judge(frame, image, so_far)

    def _transform(self, frame: Frame) -> Anscombe:
        calibration = self._calibration.of(frame)
        if self._known is None or self._known[0] is not calibration:
            self._known = calibration, Anscombe(calibration)
        return self._known[1]

    def _filter(self, stable: Floats) -> Floats:
        """(H, W) of unit noise variance → a new (H, W), quiet."""
        work = self._work
        height, width = work.shape
        place(stable, MARGIN, work.rows, work.columns, work.image)
        blur(work.image, TAPS, work.line, work.guide)
        sharpness = np.float32(1 / LIKENESS**2)
        average_alike(work.image, work.guide, OFFSETS, sharpness, MARGIN, work.sums[0], work.sums[1], work.pilot)
        mirror(work.pilot, MARGIN, height, width, work.rows, work.columns)
        y_even, y_odd, p_even, p_odd, num_even, num_odd = work.halves
        split(work.image, y_even, y_odd)
        split(work.pilot, p_even, p_odd)
        wiener(y_even, y_odd, p_even, p_odd, self._penalty, work.blocks, num_even, num_odd, work.cover)
        quiet = np.empty(work.shape, np.float32)
        normalise(num_even, num_odd, work.cover, MARGIN, quiet)
        return quiet

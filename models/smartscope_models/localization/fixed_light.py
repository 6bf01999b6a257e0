"""Light that stays where it is from frame to frame, finer than a frame's own background can be: haze, out of focus."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from smartscope_models.calibration import Floats
from smartscope_models.localization.joint import Field

SMOOTH_PX = 2.0
"""Standard deviation of the Gaussian that smooths it: finer light may be a molecule's. A filter whose response changes
sign would make the running map unstable."""
LEAK = 0.002
"""Part that is forgotten with each frame: what the frame's own background can say too is left to that."""
SLOWEST = 0.04
"""Part of what a frame leaves over that is taken in, once it is known."""
FASTEST = 0.2
CLIP = 3.0
"""Standard deviations beyond which a pixel says no more: there may be a molecule that nobody has found."""
LEAST, MOST = -0.5, 2.0
"""What it may be, over the frame's level."""
BLIND = 1e6
"""Read variance of pixels that tell nothing."""
DARK = 1.0
"""Shots below which a frame's level tells nothing of the light's shape."""
QUIET = 0.25
"""Quantile of a frame's pixels that is its level."""


class FixedLight:
    """A running map (H, W) of that light, over the level of the frames it was seen in.

    The light F is known when a frame is fitted: F is taken off the data and added to the read variance, so that data
    and mean, both with that variance added, are what they would be with F in the background.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._relative, self._level, self._seen = np.zeros(shape, np.float32), 0.0, 0
        self._light, self._read = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def forget(self) -> None:
        """The field of view has changed."""
        self._relative[:], self._seen = 0, 0

    def taken_off(self, light: Floats, read: Floats) -> tuple[Floats, Floats]:
        """light and read of a frame (H, W) without it; valid until the next frame."""
        self._level = float(np.quantile(light[::2, ::2], QUIET))
        if not self._seen or self._level < DARK:
            return light, read
        np.multiply(self._relative, np.float32(self._level), out=self._read)
        np.subtract(light, self._read, out=self._light)
        self._read += read
        return self._light, self._read

    def learn(self, field: Field) -> None:
        """Take in what a frame's molecules and background leave over."""
        if self._level < DARK:
            return
        limit = CLIP * np.sqrt(np.maximum(field.model, 0))
        rest = np.clip(field.light + field.read - field.model, -limit, limit)
        rest[field.read > BLIND] = 0
        part = max(SLOWEST, FASTEST / (1 + 0.2 * self._seen))
        self._relative *= np.float32(1 - LEAK)
        self._relative += np.float32(part / self._level) * gaussian_filter(rest, SMOOTH_PX)
        np.clip(self._relative, LEAST, MOST, out=self._relative)
        self._seen += 1

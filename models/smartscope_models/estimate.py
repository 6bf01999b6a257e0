"""The camera's gain and zero level from an ordinary movie of unknown origin, by how noise grows with brightness.

Noise variance = slope · mean + intercept. Each 8 x 8 block gives its mean and, from the median residual of Immerkær's
Laplacian (CVIU 64:300, 1996), a variance that smooth structure hardly touches; blocks are grouped by mean, a low
quantile of each group passes over textured blocks, and a line is fitted through the groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from smartscope.config import CameraCalibration
from smartscope.frame import Pixels

BLOCK = 8
GROUPS = 12
QUANTILE = 0.4
"""Of the variances in a group, taken as the group's noise; its bias for pure noise is undone by QUANTILE_BIAS."""
QUANTILE_BIAS = 0.89
MAX_FRAMES = 5
SMALLEST_SLOPE = 1e-3
Doubles = npt.NDArray[np.float64]


def estimate_calibration(frames: Sequence[Pixels], camera: CameraCalibration, bits: int) -> CameraCalibration:
    """``camera`` with gain, offset and read noise fitted to (H, W) frames, and the saturation that ``bits`` allow.

    Offset and read noise cannot be told apart by this alone: where the line meets zero above zero counts, that is the
    offset and the read noise is 0; else the offset is 0 and the read noise is what is left. The noise is the same.
    """
    points = [_block_noise(frame.astype(np.float64)) for frame in frames if min(frame.shape) >= 2 * BLOCK]
    mean, variance = np.concatenate([np.empty((2, 0)), *points], axis=1)
    slope, intercept = _line(mean, variance)
    gain = 1 / slope
    zero_level = -intercept / slope
    return camera.model_copy(
        update={
            "electrons_per_adu": float(gain),
            "offset_adu": float(max(zero_level, 0.0)),
            "read_noise_e": float(gain * np.sqrt(max(intercept, 0.0))),
            "em_gain": 1.0,
            "bit_depth": bits,
            "full_well_e": float(2**bits * gain),
            "offset_map": None,
            "gain_map": None,
            "read_noise_map": None,
        }
    )


def _block_noise(image: Doubles) -> Doubles:
    """(2, N): mean and noise variance of each block."""
    a, b, c = image[:-2], image[1:-1], image[2:]
    rows = a - 2 * b + c
    residual = np.abs(rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]) / 6
    inner = image[1:-1, 1:-1]
    height, width = (n // BLOCK for n in inner.shape)

    def tiles(array: Doubles) -> Doubles:
        cut = array[: height * BLOCK, : width * BLOCK].reshape(height, BLOCK, width, BLOCK)
        return cut.swapaxes(1, 2).reshape(height * width, BLOCK * BLOCK)

    blocks = tiles(inner)
    flat = (blocks.max(1) > blocks.min(1)) & (blocks.max(1) < np.iinfo(np.uint16).max)
    return np.stack([blocks.mean(1)[flat], ((1.4826 * np.median(tiles(residual), 1)) ** 2)[flat]])


def _line(mean: Doubles, variance: Doubles) -> tuple[float, float]:
    """Slope and intercept of noise variance against mean, robust."""
    if len(mean) < 2 * GROUPS:
        return 1.0, 1.0
    edges = np.quantile(mean, np.linspace(0, 1, GROUPS + 1))
    group = np.clip(np.searchsorted(edges, mean, side="right") - 1, 0, GROUPS - 1)
    used = [k for k in range(GROUPS) if (group == k).sum() >= 4]
    x = np.array([mean[group == k].mean() for k in used])
    y = np.array([np.quantile(variance[group == k], QUANTILE) for k in used]) / QUANTILE_BIAS
    if np.ptp(x) < 1e-6:
        return 1.0, float(y.mean() - x.mean())
    weight = 1 / np.maximum(y, np.median(y) / 10)
    slope, intercept = np.polyfit(x, y, 1, w=weight)
    if slope < SMALLEST_SLOPE:
        return SMALLEST_SLOPE, float(max(np.average(y), SMALLEST_SLOPE))
    return float(slope), float(intercept)

"""What the localising network is shown: frames of unit noise about a level, and four numbers about optics and light."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

SCALE = 4.0
"""Stabilised units that become 1."""
SIGMA_PX = 1.3
LEVEL = 8.0
"""Usual width and level, about which conditions are told."""
Z_UNIT_NM = 500.0
CONDITIONS = 4


def conditions_of(
    sigma_px: npt.NDArray[np.float64],
    level: npt.NDArray[np.float32],
    focal_offset_nm: npt.NDArray[np.float64],
    focal_depth_nm: npt.NDArray[np.float64],
    *,
    round_: bool,
) -> Floats:
    """(B, CONDITIONS) from (B,) each: width in focus, level of the background, and the curve of the astigmatism."""
    none = np.zeros_like(sigma_px)
    offset = none if round_ else (focal_offset_nm - 250) / 250
    depth = none if round_ else (focal_depth_nm - 400) / 400
    return np.stack([(sigma_px - SIGMA_PX) / 0.4, (level - LEVEL) / 8, offset, depth], axis=1).astype(np.float32)


BLOCK_PX = 16
QUIETEST = 0.2
"""This part of a block's pixels is below its background: where molecules are few, and where they cover most of it."""
_BELOW = 0.84
"""How far that quantile lies below the mean of noise of standard deviation 1."""


def level_of(stable: Floats) -> float:
    """Stabilised background of a frame (H, W), from the quieter pixels of its blocks."""
    height, width = (edge // BLOCK_PX * BLOCK_PX for edge in stable.shape)
    if not height or not width:
        return float(np.quantile(stable, QUIETEST)) + _BELOW
    blocks = stable[:height, :width].reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
    quiet = np.partition(blocks.transpose(0, 2, 1, 3).reshape(-1, BLOCK_PX**2), _QUANTILE, axis=1)[:, _QUANTILE]
    return float(np.median(quiet)) + _BELOW


_QUANTILE = round(QUIETEST * BLOCK_PX**2)


def cells_of(stable: Floats, level: float, out: Floats) -> None:
    """Fill ``out`` (4, h, w) with a frame (H, W), 2h >= H and 2w >= W; what lies beyond the frame is background."""
    for dy in range(2):
        for dx in range(2):
            part = stable[dy::2, dx::2]
            target = out[2 * dy + dx]
            rows, columns = part.shape
            np.subtract(part, np.float32(level), out=target[:rows, :columns])
            target[:rows, :columns] *= np.float32(1 / SCALE)
            target[rows:], target[:, columns:] = 0, 0


def pixels_of(maps: Floats, out: Floats) -> None:
    """Fill ``out`` (heads, H, W) from maps of cells (4 heads, h, w), whose four pixels lie under each other."""
    height, width = out.shape[1:]
    for dy in range(2):
        for dx in range(2):
            target = out[:, dy::2, dx::2]
            target[:] = maps[2 * dy + dx :: 4, : (height - dy + 1) // 2, : (width - dx + 1) // 2]

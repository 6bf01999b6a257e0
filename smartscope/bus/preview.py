"""How a picture is made small enough to look at: block means first, then, if asked, eight bits between fixed limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[Any]


def shrink(image: Image, max_size: int) -> tuple[Image, int]:
    """Mean over k x k blocks with the smallest k that makes (H, W) at most ``max_size``; returns the image and k.

    The dtype stays; uint16 means are rounded. Rows and columns beyond the last whole block are left out, and a block is
    never larger than the image's short side.
    """
    k = min(-(-max(image.shape) // max_size), *image.shape)
    if k <= 1:
        return image, 1
    height, width = image.shape[0] // k, image.shape[1] // k
    whole = image[: height * k, : width * k]
    total_dtype = np.uint32 if image.dtype == np.uint16 else np.float32
    rows = whole.reshape(height, k, width * k).sum(axis=1, dtype=total_dtype)
    # adding k strided columns is several times faster than numpy's sum over a short last axis
    total = rows[:, 0::k].copy()
    for column in range(1, k):
        total += rows[:, column::k]
    if image.dtype == np.uint16:
        total += total.dtype.type(k * k // 2)
        total //= total.dtype.type(k * k)
    else:
        total /= k * k
    return total.astype(image.dtype), k


def to_uint8(image: Image, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Map [low, high] to 0-255 and clip; ``low`` < ``high``; NaN becomes 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low)) + np.float32(0.5)
    np.nan_to_num(scaled, copy=False, nan=0.0)
    bounded: npt.NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
    return bounded

"""Margins of mirrored pixels, so that filters need no special case at the frame's edge."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Indices = npt.NDArray[np.int64]


def sources(size: int, margin: int) -> Indices:
    """For each pixel of a padded axis of even length, the pixel of the ``size`` inner ones that it mirrors."""
    return np.pad(np.arange(size), (margin, margin + size % 2), mode="symmetric")


@njit(nogil=True, cache=True)
def place(image, margin, rows, columns, out):  # type: ignore[no-untyped-def]
    """Put ``image`` (H, W) into ``out`` with mirrored margins; rows, columns: see :func:`sources`."""
    height, width = image.shape
    for i in range(height):
        out[margin + i, margin : margin + width] = image[i]
    mirror(out, margin, height, width, rows, columns)


@njit(nogil=True, cache=True)
def mirror(padded, margin, height, width, rows, columns):  # type: ignore[no-untyped-def]
    """Fill the margins of ``padded`` from its inner (height, width) pixels."""
    right = margin + width
    for i in range(margin, margin + height):
        row = padded[i]
        for j in range(margin):
            row[j] = row[margin + columns[j]]
        for j in range(right, len(columns)):
            row[j] = row[margin + columns[j]]
    for i in range(margin):
        padded[i] = padded[margin + rows[i]]
    for i in range(margin + height, len(rows)):
        padded[i] = padded[margin + rows[i]]

"""A first guess at the noise-free frame: each pixel averaged with those around that look alike.

A joint bilateral filter (Petschnigg et al., ACM TOG 23:664, 2004): the likeness is judged on a copy blurred by a
Gaussian of 1 px, where noise is small, the average is taken over the noisy pixels; Tukey's biweight spares the
exponential. In the stabilised domain one constant suits every brightness.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from smartscope_models.calibration import Floats

LIKENESS = 1.4
"""Difference of the blurred copies, in noise standard deviations, beyond which a pixel has no weight."""
REACH = 5
"""Largest offset along an axis, pixels; also the margin that the arrays need."""
OFFSETS = np.array(
    [
        (dy, dx)
        for dy in range(-REACH, REACH + 1)
        for dx in range(-REACH, REACH + 1)
        if 0 < dy * dy + dx * dx <= REACH**2 + 1 and (dy + dx) % 2 == 0
    ]
)
"""(44, 2) the chequerboard within a disc: half the work, and no difference that could be measured."""
_TAPS = np.exp(-(np.arange(4) ** 2) / 2.0)
TAPS: Floats = (_TAPS / (_TAPS[0] + 2 * _TAPS[1:].sum())).astype(np.float32)
"""(4,) half of the Gaussian of 1 px."""


@njit(nogil=True, cache=True, fastmath=True)
def blur(image, taps, rows, out):  # type: ignore[no-untyped-def]
    """Gaussian of 7 taps of ``image`` (H, W); the outer 3 pixels of ``out`` are left alone. ``rows`` is (W,) work."""
    height, width = image.shape
    c0, c1, c2, c3 = taps[0], taps[1], taps[2], taps[3]
    for i in range(3, height - 3):
        a, b, c, d = image[i - 3], image[i - 2], image[i - 1], image[i]
        e, f, g = image[i + 1], image[i + 2], image[i + 3]
        for j in range(width):
            rows[j] = c0 * d[j] + c1 * (c[j] + e[j]) + c2 * (b[j] + f[j]) + c3 * (a[j] + g[j])
        target = out[i, 3 : width - 3]
        l1, l2, l3, r1, r2, r3 = rows[2:], rows[1:], rows, rows[4:], rows[5:], rows[6:]
        middle = rows[3:]
        for j in range(width - 6):
            target[j] = c0 * middle[j] + c1 * (l1[j] + r1[j]) + c2 * (l2[j] + r2[j]) + c3 * (l3[j] + r3[j])


@njit(nogil=True, cache=True, fastmath=True)
def average_alike(image, guide, offsets, sharpness, margin, total, weights, out):  # type: ignore[no-untyped-def]
    """Joint bilateral average; all images (H, W), the outer ``margin`` pixels of ``out`` are left alone.

    sharpness: 1 / LIKENESS²; total, weights: (W - 2·margin,) work.
    """
    height, width = image.shape
    inner = width - 2 * margin
    one, zero = np.float32(1), np.float32(0)
    for i in range(margin, height - margin):
        here, target = guide[i, margin : margin + inner], out[i, margin : margin + inner]
        own = image[i, margin : margin + inner]
        for j in range(inner):
            total[j] = own[j]
            weights[j] = one
        for k in range(len(offsets)):
            row, start = i + offsets[k, 0], margin + offsets[k, 1]
            there, value = guide[row, start : start + inner], image[row, start : start + inner]
            for j in range(inner):
                difference = here[j] - there[j]
                weight = max(one - difference * difference * sharpness, zero)
                weight *= weight
                total[j] += weight * value[j]
                weights[j] += weight
        for j in range(inner):
            target[j] = total[j] / weights[j]

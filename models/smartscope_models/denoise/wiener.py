"""Empirical Wiener filter on overlapping 8 x 8 cosine transforms, steered by a pilot estimate.

Every coefficient is multiplied by P² / (P² + L), P the pilot's coefficient and L the noise variance (1) divided by how
well the optics pass that frequency; blocks overlap by 6 pixels along both axes and are averaged with weights inverse to
the noise that they keep (the second stage of Dabov et al., IEEE TIP 16:2080, 2007, without grouping).

Columns are kept apart by parity (``even``, ``odd``), so that the blocks of a strip lie side by side in memory and every
inner loop runs over contiguous floats.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from smartscope_models.calibration import Floats

BLOCK = 8
_C = [math.cos(k * math.pi / 16) / 2 for k in range(8)]
C1, C2, C3, C5, C6, C7 = (np.float32(_C[k]) for k in (1, 2, 3, 5, 6, 7))
C4 = np.float32(_C[4])


def penalties(cutoff_cycles_per_px: float, noise: float = 0.5) -> Floats:
    """(64,) float32: L for each coefficient; frequencies that a widefield OTF passes badly are believed less.

    OTF: 2/π (acos s - s √(1 - s²)), Goodman, Fourier Optics, section 6.3; its square root is used, and at most 100.
    """
    index = np.arange(BLOCK)
    frequency = np.hypot(index[:, None], index) / (2 * BLOCK)
    s = np.minimum(frequency / cutoff_cycles_per_px, 1.0)
    otf = 2 / np.pi * (np.arccos(s) - s * np.sqrt(1 - s * s))
    table = noise * np.minimum(1 / np.sqrt(np.maximum(otf, 1e-9)), 100.0)
    table[0, 0] = 1e-9  # the mean of a block is kept
    flat: Floats = table.astype(np.float32).ravel()
    return flat


@njit(nogil=True, cache=True, fastmath=True)
def _forward(a0, a1, a2, a3, a4, a5, a6, a7, out, first):  # type: ignore[no-untyped-def]
    """Orthonormal DCT-II over eight rows of equal length; out[first : first + 8] are the coefficients."""
    n = out.shape[1]
    o0, o1, o2, o3 = out[first], out[first + 1], out[first + 2], out[first + 3]
    o4, o5, o6, o7 = out[first + 4], out[first + 5], out[first + 6], out[first + 7]
    for m in range(n):
        s0, s1, s2, s3 = a0[m] + a7[m], a1[m] + a6[m], a2[m] + a5[m], a3[m] + a4[m]
        d0, d1, d2, d3 = a0[m] - a7[m], a1[m] - a6[m], a2[m] - a5[m], a3[m] - a4[m]
        outer, inner, p, q = s0 + s3, s1 + s2, s0 - s3, s1 - s2
        o0[m] = (outer + inner) * C4
        o4[m] = (outer - inner) * C4
        o2[m] = p * C2 + q * C6
        o6[m] = p * C6 - q * C2
        o1[m] = d0 * C1 + d1 * C3 + d2 * C5 + d3 * C7
        o3[m] = d0 * C3 - d1 * C7 - d2 * C1 - d3 * C5
        o5[m] = d0 * C5 - d1 * C1 + d2 * C7 + d3 * C3
        o7[m] = d0 * C7 - d1 * C5 + d2 * C3 - d3 * C1


@njit(nogil=True, cache=True, fastmath=True)
def _backward(c, first, out, start):  # type: ignore[no-untyped-def]
    """Inverse of ``_forward``: coefficient rows c[first : first + 8] (n,) → out[:, start : start + n]."""
    n = c.shape[1]
    c0, c1, c2, c3 = c[first], c[first + 1], c[first + 2], c[first + 3]
    c4, c5, c6, c7 = c[first + 4], c[first + 5], c[first + 6], c[first + 7]
    o0, o1, o2, o3 = out[0, start:], out[1, start:], out[2, start:], out[3, start:]
    o4, o5, o6, o7 = out[4, start:], out[5, start:], out[6, start:], out[7, start:]
    for m in range(n):
        plus, minus = (c0[m] + c4[m]) * C4, (c0[m] - c4[m]) * C4
        p, q = c2[m] * C2 + c6[m] * C6, c2[m] * C6 - c6[m] * C2
        s0, s3, s1, s2 = plus + p, plus - p, minus + q, minus - q
        d0 = c1[m] * C1 + c3[m] * C3 + c5[m] * C5 + c7[m] * C7
        d1 = c1[m] * C3 - c3[m] * C7 - c5[m] * C1 - c7[m] * C5
        d2 = c1[m] * C5 - c3[m] * C1 + c5[m] * C7 + c7[m] * C3
        d3 = c1[m] * C7 - c3[m] * C5 + c5[m] * C3 - c7[m] * C1
        o0[m], o7[m] = s0 + d0, s0 - d0
        o1[m], o6[m] = s1 + d1, s1 - d1
        o2[m], o5[m] = s2 + d2, s2 - d2
        o3[m], o4[m] = s3 + d3, s3 - d3


@njit(nogil=True, cache=True, fastmath=True)
def _strip(even, odd, top, e, o, c):  # type: ignore[no-untyped-def]
    """2-D coefficients c (64, n) of the n blocks whose top row is ``top``; e, o (8, n + 3) are work."""
    t = top
    _forward(even[t], even[t + 1], even[t + 2], even[t + 3], even[t + 4], even[t + 5], even[t + 6], even[t + 7], e, 0)
    _forward(odd[t], odd[t + 1], odd[t + 2], odd[t + 3], odd[t + 4], odd[t + 5], odd[t + 6], odd[t + 7], o, 0)
    for k in range(8):
        x, y = e[k], o[k]
        _forward(x, y, x[1:], y[1:], x[2:], y[2:], x[3:], y[3:], c, 8 * k)


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _shrink(c, pilot, penalty, weight):  # type: ignore[no-untyped-def]
    """Wiener gains on c (64, n) in place; weight (n,) becomes 1 / (1 + noise variance kept)."""
    n = c.shape[1]
    weight[:] = 1
    for k in range(64):
        row, guess, level = c[k], pilot[k], penalty[k]
        for m in range(n):
            power = guess[m] * guess[m]
            gain = power / (power + level)
            row[m] *= gain
            weight[m] += gain * gain
    for m in range(n):
        weight[m] = np.float32(1) / weight[m]


@njit(nogil=True, cache=True, fastmath=True)
def _overlap(r, e, o):  # type: ignore[no-untyped-def]
    """Sum the overlapping blocks of a row: r (8, 3 + n + 3), zero at both ends → e, o (n + 3,)."""
    r0, r2, r4, r6 = r[0, 3:], r[2, 2:], r[4, 1:], r[6]
    for m in range(len(e)):
        e[m] = r0[m] + r2[m] + r4[m] + r6[m]
    r1, r3, r5, r7 = r[1, 3:], r[3, 2:], r[5, 1:], r[7]
    for m in range(len(o)):
        o[m] = r1[m] + r3[m] + r5[m] + r7[m]


@njit(nogil=True, cache=True, fastmath=True)
def _add(part, image, top):  # type: ignore[no-untyped-def]
    for j in range(8):
        target, source = image[top + j], part[j]
        for m in range(len(source)):
            target[m] += source[m]


@njit(nogil=True, cache=True, fastmath=True)
def _restore_strip(c, weight, e, o, r, v, num_even, num_odd, top):  # type: ignore[no-untyped-def]
    """Weigh the filtered coefficients c (64, n), transform back, add to the image rows from ``top``."""
    n = len(weight)
    for k in range(64):
        row = c[k]
        for m in range(n):
            row[m] *= weight[m]
    for k in range(8):
        _backward(c, 8 * k, r, 3)
        _overlap(r, e[k], o[k])
    _backward(e, 0, v, 0)
    _add(v, num_even, top)
    _backward(o, 0, v, 0)
    _add(v, num_odd, top)


@njit(nogil=True, cache=True, fastmath=True)
def _cover(weight, padded, sums):  # type: ignore[no-untyped-def]
    """sums (n + 3,): total weight of the blocks that cover a pair of columns; padded (n + 6,) is zero at both ends."""
    n = len(weight)
    padded[3 : 3 + n] = weight
    a, b, c = padded[1:], padded[2:], padded[3:]
    for m in range(n + 3):
        sums[m] = padded[m] + a[m] + b[m] + c[m]


@njit(nogil=True, cache=True, fastmath=True)
def wiener(y_even, y_odd, p_even, p_odd, penalty, work, num_even, num_odd, cover):  # type: ignore[no-untyped-def]
    """Weighted sums of the filtered blocks of a frame y with pilot p, all (H, W/2), H and W even.

    num_even, num_odd (H, W/2) are overwritten; cover (H/2, W/2) gets the weights of the strip that starts at row 2 i:
    the mean at row i is num[i] over the sum of the strips that cover it. ``work`` is :func:`workspace`.
    """
    e, o, c, pilot, weight, padded, r, v = work
    num_even[:] = 0
    num_odd[:] = 0
    cover[:] = 0
    for top in range(0, y_even.shape[0] - 7, 2):
        _strip(p_even, p_odd, top, e, o, pilot)
        _strip(y_even, y_odd, top, e, o, c)
        _shrink(c, pilot, penalty, weight)
        _cover(weight, padded, cover[top // 2])
        _restore_strip(c, weight, e, o, r, v, num_even, num_odd, top)


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def normalise(num_even, num_odd, cover, margin, out):  # type: ignore[no-untyped-def]
    """out (H, W): weighted means, the ``margin`` (even, ≥ 6) rows and columns around it cut off."""
    height, width = out.shape
    sums = np.empty_like(cover[0])
    for i in range(height):
        last = (i + margin) // 2
        a, b, c, d = cover[last - 3], cover[last - 2], cover[last - 1], cover[last]
        for m in range(len(sums)):
            sums[m] = np.float32(1) / (a[m] + b[m] + c[m] + d[m])
        even, odd, target = num_even[i + margin], num_odd[i + margin], out[i]
        for j in range(width // 2):
            m = j + margin // 2
            target[2 * j] = even[m] * sums[m]
            target[2 * j + 1] = odd[m] * sums[m]
        if width % 2:
            m = width // 2 + margin // 2
            target[width - 1] = even[m] * sums[m]


@njit(nogil=True, cache=True)
def split(image, even, odd):  # type: ignore[no-untyped-def]
    """(H, W) → columns 0, 2, 4 … and 1, 3, 5 …, each (H, W/2)."""
    height, half = even.shape
    for i in range(height):
        source, a, b = image[i], even[i], odd[i]
        for m in range(half):
            a[m] = source[2 * m]
            b[m] = source[2 * m + 1]


def workspace(half: int) -> tuple[Floats, ...]:
    """Work arrays of :func:`wiener` for frames 2·half pixels wide."""
    n = half - 3
    shapes = [(8, half), (8, half), (64, n), (64, n), (n,), (n + 6,), (8, n + 6), (8, half)]
    return tuple(np.zeros(shape, np.float32) for shape in shapes)

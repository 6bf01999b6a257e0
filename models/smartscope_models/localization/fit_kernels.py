"""One spot's likelihood: what its pixels expect, the score and the Fisher information, and the step uphill.

Everything is in *shots*: photo-electrons over the camera's excess factor F², in which noise is Poisson's whatever the
camera. The read variance v of a pixel, in shots², is added to data and to model, so that a Poisson likelihood with mean
mu = N p(x, y) + b + v has the right variance (Huang et al., Nat Methods 10:653, 2013). A spot is a Gaussian integrated
over pixels, so that p is a product of differences of error functions (Smith et al., Nat Methods 7:373, 2010).

Parameters, in this order: x, y (pixels, from the centre of pixel (0, 0)), N (shots), b (shots per pixel), and where the
width is free, t. A *curve* (6,) says how t rules the widths: (0, ...) t is both; (1, sigma, offset, depth, ...) t is
the height in nm of an astigmatic spot (Huang et al., Science 319:810, 2008). Its last two values are the bounds of t.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

ROOT_2 = math.sqrt(2.0)
BELL = 1 / math.sqrt(2 * math.pi)
FAINTEST = 1e-3
"""The least mean that a pixel may have, and the least background: shots."""


@njit(nogil=True, cache=True, error_model="numpy")
def widths(t, curve):  # type: ignore[no-untyped-def]
    """sigma_x, sigma_y and their derivatives by t."""
    if curve[0] == 0:
        return t, t, 1.0, 1.0
    sigma, offset, depth = curve[1], curve[2], curve[3]
    u, v = (t - offset) / depth, (t + offset) / depth
    sx, sy = sigma * math.sqrt(1 + u * u), sigma * math.sqrt(1 + v * v)
    scale = sigma * sigma / depth
    return sx, sy, scale * u / sx, scale * v / sy


@njit(nogil=True, cache=True, error_model="numpy")
def widths_of(heights, curve):  # type: ignore[no-untyped-def]
    """(2, K): sigma_x and sigma_y at each t (K,)."""
    out = np.empty((2, len(heights)))
    for k in range(len(heights)):
        out[0, k], out[1, k], _, _ = widths(heights[k], curve)
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def profile(first, centre, sigma, share, slope, spread):  # type: ignore[no-untyped-def]
    """Share of a Gaussian in each pixel from ``first`` on, its derivative by the centre and by the width; all (n,)."""
    scale = 1 / (ROOT_2 * sigma)
    height = BELL / sigma
    u = (first - 0.5 - centre) * scale
    step, bell = math.erf(u), height * math.exp(-u * u)
    for k in range(len(share)):
        ahead = (first + k + 0.5 - centre) * scale
        next_step, next_bell = math.erf(ahead), height * math.exp(-ahead * ahead)
        share[k] = 0.5 * (next_step - step)
        slope[k] = bell - next_bell
        spread[k] = ROOT_2 * (u * bell - ahead * next_bell)
        u, step, bell = ahead, next_step, next_bell


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def normal_4(light, read, f, across, down, matrix, vector):  # type: ignore[no-untyped-def]
    """Fisher information (4, 4), lower half, and score (4,) at f; light, read (h, w); across (3, w), down (3, h)."""
    ex, dx = across[0], across[1]
    number, background = f[2], f[3]
    matrix[:] = 0
    vector[:] = 0
    for i in range(light.shape[0]):
        data, noise = light[i], read[i]
        ey, dy = down[0, i], down[1, i]
        top = number * ey
        w_ee = w_ed = w_dd = w_e = w_d = w_1 = r_e = r_d = r_1 = 0.0
        for j in range(light.shape[1]):
            e, d = ex[j], dx[j]
            w = 1 / max(top * e + background + noise[j], FAINTEST)
            r = (data[j] + noise[j]) * w - 1
            we, wd = w * e, w * d
            w_ee += we * e
            w_ed += we * d
            w_dd += wd * d
            w_e += we
            w_d += wd
            w_1 += w
            r_e += r * e
            r_d += r * d
            r_1 += r
        bottom = number * dy
        vector[0] += top * r_d
        vector[1] += bottom * r_e
        vector[2] += ey * r_e
        vector[3] += r_1
        matrix[0, 0] += top * top * w_dd
        matrix[1, 0] += top * bottom * w_ed
        matrix[1, 1] += bottom * bottom * w_ee
        matrix[2, 0] += top * ey * w_ed
        matrix[2, 1] += bottom * ey * w_ee
        matrix[2, 2] += ey * ey * w_ee
        matrix[3, 0] += top * w_d
        matrix[3, 1] += bottom * w_e
        matrix[3, 2] += ey * w_e
        matrix[3, 3] += w_1


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def normal_5(light, read, f, slope_x, slope_y, across, down, matrix, vector):  # type: ignore[no-untyped-def]
    """The same with t: (5, 5) and (5,); slope_x, slope_y: derivatives of the widths by t."""
    ex, dx, sx = across[0], across[1], across[2]
    number, background = f[2], f[3]
    matrix[:] = 0
    vector[:] = 0
    for i in range(light.shape[0]):
        data, noise = light[i], read[i]
        ey, dy = down[0, i], down[1, i]
        top, bottom, wide, tall = number * ey, number * dy, number * ey * slope_x, number * down[2, i] * slope_y
        w_ee = w_ed = w_dd = w_et = w_dt = w_tt = w_e = w_d = w_t = w_1 = r_e = r_d = r_t = r_1 = 0.0
        for j in range(light.shape[1]):
            e, d = ex[j], dx[j]
            t = wide * sx[j] + tall * e
            w = 1 / max(top * e + background + noise[j], FAINTEST)
            r = (data[j] + noise[j]) * w - 1
            we, wd, wt = w * e, w * d, w * t
            w_ee += we * e
            w_ed += we * d
            w_dd += wd * d
            w_et += we * t
            w_dt += wd * t
            w_tt += wt * t
            w_e += we
            w_d += wd
            w_t += wt
            w_1 += w
            r_e += r * e
            r_d += r * d
            r_t += r * t
            r_1 += r
        vector[0] += top * r_d
        vector[1] += bottom * r_e
        vector[2] += ey * r_e
        vector[3] += r_1
        vector[4] += r_t
        matrix[0, 0] += top * top * w_dd
        matrix[1, 0] += top * bottom * w_ed
        matrix[1, 1] += bottom * bottom * w_ee
        matrix[2, 0] += top * ey * w_ed
        matrix[2, 1] += bottom * ey * w_ee
        matrix[2, 2] += ey * ey * w_ee
        matrix[3, 0] += top * w_d
        matrix[3, 1] += bottom * w_e
        matrix[3, 2] += ey * w_e
        matrix[3, 3] += w_1
        matrix[4, 0] += top * w_dt
        matrix[4, 1] += bottom * w_et
        matrix[4, 2] += ey * w_et
        matrix[4, 3] += w_t
        matrix[4, 4] += w_tt


@njit(nogil=True, cache=True, error_model="numpy")
def deviance_and_chi2(light, read, f, across, down):  # type: ignore[no-untyped-def]
    """Twice the log-likelihood ratio against a model that fits every pixel, and Pearson's chi-square, at f."""
    deviance, chi2 = 0.0, 0.0
    for i in range(light.shape[0]):
        for j in range(light.shape[1]):
            mean = max(f[2] * down[0, i] * across[0, j] + f[3] + read[i, j], FAINTEST)
            data = light[i, j] + read[i, j]
            chi2 += (data - mean) ** 2 / mean
            deviance += 2 * (mean - data + data * math.log(data / mean)) if data > 0 else 2 * mean
    return deviance, chi2


@njit(nogil=True, cache=True, error_model="numpy")
def factorise(matrix, damping, lower):  # type: ignore[no-untyped-def]
    """Cholesky factor of A + damping · diag A, lower halves, (n, n); False where A is not positive."""
    for a in range(len(lower)):
        for b in range(a + 1):
            total = matrix[a, b] * (1 + damping) if a == b else matrix[a, b]
            for k in range(b):
                total -= lower[a, k] * lower[b, k]
            if a == b:
                if not total > 1e-10 * matrix[a, a]:
                    return False
                lower[a, a] = math.sqrt(total)
            else:
                lower[a, b] = total / lower[b, b]
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def solve(lower, vector, step):  # type: ignore[no-untyped-def]
    """step (n,) with L L' step = vector."""
    n = len(lower)
    for a in range(n):
        total = vector[a]
        for k in range(a):
            total -= lower[a, k] * step[k]
        step[a] = total / lower[a, a]
    for a in range(n - 1, -1, -1):
        total = step[a]
        for k in range(a + 1, n):
            total -= lower[k, a] * step[k]
        step[a] = total / lower[a, a]


@njit(nogil=True, cache=True, error_model="numpy")
def inverse_diagonal(lower, column, out):  # type: ignore[no-untyped-def]
    """out (n,): diagonal of (L L')⁻¹; column (n,) is work."""
    n = len(lower)
    for a in range(n):
        total = 0.0
        for b in range(a, n):
            value = 1.0 if b == a else 0.0
            for k in range(a, b):
                value -= lower[b, k] * column[k]
            column[b] = value / lower[b, b]
            total += column[b] * column[b]
        out[a] = total

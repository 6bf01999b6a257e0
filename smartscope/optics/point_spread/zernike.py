"""Only this file knows the Zernike polynomials, and under which number they go.

Noll, Journal of the Optical Society of America 66 (1976) 207: numbers from 1, unit root mean square over the disc; even
numbers go with the cosine. OSA/ANSI Z80.28 numbers start at 0.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from smartscope.errors import InputError

Doubles = npt.NDArray[np.float64]
NAMES = {
    "piston": 1,
    "tilt_x": 2,
    "tilt_y": 3,
    "defocus": 4,
    "oblique_astigmatism": 5,
    "vertical_astigmatism": 6,
    "coma_y": 7,
    "coma_x": 8,
    "trefoil_y": 9,
    "trefoil_x": 10,
    "spherical": 11,
    "vertical_secondary_astigmatism": 12,
    "oblique_secondary_astigmatism": 13,
    "vertical_quadrafoil": 14,
    "oblique_quadrafoil": 15,
}
"""What they are called → Noll's number."""


def noll(j: int) -> tuple[int, int]:
    """Radial order n and azimuthal frequency m (negative: sine) of Noll's number j.

    Raises:
        InputError: j is below 1.
    """
    if j < 1:
        raise InputError(f"no Zernike polynomial has Noll's number {j}", allowed="1, 2, ...", remedy="1 is piston")
    n = (math.isqrt(8 * j - 7) - 1) // 2
    place = j - n * (n + 1) // 2 - 1
    m = 2 * ((place + 1) // 2) if n % 2 == 0 else 2 * (place // 2) + 1
    return n, m if j % 2 == 0 else -m


def osa(j: int) -> tuple[int, int]:
    """Radial order and azimuthal frequency of OSA/ANSI's number j.

    Raises:
        InputError: j is below 0.
    """
    if j < 0:
        raise InputError(f"no Zernike polynomial has OSA's number {j}", allowed="0, 1, ...", remedy="0 is piston")
    n = (math.isqrt(8 * j + 1) - 1) // 2
    return n, 2 * j - n * (n + 2)


def zernike(n: int, m: int, radius: Doubles, angle: Doubles) -> Doubles:
    """The polynomial of order n and frequency m at places in the unit disc; root mean square 1 over it.

    Raises:
        InputError: there is none of these.
    """
    if n < abs(m) or (n - m) % 2:
        raise InputError(f"no Zernike polynomial has n = {n}, m = {m}", allowed="|m| <= n, n - m even")
    k = abs(m)
    radial = np.zeros_like(radius)
    for s in range((n - k) // 2 + 1):
        sign = -1 if s % 2 else 1
        ways = math.factorial(s) * math.factorial((n + k) // 2 - s) * math.factorial((n - k) // 2 - s)
        radial += sign * (math.factorial(n - s) // ways) * radius ** (n - 2 * s)
    if m == 0:
        return np.asarray(math.sqrt(n + 1) * radial)
    turned = np.cos(k * angle) if m > 0 else np.sin(k * angle)
    return np.asarray(math.sqrt(2 * (n + 1)) * radial * turned)

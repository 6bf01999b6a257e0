"""Zernike polynomials: orthonormal over the disc, numbered as Noll's and OSA's tables have them."""

import numpy as np
import pytest

from smartscope.errors import InputError
from smartscope.optics.point_spread.zernike import NAMES, noll, osa, zernike

NOLL_TABLE = [
    *[(0, 0), (1, 1), (1, -1), (2, 0), (2, -2), (2, 2), (3, -1), (3, 1), (3, -3), (3, 3), (4, 0), (4, 2)],
    *[(4, -2), (4, 4), (4, -4), (5, 1), (5, -1), (5, 3), (5, -3), (5, 5), (5, -5), (6, 0)],
]
"""Noll 1976, table 1, continued."""
OSA_TABLE = [(0, 0), (1, -1), (1, 1), (2, -2), (2, 0), (2, 2), (3, -3), (3, -1), (3, 1), (3, 3), (4, -4)]


def test_numbers_are_those_of_the_tables() -> None:
    assert [noll(j) for j in range(1, len(NOLL_TABLE) + 1)] == NOLL_TABLE
    assert [osa(j) for j in range(len(OSA_TABLE))] == OSA_TABLE
    assert noll(NAMES["spherical"]) == (4, 0)
    assert noll(NAMES["vertical_astigmatism"]) == (2, 2)
    assert noll(NAMES["coma_x"]) == (3, 1)


def test_each_number_is_taken_once() -> None:
    assert len({noll(j) for j in range(1, 200)}) == 199
    assert {noll(j) for j in range(1, 211)} == {osa(j) for j in range(210)}


def test_they_are_orthonormal() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(12)
    radius, angle = np.sqrt((nodes + 1) / 2), 2 * np.pi * np.arange(32) / 32  # even in area and in angle
    r, a = (grid.ravel() for grid in np.meshgrid(radius, angle))
    all_of_them = np.stack([zernike(*noll(j), r, a) for j in range(1, 22)])
    area = np.tile(weights / 2 / len(angle), len(angle))
    np.testing.assert_allclose((all_of_them * area) @ all_of_them.T, np.eye(21), atol=1e-12)


def test_known_ones() -> None:
    r, a = np.array([0.0, 0.3, 1.0]), np.array([0.2, 1.0, 2.0])
    np.testing.assert_allclose(zernike(2, 0, r, a), np.sqrt(3) * (2 * r**2 - 1))
    np.testing.assert_allclose(zernike(4, 0, r, a), np.sqrt(5) * (6 * r**4 - 6 * r**2 + 1))
    np.testing.assert_allclose(zernike(3, -1, r, a), np.sqrt(8) * (3 * r**3 - 2 * r) * np.sin(a))


def test_there_is_none_of_these() -> None:
    with pytest.raises(InputError, match="Noll's number 0"):
        noll(0)
    with pytest.raises(InputError, match="OSA's number -1"):
        osa(-1)
    for n, m in ((2, 1), (1, 3)):
        with pytest.raises(InputError, match=f"n = {n}, m = {m}"):
            zernike(n, m, np.zeros(1), np.zeros(1))

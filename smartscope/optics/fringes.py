"""Only this file knows how a few beams that meet in the sample make fringes, and which beams a layout asks for.

Places are um from the optical axis along the camera's columns (x) and rows (y): an SLM or a grating lies in a plane
that is conjugate to the sample and is aligned with the camera, whatever the stage does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from smartscope.config import LightConfig, StructuredIlluminationConfig
from smartscope.errors import InputError
from smartscope.optics.pattern_layout import Layout

Doubles = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]


@njit(nogil=True, cache=True)
def _light(x_um: Any, y_um: Any, per_um: Any, depths: Any, angles: Any, out: Any) -> None:
    """Fill ``out`` (N,) with 1 + sum of depth x cos(2 pi k.r + angle), never below 0."""
    for place in range(x_um.size):
        light = 1.0
        for wave in range(depths.size):
            turns = per_um[wave, 0] * x_um[place] + per_um[wave, 1] * y_um[place]
            light += depths[wave] * math.cos(2.0 * math.pi * turns + angles[wave])
        out[place] = max(light, 0.0)


@dataclass(frozen=True, slots=True)
class Fringes:
    """Light of mean 1: 1 + Re sum of depth x exp(2 pi i k.r), within a rectangle around the axis; beyond it is dark."""

    per_um: Doubles
    """(n, 2) frequencies, cycles per um, x and y."""
    depths: Complexes
    """(n,) modulation and, as its argument, the phase on the axis."""
    half_um: tuple[float, float] = (math.inf, math.inf)
    """Half the rectangle's edges along x and y."""
    brightness: float = 1.0
    """The mean; 0 where no order passes the mask."""

    @classmethod
    def of_beams(
        cls,
        per_um: Doubles,
        amplitudes: Complexes,
        half_um: tuple[float, float] = (math.inf, math.inf),
    ) -> Fringes:
        """Interference of beams that cross the pupil at ``per_um`` (b, 2) with amplitudes (b,), equally polarised.

        |sum of a exp(2 pi i f.r)|² over its mean: each pair beats at the difference of its frequencies with
        depth 2 a_i a_j* / sum |a|² (Gustafsson et al., Biophys. J. 94 (2008) 4957).
        """
        first, second = np.triu_indices(len(amplitudes), 1)
        power = float((np.abs(amplitudes) ** 2).sum())
        if power == 0:
            return cls(np.empty((0, 2)), np.empty(0, complex), half_um, 0.0)
        depths = 2 * amplitudes[first] * amplitudes[second].conj() / power
        return cls(np.ascontiguousarray(per_um[first] - per_um[second]), depths, half_um)

    def at(self, x_um: Doubles, y_um: Doubles) -> Doubles:
        """Light (N,) at places (N,), (N,)."""
        light = np.empty(x_um.shape)
        x, y = np.ascontiguousarray(x_um, np.float64), np.ascontiguousarray(y_um, np.float64)
        _light(x, y, self.per_um, np.abs(self.depths), np.angle(self.depths), light)
        light *= self.brightness * (self._lit(x_um, 0) & self._lit(y_um, 1))
        return light

    def on_grid(self, x_um: Doubles, y_um: Doubles) -> Doubles:
        """Light (H, W) where columns lie at x (W,) and rows at y (H,)."""
        light = np.full((len(y_um), len(x_um)), 1.0)
        for (kx, ky), depth in zip(self.per_um, self.depths, strict=True):
            down, along = depth * np.exp(2j * np.pi * ky * y_um), np.exp(2j * np.pi * kx * x_um)
            light += np.outer(down.real, along.real) - np.outer(down.imag, along.imag)
        return np.asarray(np.maximum(light, 0.0) * self.extent(x_um, y_um))

    def extent(self, x_um: Doubles, y_um: Doubles) -> Doubles:
        """(H, W) the mean light: what is left of the fringes where they are too fine to be seen."""
        return np.asarray(self.brightness * np.outer(self._lit(y_um, 1), self._lit(x_um, 0)))

    def _lit(self, along_um: Doubles, axis: int) -> npt.NDArray[np.bool_]:
        return np.asarray(np.abs(along_um) <= self.half_um[axis])


def wanted_beams(config: StructuredIlluminationConfig, numerical_aperture: float, wavelength_nm: float) -> Doubles:
    """(angles, beams, 2) where the beams cross the pupil, cycles per um of the sample.

    Two beams face each other, a third runs along the axis. Hexagonal: three beams, 120 degrees apart, whose differences
    are the three carriers; the first carrier has the direction ``first_angle_deg``.
    """
    radius = config.pupil_fraction * numerical_aperture / wavelength_nm * 1e3
    first = math.radians(config.first_angle_deg)
    if config.hexagonal:
        directions = first + math.pi / 6 + 2 * math.pi / 3 * np.arange(3)
        return np.asarray(radius * np.stack([np.cos(directions), np.sin(directions)], axis=-1)[None])
    directions = first + math.pi * np.arange(config.angles) / config.angles
    outer = radius * np.stack([np.cos(directions), np.sin(directions)], axis=-1)
    axis = [np.zeros_like(outer)] if config.beams == 3 else []
    return np.stack([outer, -outer, *axis], axis=1)


def carriers_of(layout: Layout, beams: Doubles) -> Doubles:
    """(angles, orders, 2) frequencies of the fringes that beams (angles, beams, 2) make, in the layout's order."""
    if layout.hexagonal:
        return np.stack([beams[:, 0] - beams[:, 1], beams[:, 1] - beams[:, 2], beams[:, 2] - beams[:, 0]], axis=1)
    if layout.beams == 3:
        return np.stack([beams[:, 0], beams[:, 0] - beams[:, 1]], axis=1)
    return np.stack([beams[:, 0] - beams[:, 1]], axis=1)


def beam_phases(layout: Layout) -> Doubles:
    """(angles, phases, beams) radians that make each beam pair's difference step as ``layout.nominal_phases``.

    They are those of a shifted grating: opposite orders turn against each other, order 0 stays.
    """
    nominal = layout.nominal_phases()
    if layout.hexagonal:
        one, two = nominal[..., 0], nominal[..., 1]
        # beams of a shifted pattern turn by angles whose sum is 0, and the carriers' sum is 0 as well: 1 + 2 + 4 = 7
        second = (two - one) / 3
        return np.stack([one + second, second, -one - 2 * second], axis=-1)
    turn = nominal[..., 0] / (1 if layout.beams == 3 else 2)
    axis = [np.zeros_like(turn)] if layout.beams == 3 else []
    return np.stack([turn, -turn, *axis], axis=-1)


def fringe_light(config: StructuredIlluminationConfig, lights: tuple[LightConfig, ...]) -> LightConfig:
    """The light that makes the fringes.

    Raises:
        InputError: it is not named where there are several, or does not exist.
    """
    names = [light.name for light in lights]
    if not config.light and len(lights) == 1:
        return lights[0]
    if config.light not in names:
        raise InputError(
            f"no light {config.light!r}" if config.light else f"{len(lights)} lights, none of them named",
            where="microscope.optics.structured_illumination.light",
            allowed=", ".join(names) or "no light is configured",
            remedy="name the light that makes the fringes",
        )
    return lights[names.index(config.light)]

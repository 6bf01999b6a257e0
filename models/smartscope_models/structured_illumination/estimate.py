"""Everything that a reconstruction must know, out of the raw frames alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Doubles, Layout
from smartscope_models.structured_illumination.carriers import CarrierSearch, refined
from smartscope_models.structured_illumination.depth import depth
from smartscope_models.structured_illumination.field import Field
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.phases import (
    STEP_SPREAD_RAD,
    Measured,
    agreed,
    from_plane,
    from_regression,
    joint_doubt,
    tied,
)
from smartscope_models.structured_illumination.power import Power, measure_power
from smartscope_models.structured_illumination.separation import separation

NEAREST, FURTHEST = 0.35, 1.0
"""Carriers of the finest order are looked for between these shares of the cut-off."""
STRAYED = 0.6
"""Frequency steps between the second order's own carrier and twice the first's from which the first alone counts."""
COARSE = 0.4
"""Share of the cut-off below which frames differ in brightness alone."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was found, with what it rests on."""

    parameters: Parameters
    power: Power
    peaks: Doubles
    """(angles, orders) height of each carrier's peak over the median of where it was looked for; NaN if not looked."""
    doubts_rad: Doubles
    """(angles, orders) standard error of a frame's phase."""


class Estimator:
    """For stacks of one layout, size and lens; ``cutoff`` in cycles per field."""

    def __init__(self, layout: Layout, size: int, cutoff: float, device: str = "cpu") -> None:
        self.layout, self.field = layout, Field(size, cutoff, device)
        self._search = CarrierSearch(self.field)

    def run(self, frames: Tensor, known: Parameters | None = None) -> Estimate:
        """(frames, N, N) float32 electrons → everything; with ``known`` its carriers are refined, not searched for."""
        layout, field = self.layout, self.field
        pictures = (frames - frames.mean((1, 2), keepdim=True)) * field.fade
        stack = _Stack(layout, field, pictures)
        power = measure_power(stack.mean, field.passed, field.radius, field.cutoff, field.energy, layout.frames)
        found = [self._angle(stack, angle, power, known) for angle in range(layout.angles)]
        carriers, phases, depths, gains, peaks, doubts = (np.array(part) for part in zip(*found, strict=True))
        return Estimate(Parameters(carriers, phases, depths, gains), power, peaks, doubts)

    def _angle(self, stack: _Stack, angle: int, power: Power, known: Parameters | None) -> tuple[Doubles, ...]:
        layout, field = self.layout, self.field
        steps = layout.nominal_phases()[angle]
        gains = stack.gains(angle, power)
        phases = steps if known is None else known.phases_rad[angle]
        carriers, peaks = self._found(stack, angle, phases, gains, known)
        by_plane = self._plane(stack, angle, gains, carriers, power, steps)
        if by_plane is not None:
            phases = agreed([Measured(steps[:, 0], STEP_SPREAD_RAD), by_plane])[:, None]
        carriers = self._refined(stack, angle, phases, gains, carriers, power)
        phases, doubts = self._phases(stack, angle, gains, carriers, power, steps, by_plane)
        depths = np.empty(layout.orders, complex)
        for order in range(layout.orders):
            band, noise = stack.band(angle, order, phases, gains), _noise(phases, gains, order)
            densities = power.specimen(field.radius), power.noise / layout.frames, power.noise * noise
            depths[order] = depth(field, stack.mean, band, carriers[order], densities)
        return carriers, phases + np.angle(depths), np.abs(depths), gains, peaks, doubts

    def _found(
        self, stack: _Stack, angle: int, phases: Doubles, gains: Doubles, known: Parameters | None
    ) -> tuple[Doubles, Doubles]:
        """Carriers (orders, 2) to about half a step, and how far their peaks stand out (orders,)."""
        layout, cutoff = self.layout, self.field.cutoff
        if known is not None:
            return known.carriers[angle], np.full(layout.orders, np.nan)
        if layout.beams == 3:  # the second order is faint where it is looked for; it lies at twice the first
            band = stack.band(angle, 0, phases, gains)
            carrier, peak = self._search.find(stack.mean, band, NEAREST / 2 * cutoff, FURTHEST / 2 * cutoff)
            return np.stack([carrier, 2 * carrier]), np.array([peak, np.nan])
        found = [
            self._search.find(stack.mean, stack.band(angle, order, phases, gains), NEAREST * cutoff, FURTHEST * cutoff)
            for order in range(layout.orders)
        ]
        return np.array([carrier for carrier, _ in found]), np.array([peak for _, peak in found])

    def _plane(
        self, stack: _Stack, angle: int, gains: Doubles, carriers: Doubles, power: Power, steps: Doubles
    ) -> Measured | None:
        if self.layout.orders > 1 or self.layout.angles == 1:
            return None
        differences = stack.half_differences(angle, gains)
        ratios = stack.ratios(gains)
        return from_plane(self.field, differences, ratios, carriers[0], power, stack.shared, steps[:, 0])

    def _refined(
        self, stack: _Stack, angle: int, phases: Doubles, gains: Doubles, carriers: Doubles, power: Power
    ) -> Doubles:
        found = np.empty_like(carriers)
        for order, carrier in enumerate(carriers):
            noise = power.noise * _noise(phases, gains, order)
            densities = power.specimen(self.field.radius), power.noise / self.layout.frames, noise
            band = stack.band(angle, order, phases, gains)
            found[order] = refined(self.field, stack.mean, band, carrier, densities)
        return _doubled(found) if self.layout.beams == 3 else found

    def _phases(
        self,
        stack: _Stack,
        angle: int,
        gains: Doubles,
        carriers: Doubles,
        power: Power,
        steps: Doubles,
        by_plane: Measured | None,
    ) -> tuple[Doubles, Doubles]:
        """(phases, orders) and their standard errors (orders,)."""
        differences, light = stack.differences(angle, gains), stack.others(angle)
        ratios = stack.ratios(gains)
        regressed = from_regression(self.field, differences, light, ratios, carriers, power, stack.shared)
        if self.layout.beams == 3:
            return tied(regressed, steps)
        phases, doubts = np.empty_like(steps), np.empty(len(carriers))
        for order, by_light in enumerate(regressed):
            measured = [by_light, Measured(steps[:, order], STEP_SPREAD_RAD)]
            if by_plane is not None:
                measured.append(by_plane)
            phases[:, order], doubts[order] = agreed(measured), joint_doubt(measured)
        return phases, doubts


class _Stack:
    """Faded frames without their means, as pictures and as half-spectra."""

    def __init__(self, layout: Layout, field: Field, pictures: Tensor) -> None:
        self._layout, self._field = layout, field
        self._pictures = pictures.reshape(layout.angles, layout.phases, field.size, field.size)
        self._halves = torch.fft.rfft2(pictures).reshape(layout.angles, layout.phases, field.size, -1)
        self.mean = torch.fft.fft2(pictures.mean(0))
        """(N, N) spectrum of band 0."""
        self.shared = 1 / (layout.phases * max(layout.angles - 1, 1))
        """Noise of the light of the other angles, over that of a frame."""

    def _but(self, angle: int) -> list[int]:
        return [other for other in range(self._layout.angles) if other != angle] or [angle]

    def others(self, angle: int) -> Tensor:
        """(N, N) spectrum of band 0 of the other angles; of the own where there is no other."""
        light: Tensor = torch.fft.fft2(self._pictures[self._but(angle)].mean((0, 1)))
        return light

    def differences(self, angle: int, gains: Doubles) -> Tensor:
        """(phases, N, N) frames minus that light."""
        ratios = _column(self.ratios(gains), self._field)
        found: Tensor = self._pictures[angle] - ratios * self._pictures[self._but(angle)].mean((0, 1))
        return found

    def half_differences(self, angle: int, gains: Doubles) -> Tensor:
        """(phases, N, N / 2 + 1) their half-spectra."""
        ratios = _column(self.ratios(gains), self._field)
        found: Tensor = self._halves[angle] - ratios * self._halves[self._but(angle)].mean((0, 1))
        return found

    def gains(self, angle: int, power: Power) -> Doubles:
        """(phases,) brightness of each frame over the mean of all: regression on that light where it is coarse."""
        field = self._field
        coarse = ((field.radius > 0) & (field.radius < COARSE * field.cutoff))[:, : field.size // 2 + 1]
        light = self._halves[self._but(angle)].mean((0, 1))[coarse]
        energy = float(light.abs().square().sum()) - power.noise * self.shared * field.energy * len(light)
        ratios = ((self._halves[angle][:, coarse] * light.conj()).sum(1).real / energy).cpu().numpy().astype(float)
        return np.asarray(ratios * self._share(float(ratios.mean())))

    def _share(self, ratio: float) -> float:
        """Brightness of the light of the other angles over the mean of all, from how much brighter the own is."""
        angles = self._layout.angles
        return angles / (angles - 1 + ratio) if angles > 1 else 1.0

    def ratios(self, gains: Doubles) -> Doubles:
        """(phases,) brightness of the frames of one angle over the light of the others."""
        angles = self._layout.angles
        others = (angles - gains.mean()) / (angles - 1) if angles > 1 else 1.0
        return np.asarray(gains / others)

    def band(self, angle: int, order: int, phases: Doubles, gains: Doubles) -> Tensor:
        """(N, N) complex picture of one side band."""
        row = torch.from_numpy(separation(phases)[1 + order] / gains).to(self._field.device, torch.complex64)
        own = self._pictures[angle].flatten(1)
        return torch.complex(row.real @ own, row.imag @ own).reshape(self._field.size, -1)


def _doubled(carriers: Doubles) -> Doubles:
    """Two orders (2, 2) of one pattern: the second at twice the first, where both agree their mean."""
    first, half = carriers[0], carriers[1] / 2
    agree = np.hypot(*(carriers[1] - 2 * first)) <= STRAYED
    # what is found of the second order is twice as exact once it is halved, so that it weighs four times as much
    pattern = (first + 4 * half) / 5 if agree else first
    return np.stack([pattern, 2 * pattern])


def _noise(phases: Doubles, gains: Doubles, order: int) -> float:
    """Variance of a side band over that of a frame."""
    return float((np.abs(separation(phases)[1 + order] / gains) ** 2).sum())


def _column(values: Doubles, field: Field) -> Tensor:
    return torch.from_numpy(values).to(field.device, torch.float32)[:, None, None]

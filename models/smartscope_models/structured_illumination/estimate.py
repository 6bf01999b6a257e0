"""Everything that a reconstruction must know, out of the raw frames alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartscope.optics.pattern_layout import Doubles, Layout
from smartscope_models.structured_illumination.carriers import CarrierSearch
from smartscope_models.structured_illumination.field import Field
from smartscope_models.structured_illumination.overlap import Overlap
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.phases import (
    STEP_SPREAD_RAD,
    Measured,
    agreed,
    from_plane,
    joint_doubt,
    tied,
)
from smartscope_models.structured_illumination.power import Power, measure_power
from smartscope_models.structured_illumination.separation import separation
from smartscope_models.structured_illumination.spectra import Spectra

NEAREST, FURTHEST = 0.35, 1.0
"""Carriers of the finest order are looked for between these shares of the cut-off."""
STRAYED = 0.6
"""Frequency steps between the second order's own carrier and twice the first's from which the first alone counts."""


FITTED = 3
"""What was fitted to the same noise, and thereby made the depth larger: the carrier's two parts and the phase."""
DEPTH_SPREAD = 0.03
"""By what share the depths of an instrument's angles differ at least."""


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
        spectra = Spectra(self.layout, self.field, frames)
        power = measure_power(self.field, spectra.mean, self.layout.frames)
        found = [self._angle(spectra, angle, power, known) for angle in range(self.layout.angles)]
        carriers, phases, depths, unsure, gains, peaks, doubts = (np.array(part) for part in zip(*found, strict=True))
        parameters = Parameters(carriers, phases, alike(depths, unsure), gains)
        return Estimate(parameters, power, peaks, doubts)

    def _angle(self, spectra: Spectra, angle: int, power: Power, known: Parameters | None) -> tuple[Doubles, ...]:
        layout = self.layout
        steps = layout.nominal_phases()[angle]
        gains = spectra.gains(angle, power)
        phases = steps if known is None else known.phases_rad[angle]
        carriers, peaks = self._found(spectra, angle, phases, gains, power, known)
        fringes, ratios = spectra.differences(angle, gains), spectra.ratios(gains)
        by_plane = None
        if layout.orders == 1 and layout.angles > 1:
            by_plane = from_plane(self.field, fringes, ratios, carriers[0], power, spectra.shared, steps[:, 0])
        if by_plane is not None:
            phases = agreed([Measured(steps[:, 0], STEP_SPREAD_RAD), by_plane])[:, None]
        rows = _rows(phases, gains)
        overlaps = [
            self._overlap(spectra, fringes, carrier, power, row) for carrier, row in zip(carriers, rows, strict=True)
        ]
        carriers = np.array([overlap.refined(row) for overlap, row in zip(overlaps, rows, strict=True)])
        if layout.beams == 3:
            carriers = _doubled(carriers)
        amplitudes = [overlap.amplitudes(carrier) / gains for overlap, carrier in zip(overlaps, carriers, strict=True)]
        measured = [
            _phases(found, overlap.variance * (1 + spectra.shared))
            for found, overlap in zip(amplitudes, overlaps, strict=True)
        ]
        phases, doubts = self._agreed(measured, by_plane, steps)
        rows = _rows(phases, np.ones_like(gains))
        depths = np.array([row @ found for row, found in zip(rows, amplitudes, strict=True)])
        noises = [found.variance * float((np.abs(row) ** 2).sum()) for row, found in zip(rows, overlaps, strict=True)]
        unsure = np.sqrt(np.array(noises) / 2)
        sizes = np.sqrt(np.maximum(np.abs(depths) ** 2 - FITTED * unsure**2, 0.0))
        return carriers, phases + np.angle(depths), sizes, unsure, gains, peaks, doubts

    def _overlap(
        self, spectra: Spectra, fringes: Tensor, carrier: Doubles, power: Power, row: npt.NDArray[np.complex128]
    ) -> Overlap:
        variances = 1 / self.layout.frames, float((np.abs(row) ** 2).sum())
        return Overlap(self.field, spectra.mean, fringes, carrier, power, variances, spectra.grain)

    def _found(
        self, spectra: Spectra, angle: int, phases: Doubles, gains: Doubles, power: Power, known: Parameters | None
    ) -> tuple[Doubles, Doubles]:
        """Carriers (orders, 2) to about half a step, and how far their peaks stand out (orders,)."""
        layout = self.layout
        if known is not None:
            return known.carriers[angle], np.full(layout.orders, np.nan)
        frames = torch.cat([spectra.pictures[angle], spectra.pictures.mean((0, 1))[None]])
        rows = [_real(row, self.field.device) for row in _rows(phases, gains)]
        light = power, power.noise / layout.frames
        if layout.beams == 3:  # the second order is faint where it is looked for; it lies at twice the first
            carrier, peak = self._search.find(frames, rows[0], NEAREST / 2, FURTHEST / 2, *light)
            return np.stack([carrier, 2 * carrier]), np.array([peak, np.nan])
        found = [self._search.find(frames, row, NEAREST, FURTHEST, *light) for row in rows]
        return np.array([carrier for carrier, _ in found]), np.array([peak for _, peak in found])

    def _agreed(self, measured: list[Measured], by_plane: Measured | None, steps: Doubles) -> tuple[Doubles, Doubles]:
        """(phases, orders) and their standard errors (orders,)."""
        if self.layout.beams == 3:
            return tied(measured, steps)
        phases, doubts = np.empty_like(steps), np.empty(len(measured))
        for order, by_light in enumerate(measured):
            votes = [by_light, Measured(steps[:, order], STEP_SPREAD_RAD), *([by_plane] if by_plane else [])]
            phases[:, order], doubts[order] = agreed(votes), joint_doubt(votes)
        return phases, doubts


def _doubled(carriers: Doubles) -> Doubles:
    """Two orders (2, 2) of one pattern: the second at twice the first, where both agree their mean."""
    first, half = carriers[0], carriers[1] / 2
    agree = np.hypot(*(carriers[1] - 2 * first)) <= STRAYED
    # what is found of the second order is twice as exact once it is halved, so that it weighs four times as much
    pattern = (first + 4 * half) / 5 if agree else first
    return np.stack([pattern, 2 * pattern])


def alike(depths: Doubles, doubts: Doubles) -> Doubles:
    """(angles, orders) depths, each between its own and the mean of its order as their standard errors say.

    How much the angles truly differ is what their scatter shows beyond the errors, but no less than DEPTH_SPREAD
    (DerSimonian and Laird, Control. Clin. Trials 7:177 (1986)).
    """
    if len(depths) < 2:
        return depths
    errors = (doubts**2).mean(0)
    mean = depths.mean(0)
    true = np.maximum(depths.var(0, ddof=1) - errors, (DEPTH_SPREAD * mean) ** 2)
    return np.asarray(mean + (depths - mean) * true / (true + doubts**2))


def _rows(phases: Doubles, gains: Doubles) -> npt.NDArray[np.complex128]:
    """(orders, phases): what frames are multiplied by to give the side bands."""
    return np.asarray(separation(phases)[1:] / gains)


def _real(row: npt.NDArray[np.complex128], device: torch.device) -> Tensor:
    """(2, phases) real and imaginary part."""
    return torch.from_numpy(np.stack([row.real, row.imag])).to(device, torch.float32)


def _phases(amplitudes: npt.NDArray[np.complex128], variance: float) -> Measured:
    """From the amplitudes (phases,) of the frames of one angle, each of that ``variance``."""
    strength = float(np.mean(np.abs(amplitudes) ** 2))
    return Measured(np.angle(amplitudes), float(np.sqrt(variance / 2 / max(strength, 1e-12))))

"""Raw stacks under drawn fringes, optics and light levels, and the image that they should become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from smartscope.optics.pattern_layout import Layout
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.transfer import lens
from smartscope_models.training.scenes import BRIGHTEST, SHARES, splat
from smartscope_models.training.structures import FIELD_STRUCTURES, POINT_STRUCTURES, Doubles

MARGIN_PX = 16
"""Raw pixels simulated around the field, so that nothing wraps at its edge."""
CUTOFFS = (0.24, 0.47)
"""Of the lens, cycles per raw pixel."""
CARRIERS = (0.7, 0.95)
"""Of the finest order, in cut-offs."""
MODULATIONS = (0.4, 1.0)
THREE_BEAMS_SHARE = 0.15
EMPTY_SHARE = 0.15
HAZY_SHARE = 0.3
LEVELS_E, MIDDLE_E = (10.0, 2000.0), 100.0
"""Electrons at the brightest places in the sum of all frames, log-uniform; half of all stacks are below MIDDLE_E."""
BACKGROUNDS = (0.02, 0.5)
"""In terms of the brightest places, log-uniform."""
READ_NOISES_E = (0.7, 3.0)
STEP_ERROR_RAD = float(np.radians(5.0))
MOST_BLEACHED = 0.15


@dataclass(frozen=True, slots=True)
class Stack:
    """One specimen, taken twice with independent noise."""

    frames: Tensor
    """(2, frames, N, N) float32 electrons."""
    truth_e: Tensor
    """(2N, 2N) float32 electrons per raw pixel and frame, through the lens of twice the aperture."""
    layout: Layout
    cutoff: float
    """Of the lens, cycles per field."""
    known: Parameters
    """The fringes as they would be measured: nearly right."""


def draw_stack(seed: tuple[int, ...], size: int, peak_e: float = 0.0, kind: str = "") -> Stack:
    """A stack of ``size`` raw pixels; the same seed gives the same on one machine and version.

    peak_e, kind: the light level and the structure, in place of drawn ones.
    """
    rng = np.random.default_rng(seed)
    cutoff = rng.uniform(*CUTOFFS)
    layout = Layout(3, 5, 3) if rng.random() < THREE_BEAMS_SHARE else Layout()
    true = _fringes(layout, cutoff * size, rng)
    empty = rng.random() < EMPTY_SHARE and not kind
    sharp, haze = _specimen(size + 2 * MARGIN_PX, cutoff, empty, kind, rng)
    drawn_e, background, read_e = _level(rng), _log_uniform(BACKGROUNDS, rng), _log_uniform(READ_NOISES_E, rng)
    peak_e = peak_e or drawn_e
    light = peak_e / layout.frames
    gains = true.gains.reshape(-1, 1, 1)
    seen = light * gains * (_exposed(sharp, haze, layout, true, cutoff, size) + background)
    noisy = rng.poisson(seen, (2, *seen.shape)) + rng.normal(0, read_e, (2, *seen.shape))
    truth = light * (_ideal(sharp + haze, true, cutoff, size) + background)
    known = _measured(true, peak_e, rng)
    return Stack(_tensor(noisy), _tensor(truth), layout, cutoff * size, known)


def _log_uniform(span: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(span))))


def _level(rng: np.random.Generator) -> float:
    low, high = LEVELS_E
    return _log_uniform((low, MIDDLE_E) if rng.random() < 0.5 else (MIDDLE_E, high), rng)


def _tensor(values: Doubles) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


# ------------------------------------------------------------------------------------------------ fringes


def _fringes(layout: Layout, cutoff: float, rng: np.random.Generator) -> Parameters:
    length = rng.uniform(*CARRIERS) * cutoff * rng.uniform(0.98, 1.0, layout.angles)
    direction = rng.uniform(0, np.pi) + np.pi / layout.angles * np.arange(layout.angles)
    finest = length[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1)
    multiples = np.arange(1, layout.orders + 1)
    carriers = finest[:, None] * multiples[:, None] / layout.orders
    offsets = rng.uniform(0, 2 * np.pi, (layout.angles, 1)) + rng.normal(
        0, STEP_ERROR_RAD, (layout.angles, layout.phases)
    )
    phases = layout.nominal_phases() + offsets[..., None] * multiples
    depths = rng.uniform(*MODULATIONS) * np.array([[1.0] if layout.orders == 1 else [0.5, 1.0]] * layout.angles)
    gains = 1 - rng.uniform(0, MOST_BLEACHED) * np.linspace(0, 1, layout.frames) + rng.normal(0, 0.005, layout.frames)
    return Parameters(carriers, phases, depths, (gains / gains.mean()).reshape(layout.angles, layout.phases))


def _measured(true: Parameters, peak_e: float, rng: np.random.Generator) -> Parameters:
    """The less light, the further from the truth; as far as ``Estimator`` is."""
    doubt = peak_e**-0.5
    gains = true.gains * (1 + rng.normal(0, 0.002 + 0.02 * doubt, true.gains.shape))
    return Parameters(
        true.carriers + rng.normal(0, 0.01 + 0.2 * doubt, true.carriers.shape),
        true.phases_rad + rng.normal(0, np.radians(1.0 + 12.0 * doubt), true.phases_rad.shape),
        true.modulation * (1 + rng.normal(0, 0.02 + 0.3 * doubt, true.modulation.shape)),
        gains / gains.mean(),
    )


# ----------------------------------------------------------------------------------------------- specimen


def _specimen(full: int, cutoff: float, empty: bool, kind: str, rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """(2 full, 2 full) what is in focus and what is not; together about 1 at the brightest places in widefield."""
    fine = 2 * full
    if empty:
        return np.zeros((fine, fine)), np.zeros((fine, fine))
    optics = _lens(fine, cutoff)
    sharp = np.zeros((fine, fine))
    for _ in range(1 + int(rng.random() < 0.3)):
        layer = _layer(fine, kind, rng)
        sharp += layer * (rng.uniform(0.2, 1.0) / _brightest(_filtered(layer, optics)))
    haze = np.zeros_like(sharp)
    if rng.random() < HAZY_SHARE:
        radius_px = _log_uniform((3.0, 20.0), rng)
        haze = rng.uniform(0.1, 1.0) * _filtered(sharp, _blur(fine, radius_px)).clip(0)
    scale = _brightest(_filtered(sharp + haze, optics))
    return sharp / scale, haze / scale


def _layer(fine: int, kind: str, rng: np.random.Generator) -> Doubles:
    name = kind or str(rng.choice(list(SHARES), p=list(SHARES.values())))
    if name in FIELD_STRUCTURES:
        return FIELD_STRUCTURES[name](fine, rng)
    scale = rng.uniform(0.7, 1.0 if name == "cells" else 1.8)  # bodies are sampled too coarsely to be larger
    points = POINT_STRUCTURES[name](int(fine / scale) + 1, rng)
    xy = (points.xy_px + 0.5) * scale - 0.5
    image = np.zeros((fine, fine))
    splat(xy[:, 0], xy[:, 1], points.amount, image)
    return image


def _brightest(image: Doubles) -> float:
    return float(max(np.percentile(image, 99.7), image.max() / BRIGHTEST, 1e-9))


# ------------------------------------------------------------------------------------------------- optics


def _exposed(sharp: Doubles, haze: Doubles, layout: Layout, true: Parameters, cutoff: float, size: int) -> Doubles:
    """(frames, N, N) light on the raw pixels; what is out of focus sees no fringes."""
    fine = len(sharp)
    fx, fy = fft.rfftfreq(fine, 0.5)[None], fft.fftfreq(fine, 0.5)[:, None]
    blur = _lens(fine, cutoff) * np.sinc(fx / 2) * np.sinc(fy / 2)  # with the mean of 2 x 2: a raw pixel's area
    place = ((np.arange(fine) + 0.5) / 2 - MARGIN_PX) / size
    frames = np.empty((layout.frames, size, size))
    for frame in range(layout.frames):
        angle, phase = divmod(frame, layout.phases)
        fringes = np.ones((fine, fine))
        for (kx, ky), shift, depth in zip(
            true.carriers[angle], true.phases_rad[angle, phase], true.modulation[angle], strict=True
        ):
            fringes += depth * np.cos(2 * np.pi * (kx * place[None, :] + ky * place[:, None]) + shift)
        seen = _filtered(sharp * fringes.clip(0) + haze, blur)
        raw = seen.reshape(fine // 2, 2, fine // 2, 2).mean((1, 3))
        frames[frame] = raw[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    return frames.clip(0)


def _ideal(scene: Doubles, true: Parameters, cutoff: float, size: int) -> Doubles:
    """(2N, 2N): all that the orders carry, through a lens of their reach."""
    fine = len(scene)
    fx, fy = fft.rfftfreq(fine, 0.5)[None], fft.fftfreq(fine, 0.5)[:, None]
    carried = np.hypot(fx, fy) < cutoff
    for kx, ky in true.carriers.reshape(-1, 2) / size:
        carried |= (np.hypot(fx - kx, fy - ky) < cutoff) | (np.hypot(fx + kx, fy + ky) < cutoff)
    reach = cutoff + float(np.hypot(*true.carriers.reshape(-1, 2).T).max()) / size
    rim = 2 * MARGIN_PX
    return _filtered(scene, carried * _lens(fine, reach))[rim:-rim, rim:-rim]


def _lens(fine: int, cutoff: float) -> Doubles:
    """Half-spectrum (fine, fine / 2 + 1) of a lens; cycles per raw pixel."""
    radius = np.hypot(fft.rfftfreq(fine, 0.5)[None], fft.fftfreq(fine, 0.5)[:, None])
    return np.asarray(lens(torch.from_numpy(radius), cutoff))


def _blur(fine: int, radius_px: float) -> Doubles:
    radius = np.hypot(fft.rfftfreq(fine, 0.5)[None], fft.fftfreq(fine, 0.5)[:, None])
    return np.asarray(np.exp(-2 * (np.pi * radius_px * radius) ** 2))


def _filtered(image: Doubles, weight: Doubles) -> Doubles:
    return np.asarray(fft.irfft2(fft.rfft2(image) * weight, s=image.shape))

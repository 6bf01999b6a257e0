"""Lessons for a network that localises: molecules that blink, in crops of three frames, and what is true of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from smartscope_models.localization.sight import SCALE, Z_UNIT_NM, conditions_of
from smartscope_models.training.cameras import Detectors, draw_cameras
from smartscope_models.training.network import stabilise

FRAMES = 3
Doubles = npt.NDArray[np.float64]
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Fields:
    """Ranges from which a lesson is drawn; log-uniform where both ends are above 0."""

    density_per_px: Range = (5e-4, 0.03)
    """Glowing molecules at any moment; at 100 nm pixels 0.05 to 3 per square micrometre."""
    photons_e: Range = (250.0, 5000.0)
    """Median of what one molecule sends in a whole frame, electrons."""
    photon_spread: Range = (0.0, 0.5)
    """Of the logarithm, from molecule to molecule."""
    background_e: Range = (1.0, 100.0)
    unevenness: float = 0.5
    """Of the background from one end of the field to the other, at most."""
    sigma_px: Range = (0.9, 1.8)
    misjudged_sigma: float = 0.04
    """Standard deviation of the true width over the width that is told."""
    misjudged_level: float = 0.15
    """Standard deviation of the logarithm of the background that is told."""
    on_frames: Range = (0.5, 8.0)
    """Mean time for which a molecule glows, where it may glow in several frames."""
    fleeting_share: float = 0.5
    """Of lessons in which no molecule glows in two frames."""
    faintest_e: float = 40.0
    """Less light in a frame counts as none."""
    single_share: float = 0.15
    """Of lessons without earlier frames, as at the start of a movie."""
    focal_offset_nm: Range = (150.0, 350.0)
    focal_depth_nm: Range = (280.0, 550.0)
    depth_nm: float = 0.0
    """Molecules lie within plus and minus this; 0: all in focus, and spots are round."""
    detectors: Detectors = field(default_factory=lambda: Detectors(photomultiplier_share=0.0, misjudged_share=0.0))


@dataclass(frozen=True, slots=True)
class Lessons:
    """B crops and what is true of their newest frames; lengths in pixels from the centre of the top-left pixel."""

    seen: Tensor
    """(B, FRAMES, S, S) as ``sight`` hands it to the network, oldest first."""
    earlier: Tensor
    """(B,) 1 where the earlier frames are there, else 0."""
    conditions: Tensor
    """(B, CONDITIONS)"""
    molecules: Tensor
    """(B, E, 4) x, y, log of electrons / F², height in ``Z_UNIT_NM``; padded."""
    present: Tensor
    """(B, E) whether there is such a molecule, in the crop and bright enough."""
    background: Tensor
    """(B, 1, S, S) stabilised, less the level told, over ``SCALE``."""


def draw_lessons(fields: Fields, number: int, edge: int, seed: tuple[int, ...]) -> Lessons:
    """``number`` crops of ``edge`` pixels; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    sigma_px, offset_nm, depth_nm = (drawn_from(r, number, rng) for r in _optics(fields))
    told_px = sigma_px * np.exp(rng.normal(0, fields.misjudged_sigma, number))
    floor_e = drawn_from(fields.background_e, number, rng)
    molecules = _glowing(fields, number, edge, rng)
    light = _rendered(molecules, edge, sigma_px, offset_nm, depth_nm)
    floor = uneven(floor_e, fields.unevenness, edge, rng)
    cameras = draw_cameras(fields.detectors, floor_e + 500.0, floor_e, rng)
    read_map = cameras.read_map(edge, noise)
    counts = cameras.counts(light + floor, read_map, noise)
    factor = cameras.noise_factor
    variance = (read_map**2 + cameras.step_e**2 / 12) / factor**2
    usual = ((cameras.read_e**2 + cameras.step_e**2 / 12) / factor**2).flatten()
    per_count = (cameras.step_e / factor).expand_as(variance)
    calibration = torch.cat([torch.zeros_like(variance), per_count, variance], dim=1)
    nominal = torch.stack([torch.zeros_like(usual), torch.ones_like(usual), usual], dim=1)
    stable = stabilise(counts, calibration, nominal)
    shift = usual.reshape(-1, 1, 1, 1) + 0.375
    told_e = torch.tensor(floor_e * np.exp(rng.normal(0, fields.misjudged_level, number))).float().reshape(-1, 1, 1, 1)
    level = 2 * torch.sqrt(told_e / factor + shift)
    earlier = torch.tensor(rng.random(number) >= fields.single_share).float()
    conditions = conditions_of(told_px, level.flatten().numpy(), offset_nm, depth_nm, round_=fields.depth_nm == 0)
    logs = torch.log(molecules.photons_e[:, -1] / factor.reshape(-1, 1)).clamp(min=0.0)
    where = torch.stack([molecules.x_px, molecules.y_px, logs, molecules.z_nm / Z_UNIT_NM], dim=-1)
    inside = (where[..., :2] > -0.5).all(-1) & (where[..., :2] < edge - 0.5).all(-1)
    present = inside & (molecules.photons_e[:, -1] >= fields.faintest_e)
    quiet = 2 * torch.sqrt(floor / factor + shift)
    return Lessons((stable - level) / SCALE, earlier, torch.from_numpy(conditions), where, present,
                   (quiet - level) / SCALE)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Molecules:
    x_px: Tensor
    """(B, E)"""
    y_px: Tensor
    z_nm: Tensor
    photons_e: Tensor
    """(B, FRAMES, E) electrons in each frame; 0 where there is no molecule."""


def _optics(fields: Fields) -> tuple[Range, Range, Range]:
    return fields.sigma_px, fields.focal_offset_nm, fields.focal_depth_nm


def drawn_from(low_high: Range, number: int, rng: np.random.Generator) -> Doubles:
    """(B,) values; log-uniform where both ends are above 0."""
    low, high = low_high
    if low > 0:
        return np.asarray(np.exp(rng.uniform(math.log(low), math.log(high), number)))
    return np.asarray(rng.uniform(low, high, number))


def _glowing(fields: Fields, number: int, edge: int, rng: np.random.Generator) -> _Molecules:
    """Molecules of all lessons, padded; a margin around the crop holds some too, whose light reaches into it."""
    margin = 3 * fields.sigma_px[1]
    side = edge + 2 * margin
    on_frames = drawn_from(fields.on_frames, number, rng)
    fleeting = rng.random(number) < fields.fleeting_share
    density = drawn_from(fields.density_per_px, number, rng)
    # those that began up to eight mean times before the first frame and have mostly gone out
    span = np.where(fleeting, FRAMES, FRAMES + 8 * on_frames)
    mean = np.where(fleeting, density * FRAMES, density * span / on_frames) * side * side
    count = rng.poisson(mean)
    most = int(count.max(initial=1))
    listed = np.arange(most) < count[:, None]
    shape = (number, most)
    begin = np.where(fleeting[:, None], rng.integers(0, FRAMES, shape), rng.uniform(0, 1, shape) * span[:, None])
    begin = np.where(fleeting[:, None], begin, begin - (span - FRAMES)[:, None])
    end = begin + np.where(fleeting[:, None], 1.0, rng.exponential(1.0, shape) * on_frames[:, None])
    frame = np.arange(FRAMES)[None, :, None]
    share = np.clip(np.minimum(end[:, None], frame + 1) - np.maximum(begin[:, None], frame), 0, 1)
    spread = drawn_from(fields.photon_spread, number, rng)
    median = drawn_from(fields.photons_e, number, rng)
    bright = median[:, None] * np.exp(rng.normal(0, 1, shape) * spread[:, None])
    photons = share * (bright * listed)[:, None]
    # only those that glow at all are worth rendering
    dark = photons.sum(1) <= 0
    kept = np.argsort(dark, axis=1, kind="stable")[:, : max(1, int((~dark).sum(1).max()))]
    pick = np.take_along_axis
    x, y = rng.uniform(-margin - 0.5, edge - 0.5 + margin, (2, *shape))
    z = rng.uniform(-fields.depth_nm, fields.depth_nm, shape)
    x_px, y_px, z_nm = (torch.from_numpy(pick(a, kept, 1).astype(np.float32)) for a in (x, y, z))
    return _Molecules(x_px, y_px, z_nm, torch.from_numpy(pick(photons, kept[:, None], 2).astype(np.float32)))


def _rendered(found: _Molecules, edge: int, sigma_px: Doubles, offset_nm: Doubles, depth_nm: Doubles) -> Tensor:
    """(B, FRAMES, edge, edge) expected electrons: Gaussians integrated over each pixel."""

    def width(centre_nm: Doubles) -> Tensor:
        centre, depth, sigma = (_column(a) for a in (centre_nm, depth_nm, sigma_px))
        away = (found.z_nm - centre) / depth
        flat = not bool(found.z_nm.any())
        return sigma.expand_as(found.z_nm) if flat else sigma * torch.sqrt(1 + away**2)

    across = shares(found.x_px, width(offset_nm), edge)
    down = shares(found.y_px, width(-offset_nm), edge)
    return torch.einsum("bte,bey,bex->btyx", found.photons_e, down, across)


def shares(centre: Tensor, sigma: Tensor, edge: int) -> Tensor:
    """(B, E) → (B, E, edge): what part of a Gaussian falls on each line of pixels."""
    edges = torch.arange(edge + 1) - 0.5
    below = torch.erf((edges - centre[..., None]) / (math.sqrt(2) * sigma[..., None]))
    return 0.5 * below.diff(dim=-1)


def _column(values: Doubles) -> Tensor:
    return torch.tensor(values.astype(np.float32)).reshape(-1, 1)


def uneven(floor_e: Doubles, most: float, edge: int, rng: np.random.Generator) -> Tensor:
    """(B, 1, edge, edge) background: a slope and a slow wave, its mean about ``floor_e``."""
    number, axis = len(floor_e), np.linspace(-0.5, 0.5, edge)
    part = most * rng.random((number, 1, 1)) ** 2
    slope_x, slope_y = rng.uniform(-1, 1, (2, number, 1, 1)) * part
    turns, phase = rng.uniform(0, 1.5, (2, number, 1, 1)), rng.uniform(0, 2 * math.pi, (number, 1, 1))
    wave = np.sin(2 * math.pi * (turns[0] * axis[:, None] + turns[1] * axis) + phase)
    field_ = 1 + slope_x * axis + slope_y * axis[:, None] + 0.4 * part * wave
    return torch.from_numpy((floor_e[:, None, None] * field_).astype(np.float32))[:, None]

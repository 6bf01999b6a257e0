"""Lessons for a network that detects: spots, nuclei and organelles in crops of two frames, and what is true of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from smartscope_models.detection.answer import SCALES
from smartscope_models.detection.light import BELOW, SOFT
from smartscope_models.training.blobs import depths
from smartscope_models.training.cameras import Detectors, draw_cameras
from smartscope_models.training.molecules import Doubles, Range, drawn_from, shares, uneven
from smartscope_models.training.network import stabilise
from smartscope_models.training.nuclei import RealNuclei, Scene, draw_nuclei

FRAMES = 2
TOLD = 8
"""Columns of an object, see ``answer.COLUMNS``."""


@dataclass(frozen=True, slots=True)
class Objects:
    """Ranges from which a lesson is drawn; log-uniform where both ends are above 0."""

    spot_share: float = 0.45
    """Of the lessons of a step; the others hold nuclei or organelles."""
    real_share: float = 0.3
    """Of the lessons of a step, from real images, where there are any."""
    density_per_px: Range = (1e-4, 0.012)
    snr: Range = (1.2, 15.0)
    """Of the median spot: peak over the root of peak and background; Chenouard et al., Nat Methods 11:281 (2014)."""
    brightness_spread: Range = (0.0, 0.6)
    """Of the logarithm, from spot to spot."""
    background_e: Range = (1.0, 200.0)
    sigma_px: Range = (0.9, 2.6)
    step_px: Range = (0.0, 3.0)
    """Standard deviation of a random step, along each axis."""
    speed_px: Range = (0.0, 5.0)
    event_share: float = 0.3
    """Of spots' lessons in which some flash or divide."""
    faintest: float = 1.5
    """Light of a spot over its noise in the best filter: below, it does not count as there."""
    peak_e: Range = (4.0, 1500.0)
    """Of nuclei and organelles."""
    unevenness: float = 0.5
    single_share: float = 0.12
    """Of lessons without an earlier frame."""
    misjudged_gain: float = 0.25
    """Standard deviation of the logarithm of the noise, where whole objects are shown: cameras that nobody measured."""
    black_share: float = 0.15
    """Of lessons of whole objects in which the camera's black level hides the darkest light."""
    detectors: Detectors = field(default_factory=lambda: Detectors(misjudged_share=0.2))


@dataclass(frozen=True, slots=True)
class ObjectLessons:
    """B crops and what is true of their newest frames."""

    seen: Tensor
    """(B, 8, S/2, S/2) as ``light`` hands it to the network: the newest frame, then the one before, or zeros."""
    objects: Tensor
    """(B, E, TOLD), padded."""
    present: Tensor
    """(B, E) whether there is such an object."""
    followed: Tensor
    """(B, E) whether its motion and its events are known."""
    scale: Tensor
    """(B, E) index into ``answer.SCALES``."""
    foreground: Tensor
    """(B, 1, S/2, S/2) whether nuclei or organelles are there."""
    depth: Tensor
    """(B, 1, S/2, S/2) how deep in its object a place lies, 0 to 1."""


def draw_lessons(
    fields: Objects, number: int, edge: int, seed: tuple[int, ...], real: RealNuclei | None = None
) -> ObjectLessons:
    """``number`` crops of ``edge`` pixels, spots first; the same seed gives the same."""
    rng = np.random.default_rng(seed)
    noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
    spots = round(number * fields.spot_share)
    parts = []
    if spots:
        parts.append(_spot_lessons(fields, spots, edge, rng, noise))
    if number > spots:
        photographed = round(number * fields.real_share) if real else 0
        scenes = [
            real.draw(edge, rng) if real and k < photographed else draw_nuclei(edge, rng) for k in range(number - spots)
        ]
        parts.append(whole_lessons(fields, scenes, rng, noise))
    return _together(parts)


# ---------------------------------------------------------------------------------------------------- spots


def _spot_lessons(
    fields: Objects, number: int, edge: int, rng: np.random.Generator, noise: torch.Generator
) -> ObjectLessons:
    sigma = drawn_from(fields.sigma_px, number, rng)
    floor_e, snr = drawn_from(fields.background_e, number, rng), drawn_from(fields.snr, number, rng)
    peak = (snr**2 + snr * np.sqrt(snr**2 + 4 * floor_e)) / 2
    margin = 8.0
    count = rng.poisson(drawn_from(fields.density_per_px, number, rng) * (edge + 2 * margin) ** 2)
    shape = (number, max(int(count.max()), 1))
    listed = np.arange(shape[1]) < count[:, None]
    now = rng.uniform(-margin, edge + margin, (*shape, 2))
    bright = np.exp(rng.normal(0, 1, shape) * drawn_from(fields.brightness_spread, number, rng)[:, None])
    back = _steps(fields, shape, rng)
    wide = np.exp(rng.normal(0, 0.08, shape)) * sigma[:, None]
    events, earlier, change = _spot_events(fields, shape, back, rng)
    light_e = 2 * math.pi * wide**2 * peak[:, None] * bright * listed
    photons = np.stack([light_e * earlier, light_e], axis=1)
    widths = np.stack([wide / change, wide], axis=1)
    places = np.stack([now + back, now], axis=1)
    light = _rendered(places, widths, photons, edge)
    floor = uneven(floor_e, fields.unevenness, edge, rng)
    seen, told_factor = _shown(fields, light + floor, floor_e, floor_e + peak, rng, noise, gain_spread=0.05)
    best = peak[:, None] * bright * math.sqrt(math.pi) * wide / np.sqrt(floor_e + 0.3 * peak + 1)[:, None]
    inside = ((now > -0.5) & (now < edge - 0.5)).all(-1)
    present = listed & inside & (best / np.sqrt(told_factor)[:, None] > fields.faintest)
    log_radius = np.log(wide)[..., None]
    objects = np.concatenate([now, log_radius, back, events], axis=-1)
    half = torch.zeros(number, 1, edge // 2, edge // 2)
    followed = torch.from_numpy(earlier > 0) & (seen[:, 4:].flatten(1).abs().sum(1) > 0)[:, None]
    return ObjectLessons(
        seen,
        torch.from_numpy(objects.astype(np.float32)),
        torch.from_numpy(present),
        followed,
        torch.zeros(shape, dtype=torch.int64),
        half,
        half.clone(),
    )


def _steps(fields: Objects, shape: tuple[int, int], rng: np.random.Generator) -> Doubles:
    """(B, E, 2) from where each spot is to where it was: some wander, some go."""
    wander, speed = (rng.uniform(*low_high, shape[0])[:, None] for low_high in (fields.step_px, fields.speed_px))
    heading = rng.uniform(0, 2 * math.pi, shape)
    goes = rng.random(shape) < rng.choice([0.0, 0.4, 1.0], shape[0])[:, None]
    way = np.stack([np.cos(heading), np.sin(heading)], axis=-1) * (goes * speed)[..., None]
    return np.asarray(way + rng.normal(0, 1, (*shape, 2)) * (wander * np.where(goes, 0.33, 1.0))[..., None])


def _spot_events(
    fields: Objects, shape: tuple[int, int], back: Doubles, rng: np.random.Generator
) -> tuple[Doubles, Doubles, Doubles]:
    """Events (B, E, 3), light before over light now, width now over width before; both (B, E)."""
    lively = (rng.random(shape[0]) < fields.event_share)[:, None]
    flash = lively & (rng.random(shape) < 0.12)
    events = np.zeros((*shape, 3))
    events[..., 2] = flash
    before = np.where(flash, rng.uniform(0.1, 0.6, shape), np.exp(rng.normal(0, 0.15, shape)))
    change = np.where(flash, rng.uniform(1.0, 1.8, shape), 1.0)
    back[flash] *= 0.3
    return events, np.where(~flash & (rng.random(shape) < 0.04), 0.0, before), change


def _rendered(places: Doubles, widths: Doubles, photons: Doubles, edge: int) -> Tensor:
    """(B, FRAMES, edge, edge) of spots at (B, FRAMES, E, 2)."""
    x, y, wide, light = (
        torch.from_numpy(values.astype(np.float32)) for values in (places[..., 0], places[..., 1], widths, photons)
    )
    return torch.einsum("bte,btey,btex->btyx", light, shares(y, wide, edge), shares(x, wide, edge))


# ---------------------------------------------------------------------------------------------------- whole objects


def whole_lessons(
    fields: Objects, scenes: list[Scene], rng: np.random.Generator, noise: torch.Generator
) -> ObjectLessons:
    number, edge = len(scenes), scenes[0].light.shape[-1]
    peak, floor_e = drawn_from(fields.peak_e, number, rng), drawn_from(fields.background_e, number, rng)
    peak = np.maximum(peak, rng.uniform(0.8, 3.0, number) * np.sqrt(floor_e + 2))
    light = torch.from_numpy(np.stack([scene.light for scene in scenes])) * _column(peak)
    floor = uneven(floor_e, 0.6 * fields.unevenness, edge, rng)
    seen, _ = _shown(
        fields, light + floor, floor_e, floor_e + peak, rng, noise, fields.misjudged_gain, fields.black_share
    )
    most = max(1, max(len(scene.objects) for scene in scenes))
    objects, present = np.zeros((number, most, TOLD), np.float32), np.zeros((number, most), np.bool_)
    followed = np.zeros_like(present)
    depth = np.empty((number, 1, edge, edge), np.float32)
    for k, scene in enumerate(scenes):
        count = len(scene.objects)
        objects[k, :count], present[k, :count], followed[k, :count] = scene.objects, True, scene.followed
        depths(scene.labels, depth[k, 0])
    told = torch.from_numpy(objects)
    deep = torch.from_numpy(depth)
    return ObjectLessons(
        seen,
        told,
        torch.from_numpy(present),
        torch.from_numpy(followed) & (seen[:, 4:].flatten(1).abs().sum(1) > 0)[:, None],
        torch.where(told[..., 2] < BOUNDARY, 1, 2),
        functional.avg_pool2d((deep > 0).float(), 2),
        functional.avg_pool2d(deep, 2),
    )


BOTH = (math.log(SCALES[2].radius_px[0]), math.log(SCALES[1].radius_px[1]))
"""Logarithms of the radii between which an object may be found on either of the coarser grids."""
BOUNDARY = 0.5 * (BOTH[0] + BOTH[1])
"""From there on it belongs to the coarsest."""


# ---------------------------------------------------------------------------------------------------- the camera


def _shown(
    fields: Objects,
    light_e: Tensor,
    floor_e: Doubles,
    brightest_e: Doubles,
    rng: np.random.Generator,
    noise: torch.Generator,
    gain_spread: float,
    black_share: float = 0.0,
) -> tuple[Tensor, Doubles]:
    """What a camera makes of light (B, 2, S, S) as the network sees it, and the noise factors F² (B,)."""
    number, edge = len(light_e), light_e.shape[-1]
    cameras = draw_cameras(fields.detectors, brightest_e, floor_e, rng)
    read_map = cameras.read_map(edge, noise)
    counts = cameras.counts(light_e, read_map, noise)
    factor = cameras.noise_factor
    variance = (read_map**2 + cameras.step_e**2 / 12) / factor**2
    usual = ((cameras.read_e**2 + cameras.step_e**2 / 12) / factor**2).flatten()
    per_count = (cameras.step_e / factor).expand_as(variance)
    calibration = torch.cat([torch.zeros_like(variance), per_count, variance], dim=1)
    nominal = torch.stack([torch.zeros_like(usual), torch.ones_like(usual), usual], dim=1)
    stable = stabilise(counts, calibration, nominal)
    # the background is told a little wrongly, as it is where much of the field is lit
    told = _column(floor_e * np.exp(rng.normal(0, 0.12, number)))
    level = 2 * torch.sqrt(told / factor + usual.reshape(-1, 1, 1, 1) + 0.375) + _column(rng.normal(0, 0.4, number))
    over = (stable - level) * _column(np.exp(rng.normal(0, gain_spread, number)))
    # where most is black, so is the level that is taken off, see light.background_of
    black = _column(np.where(rng.random(number) < black_share, rng.uniform(-BELOW, 0.6, number), -np.inf))
    over = torch.where(torch.isinf(black), over, torch.maximum(over, black) - black - BELOW)
    shown = torch.asinh(over / SOFT)
    alone = rng.random(number) < fields.single_share
    shown[torch.from_numpy(alone), 0] = 0.0
    newest, before = (functional.pixel_unshuffle(shown[:, k : k + 1], 2) for k in (1, 0))
    return torch.cat([newest, before], dim=1), factor.flatten().numpy().astype(float)


def _column(values: Doubles) -> Tensor:
    return torch.tensor(values.astype(np.float32)).reshape(-1, 1, 1, 1)


def _together(parts: list[ObjectLessons]) -> ObjectLessons:
    """All lessons, lists of objects padded to one length."""
    most = max(part.objects.shape[1] for part in parts)

    def joined(name: str) -> Tensor:
        values = [getattr(part, name) for part in parts]
        if name in ("objects", "present", "followed", "scale"):
            more = [most - value.shape[1] for value in values]
            pads = [(0, 0, 0, k) if value.ndim == 3 else (0, k) for value, k in zip(values, more, strict=True)]
            values = [functional.pad(value, pad) for value, pad in zip(values, pads, strict=True)]
        return torch.cat(values)

    return ObjectLessons(*(joined(name) for name in ObjectLessons.__slots__))

"""Small raw stacks under fringes that are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from smartscope.optics.pattern_layout import Layout
from smartscope_models.structured_illumination.parameters import Parameters
from smartscope_models.structured_illumination.transfer import Optics

Doubles = npt.NDArray[np.float64]

OPTICS = Optics(numerical_aperture=1.4, emission_nm=525.0, pixel_size_nm=81.0)
MARGIN = 16
"""Raw pixels simulated beyond each side, so that the field has no periodic border."""


def lens(radius: Doubles, cutoff: float) -> Doubles:
    s = np.minimum(radius / cutoff, 1.0)
    return np.asarray(2 / np.pi * (np.arccos(s) - s * np.sqrt(1 - s * s)))


def specimen(size: int, seed: int) -> Doubles:
    """(2 (size + 2 MARGIN),) squared: crooked lines on the fine grid, brightest places about 1, on a faint ground."""
    rng = np.random.default_rng(seed)
    fine = 2 * (size + 2 * MARGIN)
    image = np.zeros((fine, fine))
    for _ in range(3 * fine // 16):
        steps = 0.7 * np.cumsum(
            np.stack([np.cos(a := np.cumsum(rng.normal(0, 0.08, 220)) + rng.uniform(0, 7)), np.sin(a)]), 1
        )
        x, y = (np.rint(line + rng.uniform(0, fine)).astype(int) % fine for line in steps)
        np.add.at(image, (y, x), rng.uniform(0.3, 1.0))
    return image / np.percentile(image, 99.5) + 0.1


def fringes(layout: Layout, size: int, seed: int, error_deg: float = 5.0, depth: float = 0.9) -> Parameters:
    """Directions, phases and gains as of an instrument; three beams: half the frequency at half the depth too."""
    rng = np.random.default_rng(seed)
    length = 0.88 * OPTICS.cutoff_per_px * size
    directions = rng.uniform(0, np.pi / 3) + np.pi / 3 * np.arange(
        layout.carriers if layout.hexagonal else layout.angles
    )
    finest = length * np.stack([np.cos(directions), np.sin(directions)], axis=-1)
    if layout.hexagonal:
        carriers = finest[None]
    else:
        carriers = np.stack([finest * (order + 1) / layout.orders for order in range(layout.orders)], axis=1)
    base = rng.uniform(0, 2 * np.pi, (layout.angles, 1)) + np.radians(
        rng.normal(0, error_deg, (layout.angles, layout.phases))
    )
    multiples = np.ones(layout.orders) if layout.hexagonal else np.arange(1, layout.orders + 1)
    phases = layout.nominal_phases() + base[..., None] * multiples
    depths = np.full((layout.angles, layout.orders), depth / (2 if layout.hexagonal else 1))
    if layout.beams == 3:
        depths[:, 0] = depth / 2
    gains = 1 - 0.05 * np.arange(layout.frames).reshape(layout.angles, layout.phases) / layout.frames
    return Parameters(carriers, phases, depths, gains / gains.mean())


def illuminated(
    scene: Doubles, layout: Layout, known: Parameters, peak_e: float, seed: int | None
) -> npt.NDArray[np.float32]:
    """(frames, N, N) electrons; ``peak_e`` in the sum of all frames; seed None: without noise."""
    fine = len(scene)
    size = fine // 2 - 2 * MARGIN
    axis = np.fft.fftfreq(fine, 0.5)
    passed = lens(np.hypot(axis, axis[:, None]), OPTICS.cutoff_per_px)
    place = ((np.arange(fine) + 0.5) / 2 - MARGIN) / size
    frames = []
    for angle in range(layout.angles):
        for phase in range(layout.phases):
            light = np.ones((fine, fine))
            for order, (kx, ky) in enumerate(known.carriers[angle]):
                wave = 2 * np.pi * (kx * place[None, :] + ky * place[:, None]) + known.phases_rad[angle, phase, order]
                light += known.modulation[angle, order] * np.cos(wave)
            seen = np.fft.ifft2(np.fft.fft2(scene * light) * passed).real
            binned = seen.reshape(fine // 2, 2, fine // 2, 2).mean((1, 3))[MARGIN:-MARGIN, MARGIN:-MARGIN]
            frames.append(binned.clip(0) * known.gains[angle, phase])
    stack = np.array(frames) * peak_e / layout.frames
    if seed is not None:
        rng = np.random.default_rng(seed)
        stack = rng.poisson(stack) + rng.normal(0, 1.6, stack.shape)
    return stack.astype(np.float32)

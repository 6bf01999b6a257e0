"""Tracks whose motion is known: simulated with fine steps, blur, localisation noise and missing points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SUBSTEPS = 40
"""Positions per frame interval; the exposure averages the first ones."""


@dataclass(frozen=True)
class Motion:
    """One way of moving; lengths in um, times in s."""

    diffusion: float = 0.1
    speed: float = 0.0
    radius: float = np.inf

    @property
    def kind(self) -> str:
        """Its class."""
        return "confined" if np.isfinite(self.radius) else "directed" if self.speed else "brownian"


@dataclass(frozen=True)
class Sight:
    """How tracks are seen."""

    interval_s: float = 0.05
    exposure: float = 0.8
    """Share of the interval."""
    noise_um: float = 0.03
    missing: float = 0.05


@dataclass(frozen=True)
class Table:
    """Columns (P,) of places seen, track by track, frames rising."""

    track_id: np.ndarray
    frame: np.ndarray
    x_um: np.ndarray
    y_um: np.ndarray

    def times_s(self, sight: Sight) -> np.ndarray:
        """When each was seen."""
        return self.frame * sight.interval_s


def positions(motion: Motion, count: int, frames: int, sight: Sight, rng: np.random.Generator) -> np.ndarray:
    """(count, frames, 2) mean position during each exposure, without noise."""
    dt = sight.interval_s / SUBSTEPS
    angle = rng.uniform(0, 2 * np.pi, count)
    drift = motion.speed * dt * np.c_[np.cos(angle), np.sin(angle)]
    here = np.zeros((count, 2))
    if np.isfinite(motion.radius):
        around = rng.uniform(0, 2 * np.pi, count)
        here = motion.radius * np.sqrt(rng.random(count))[:, None] * np.c_[np.cos(around), np.sin(around)]
    lit = max(1, round(sight.exposure * SUBSTEPS))
    seen = np.zeros((count, frames, 2))
    for t in range(frames):
        for k in range(SUBSTEPS):
            if k < lit:
                seen[:, t] += here / lit
            here = here + drift + rng.normal(0, np.sqrt(2 * motion.diffusion * dt), here.shape)
            far = np.hypot(*here.T)
            out = far > motion.radius
            here[out] *= ((2 * motion.radius - far[out]) / far[out])[:, None]
    return seen


def simulated(motion: Motion, count: int, frames: int, sight: Sight, seed: int) -> Table:
    """Tracks numbered from 0, each seen in its first frame, with noise and missing points."""
    rng = np.random.default_rng(seed)
    places = positions(motion, count, frames, sight, rng)
    places = places + rng.normal(0, sight.noise_um, places.shape) + rng.uniform(5, 45, (count, 1, 2))
    seen = rng.random((count, frames)) >= sight.missing
    seen[:, 0] = True
    track, frame = np.nonzero(seen)
    return Table(track, frame, places[track, frame, 0], places[track, frame, 1])


def fractional(alpha: float, count: int, frames: int, sight: Sight, seed: int, step_um: float = 0.15) -> Table:
    """Fractional Brownian motion, mean squared displacement step_um² · lag^alpha: a motion of none of the classes."""
    rng = np.random.default_rng(seed)
    t = np.arange(1, frames + 1.0)
    power = t**alpha
    covariance = step_um**2 / 4 * (power[:, None] + power - np.abs(t[:, None] - t) ** alpha)
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(frames))
    places = np.einsum("tu,nua->nta", root, rng.normal(size=(count, frames, 2)))
    places += rng.normal(0, sight.noise_um, places.shape) + 20
    track, frame = np.nonzero(rng.random((count, frames)) >= sight.missing)
    return Table(track, frame, places[track, frame, 0], places[track, frame, 1])

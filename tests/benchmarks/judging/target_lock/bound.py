"""The best forecast there can be on switching motion: a particle filter that knows every parameter of it.

Rao-Blackwellised (Doucet et al., UAI 2000): each particle has a mode and a heading, and a Kalman filter of the place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .motions import JITTER, NOISE_PX, REDRAWN, SPEED, TURN, Floats

PARTICLES = 3000


def best_forecasts(seen: Floats, delays: tuple[int, ...], seed: int) -> dict[int, Floats]:
    """Delay in frames -> (frames, runs, 2) means of where the object will be, given all that was seen of it.

    seen: (frames, runs, 2) localised places of objects that begin at the origin, walking.
    """
    runs, rng = seen.shape[1], np.random.default_rng((seed, 7))
    heading = rng.uniform(0, 2 * np.pi, (runs, PARTICLES))
    directed, place = np.zeros(heading.shape, bool), np.zeros((*heading.shape, 2))
    variance = np.zeros(heading.shape)
    found = {delay: np.empty(seen.shape) for delay in delays}
    for t, now in enumerate(seen):
        if t:
            drawn = rng.random(heading.shape) < REDRAWN
            directed = np.where(drawn, rng.random(heading.shape) < 0.5, directed)
            heading = heading + rng.normal(0, TURN, heading.shape)
            place = place + np.where(directed[..., None], SPEED * _course(heading), 0.0)
            variance = variance + np.where(directed, JITTER**2, 1.0)
        expected, off = variance + NOISE_PX**2, now[:, None] - place
        fit = -(off**2).sum(-1) / (2 * expected) - np.log(expected)
        weight = np.exp(fit - fit.max(1, keepdims=True))
        weight /= weight.sum(1, keepdims=True)
        gain = variance / expected
        place, variance = place + gain[..., None] * off, variance * (1 - gain)
        for delay in delays:
            ahead = place + _way(directed, delay)[..., None] * _course(heading)
            found[delay][t] = (ahead * weight[..., None]).sum(1)
        chosen = _chosen(weight, rng)
        heading, directed, variance = (np.take_along_axis(a, chosen, 1) for a in (heading, directed, variance))
        place = np.take_along_axis(place, chosen[..., None], 1)
    return found


def _course(heading: Floats) -> Floats:
    return np.stack([np.cos(heading), np.sin(heading)], -1)


def _way(directed: npt.NDArray[np.bool_], delay: int) -> Floats:
    """Expected way along the heading of now."""
    on_course, way = directed.astype(float), np.zeros(directed.shape)
    for k in range(1, delay + 1):
        on_course = (1 - REDRAWN) * on_course + REDRAWN / 2
        way += on_course * SPEED * np.exp(-(TURN**2) * k / 2)
    return way


def _chosen(weight: Floats, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Systematic resampling, run by run."""
    wanted = (rng.random((len(weight), 1)) + np.arange(PARTICLES)) / PARTICLES
    rows = [np.searchsorted(np.cumsum(one), at) for one, at in zip(weight, wanted, strict=True)]
    return np.minimum(np.array(rows, np.intp), PARTICLES - 1)

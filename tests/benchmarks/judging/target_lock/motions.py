"""The three motions by which target lock is judged, in pixels and frames; each run starts at the origin.

Brownian: steps of 1 px per axis; directed: 3 px a frame, 0.3 px of jitter, the heading turns by 0.08 rad a frame at
random; switching: the mode is drawn anew with probability 0.03 a frame, Brownian at first, and the heading goes on
turning meanwhile. With these the published figures of hold-last, finite difference and a fixed filter come out again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

KINDS = ("switching", "directed", "brownian")
NOISE_PX = 0.5
"""Of each localisation, per axis."""
REDRAWN, SPEED, TURN, JITTER = 0.03, 3.0, 0.08, 0.3
Floats = npt.NDArray[np.float64]


def paths(kind: str, runs: int, frames: int, rng: np.random.Generator) -> Floats:
    """(frames, runs, 2) true places."""
    place, heading = np.zeros((runs, 2)), rng.uniform(0, 2 * np.pi, runs)
    directed = np.full(runs, kind == "directed")
    found = np.empty((frames, runs, 2))
    for frame in found:
        frame[:] = place
        if kind == "switching":
            directed = np.where(rng.random(runs) < REDRAWN, rng.random(runs) < 0.5, directed)
        heading += rng.normal(0, TURN, runs)
        course = SPEED * np.column_stack([np.cos(heading), np.sin(heading)])
        step = np.where(directed[:, None], course + rng.normal(0, JITTER, (runs, 2)), rng.normal(0, 1, (runs, 2)))
        place = place + step
    return found

"""Only this file knows how to spread things over a square so that they do not lie on top of each other."""

from __future__ import annotations

import numpy as np

from smartscope.specimens.protocol import Points

_CANDIDATES = 64


def apart(number: int, half_um: float, rng: np.random.Generator) -> Points:
    """Places (N, 2) within ``half_um`` of the origin along either axis, each as far from all before as chance offers.

    Mitchell's best candidate (SIGGRAPH 1991).
    """
    places = np.empty((0, 2))
    while len(places) < number:
        candidates = rng.uniform(-half_um, half_um, (_CANDIDATES, 2))
        gaps = np.linalg.norm(candidates[:, None] - places, axis=2).min(axis=1, initial=np.inf)
        places = np.concatenate([places, candidates[[gaps.argmax()]]])
    return places

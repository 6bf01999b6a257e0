"""A jump that nobody reported: everything is found a good way off, all in the same direction.

A stage that was knocked, a stage calibration that is a little off over a long move. The shift is the one by which most
objects would be seen where something was found; it counts only where chance does not do as well.
"""

from __future__ import annotations

import math

import numpy as np

from smartscope_models.tracking.motion import Doubles

FEWEST = 6
"""Objects; of fewer nobody can tell whether all moved alike."""
LOST = 0.4
"""Of the objects that should be seen, if fewer than this share are, something must have happened."""
AGREEING = 0.6
"""Share of the objects that should be seen for which the shift must hold."""
FARTHEST = 32.0
"""Times the gate."""
MOST_PAIRS = 60_000


def jump(expected: Doubles, found: Doubles, visible: float, gate_px: float) -> Doubles | None:
    """(2,) px by which all objects have moved, or None.

    expected (N, 2), found (D, 2): places; visible: how many of the objects should be seen.
    """
    if min(len(expected), len(found), visible) < FEWEST or len(found) * FEWEST > MOST_PAIRS:
        return None
    some = expected[:: math.ceil(len(expected) * len(found) / MOST_PAIRS)]
    shifts = (found[None] - some[:, None]).reshape(-1, 2)
    shifts = shifts[(np.abs(shifts) < FARTHEST * gate_px).all(1)]
    if not len(shifts):
        return None
    cell = np.floor(shifts / gate_px).astype(np.int64) + int(FARTHEST)
    votes = np.bincount(cell @ (1, int(2 * FARTHEST) + 1))
    best = votes.argmax()
    width = int(2 * FARTHEST) + 1
    shift = (np.array([best % width, best // width]) - FARTHEST + 0.5) * gate_px
    for _ in range(3):
        near = shifts[(np.abs(shifts - shift) < 0.75 * gate_px).all(1)]
        shift = np.median(near, axis=0) if len(near) else shift
    agreeing = int((((shifts - shift) ** 2).sum(1) < (0.5 * gate_px) ** 2).sum())
    by_chance = len(shifts) * math.pi * 0.25 / (2 * FARTHEST) ** 2
    enough = max(AGREEING * visible * len(some) / len(expected), by_chance + 5 * math.sqrt(by_chance), FEWEST - 1)
    return shift if agreeing >= enough else None

"""How a specimen at rest is made to move: a network of several frames would else learn to wait for the earlier ones."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

Velocity = tuple[float, float]
"""Rows and columns a frame, pixels."""
REST: Velocity = (0.0, 0.0)
STILL_SHARE = 0.35
"""Of the exposures, that are left at rest; this and the speeds as in the training's scenes."""
SPEEDS = (0.2, 3.0)


def draw_velocity(rng: np.random.Generator) -> Velocity:
    """At rest, or any way, slow ones as often as fast ones."""
    if rng.random() < STILL_SHARE:
        return REST
    speed, heading = math.exp(rng.uniform(*np.log(SPEEDS))), rng.uniform(0, 2 * math.pi)
    return speed * math.sin(heading), speed * math.cos(heading)


def displaced(seen: Tensor, velocity: Velocity, phase: Velocity = REST) -> Tensor:
    """(1, T, h, w) with the earlier frames where the specimen would have been, to whole pixels: noise stays white.

    ``phase`` (0 to 1) says where in a pixel it is now: slow movement goes in steps at random times.
    """
    frames = seen.shape[1]
    moved = []
    for k in range(frames):
        age = frames - 1 - k
        shift = [math.floor(p) - math.floor(p + age * v) for v, p in zip(velocity, phase, strict=True)]
        moved.append(torch.roll(seen[:, k : k + 1], shift, dims=(2, 3)))
    return torch.cat(moved, dim=1)


def reach_px(frames: int) -> int:
    """How far from the edge of a field the other edge may come in."""
    return math.ceil((frames - 1) * SPEEDS[1])

"""What the linkers know, as the columns that are published: pixels of a frame, seconds, float32."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from smartscope.result import Tracks, empty_tracks
from smartscope_models.tracking.linker import Linker
from smartscope_models.tracking.motion import Doubles


def published(linkers: Mapping[int, Linker], origin: Doubles, per_second: float, coasted: int) -> Tracks:
    """All objects of the linkers, by label.

    origin (2,): specimen coordinates of the frame's top-left pixel; per_second: frame periods in a second, 0 where not
    known; coasted: frames since detections were last looked at.
    """
    parts = [_columns(label, one, origin, per_second, coasted) for label, one in linkers.items() if len(one.objects)]
    if not parts:
        return empty_tracks()
    return Tracks(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _columns(label: int, linker: Linker, origin: Doubles, per_second: float, coasted: int) -> tuple[np.ndarray, ...]:
    """The fields of ``Tracks``, in order, for one kind of object."""
    objects, count = linker.objects, len(linker.objects)
    x, y = (objects.position() - origin).astype(np.float32).T
    vx, vy = (objects.state[:, 1, 2:4] * per_second).astype(np.float32).T
    return (
        objects.track_id.astype(np.int32),
        objects.parent_id.astype(np.int32),
        x,
        y,
        vx,
        vy,
        objects.sigma().astype(np.float32),
        objects.steady.astype(np.float32),
        (np.sqrt(objects.state[:, 1, 6]) * per_second).astype(np.float32),
        np.full(count, linker.habits.noise.walk * per_second, np.float32),
        objects.age.astype(np.int32),
        (objects.missed + coasted).astype(np.int32),
        objects.size.astype(np.float32),
        objects.intensity.astype(np.float32),
        np.full(count, label, np.int32),
    )

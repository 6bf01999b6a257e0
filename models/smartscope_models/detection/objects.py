"""Tables of objects: built from columns of any number type, and joined."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import numpy.typing as npt

from smartscope.result import Detections

Column = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def detections_of(x: Column, y: Column, size: Column, intensity: Column, label: int | npt.ArrayLike) -> Detections:
    """Columns (N,) in pixels, pixels and electrons, with one label for all or one for each."""
    labels = np.broadcast_to(np.asarray(label, np.int32), x.shape).copy()
    x, y, size, intensity = (column.astype(np.float32) for column in (x, y, size, intensity))
    return Detections(x, y, size, intensity, labels)


def joined(earlier: Detections | None, newer: Detections) -> Detections:
    """Both, the earlier first; new arrays."""
    if earlier is None:
        return newer
    columns = ([getattr(part, column.name) for part in (earlier, newer)] for column in fields(Detections))
    return Detections(*(np.concatenate(pair) for pair in columns))

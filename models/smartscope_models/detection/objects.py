"""Tables of objects: built from columns of any number type, and joined; and what a network says of each beside."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from smartscope.result import Detections, Floats

Column = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DescribedDetections(Detections):
    """Detections of a network, with what it says of each; columns of length N."""

    probability: Floats
    """That there is such an object: of those told 0.8, eight in ten are there."""
    back_x_px: Floats
    """Where it was in the frame before, less where it is now."""
    back_y_px: Floats
    division: Floats
    """Probability that it came into being by a division since the frame before."""
    split: Floats
    """Probability that it split, or fused, since the frame before."""
    flash: Floats
    """Probability that it is a vesicle that fuses with the membrane."""


def detections_of(x: Column, y: Column, size: Column, intensity: Column, label: int | npt.ArrayLike) -> Detections:
    """Columns (N,) in pixels, pixels and electrons, with one label for all or one for each."""
    labels = np.broadcast_to(np.asarray(label, np.int32), x.shape).copy()
    x, y, size, intensity = (column.astype(np.float32) for column in (x, y, size, intensity))
    return Detections(x, y, size, intensity, labels)


def joined(earlier: Detections | None, newer: Detections) -> Detections:
    """Both, the earlier first; new arrays. What only one of them tells is left out."""
    if earlier is None:
        return newer
    columns = ([getattr(part, column.name) for part in (earlier, newer)] for column in fields(Detections))
    return Detections(*(np.concatenate(pair) for pair in columns))

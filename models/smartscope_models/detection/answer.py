"""What the detecting network says of each object: the columns of its answer, and the grids on which it looks."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 2048
"""Objects in one answer, the likeliest of the frame; TensorRT sorts at most 3840."""
FLOOR = 0.1
"""Objects of a lower probability are left out, whatever the frame."""
COLUMNS = (
    "probability", "x", "y", "log_radius", "back_x", "back_y", "division", "split", "flash",
)  # fmt: skip
"""Of ``objects``. x, y: from the centre of the grid's cell, pixels; log_radius: of the radius in pixels; back: where it
was in the frame before, less where it is, pixels; division: it is a daughter; split: it is a part of what was one, or
one of what were parts; flash: it spreads its light. The last three are probabilities."""
NOWHERE = -1.0
"""Value of ``places`` in rows that hold no object."""
EVENTS = ("division", "split", "flash")


@dataclass(frozen=True, slots=True)
class Scale:
    """A grid of cells, each of which may hold the centre of one object of a certain size."""

    name: str
    step_px: int
    """Side of a cell."""
    radius_px: tuple[float, float]
    """Of the objects: sigma of a spot, radius of a disc of the same area. The ranges overlap a little."""


SCALES = (
    Scale("spot", 2, (0.5, 4.0)),
    Scale("organelle", 4, (3.0, 13.0)),
    Scale("cell", 8, (10.0, 80.0)),
)
"""In the order in which ``places`` counts their cells, row by row."""
MULTIPLE_PX = 32
"""Sides of a frame that the network takes."""

"""The pictures of single molecules: a raw frame, and beside it what all frames together show."""

from __future__ import annotations

import numpy as np

from smartscope.localization_files.records import table_of
from smartscope.report.pictures import MOST_PX, contrast, middle, picture, scene
from smartscope.report.record import Image, Record, read_image

MOST_MOLECULES = 5_000_000
"""More are thinned out evenly before they are counted."""
BRIGHTNESS = "brightness: square root"
"""Lines of many molecules would else outshine those of few."""


def pictures(record: Record) -> str:
    """The last rendered picture with a raw frame of its field, whole and the middle; without one, a count per pixel."""
    for row in reversed(record.super_resolved):
        fine = read_image(record, row)
        if fine is not None:
            return _beside_raw(record, row["frame"], fine, int(row["scale"]), f"until frame {row['frame']:,}")
    found = _counted(record)
    return "" if found is None else _beside_raw(record, record.frames[-1]["index"], *found, "drift left in")


def _beside_raw(record: Record, frame: int, fine: Image, scale: int, said: str) -> str:
    frame_row = record.frame_row(frame)
    raw = read_image(record, frame_row) if frame_row else None
    pixel_um, shown = scene(record).pixel_um, np.sqrt(np.maximum(fine, 0))
    before = "" if raw is None else picture(raw, *contrast(raw), pixel_um, "Raw", f"frame {frame:,}", cut=False)
    after = picture(shown, *_lit(shown), pixel_um / scale, "Molecules", f"{said}; {BRIGHTNESS}", cut=False)
    detail = middle(shown)
    if max(shown.shape) <= MOST_PX:
        return before + after
    return before + after + picture(detail, *_lit(detail), pixel_um / scale, "Molecules, the middle", BRIGHTNESS)


def _lit(image: Image) -> tuple[float, float]:
    """Black is nothing; white is what few of the pixels with molecules reach."""
    lit = image[image > 0]
    return 0.0, float(np.percentile(lit, 99)) if lit.size else 1.0


def _counted(record: Record) -> tuple[Image, int] | None:
    """(sH, sW) molecules in each pixel of a finer grid over the last frame's field, and s."""
    records = record.molecules
    if records is None or not len(records) or not record.frames:
        return None
    x, y, width, height = record.frames[-1]["roi"]
    scale = max(1, 2 * MOST_PX // max(width, height))
    found = table_of(records[:: -(-len(records) // MOST_MOLECULES)], (x, y)).found
    places = np.stack([found.y_px, found.x_px])
    places = places[:, np.isfinite(places).all(axis=0)]
    row, column = np.floor((places + 0.5) * scale).astype(np.int64)
    inside = (row >= 0) & (row < scale * height) & (column >= 0) & (column < scale * width)
    counts = np.bincount(row[inside] * (scale * width) + column[inside], minlength=scale * height * scale * width)
    return counts.reshape(scale * height, scale * width).astype(np.float32), scale

"""Detections as a table, and their outlines as a TIFF whose pixels are numbers of rows of that table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from smartscope.errors import PluginError
from smartscope.frame import Frame
from smartscope.ports import Model
from smartscope.result import Detections, Result
from smartscope_models.detection.objects import DescribedDetections
from smartscope_models.movies import TiffMovie, written_whole
from smartscope_models.tables import write_table

COLUMNS = ("frame", "x_px", "y_px", "size_px", "intensity", "label")
DESCRIBED = tuple(column.name for column in fields(DescribedDetections) if column.name not in COLUMNS)
"""Further columns where the model is a network."""
MASK = "mask_id"
Draw = Callable[[Detections | None], list[int]]
"""Write the outlines of the last frame; the number of each of its detections there, 0 for none."""


def write_detections(
    part: Path,
    seen: Iterable[tuple[Frame, Result]],
    frames: int,
    report: Callable[[int, int], None],
    draw: Draw | None = None,
) -> int:
    """Write the table of a movie; returns the number of rows. The first frame decides which columns there are."""
    rows = _rows(seen, frames, report, draw)
    names: tuple[str, ...] = next(rows)
    return write_table(part, names, rows)


def _rows(
    seen: Iterable[tuple[Frame, Result]], frames: int, report: Callable[[int, int], None], draw: Draw | None
) -> Iterator[tuple[Any, ...]]:
    """The names of the columns, then the rows."""
    names: tuple[str, ...] = ()
    for frame, result in seen:
        found = result.detections
        if not names:
            names = (*COLUMNS, *(DESCRIBED if isinstance(found, DescribedDetections) else ()))
            yield (*names, MASK) if draw else names
        masks = [draw(found)] if draw else []
        if found is not None:
            columns = [getattr(found, name).tolist() for name in names[1:]]
            yield from ((frame.index, *row) for row in zip(*columns, *masks, strict=True))
        report(frame.index + 1, frames)
    if not names:
        yield COLUMNS


@contextmanager
def masks_writer(path: Any, source: str, name: str, model: Model, movie: TiffMovie) -> Iterator[Draw | None]:
    """Writes the outlines of each frame, as uint16 (T, H, W), whole or not at all; None where no path is given.

    Raises:
        PluginError: the model tells no outlines.
    """
    if path is None:
        yield None
        return
    if getattr(model, "outlines", None) is None:
        raise PluginError(
            f"{name} tells no outlines",
            where="option masks",
            allowed="model detect, with a network",
            remedy="leave masks out, or install an engine: pip install smartscope[onnxruntime]",
        )
    with written_whole(str(path), source) as part, tifffile.TiffWriter(part) as tiff:

        def draw(found: Detections | None) -> list[int]:
            outlines: np.ndarray = model.outlines  # type: ignore[attr-defined]
            tiff.write(outlines.astype(np.uint16), photometric="minisblack", contiguous=True)
            there = np.zeros(1 + len(found or ()), np.bool_)
            there[outlines.ravel()] = True
            return [row + 1 if there[row + 1] else 0 for row in range(len(there) - 1)]

        yield draw

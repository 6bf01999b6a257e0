"""Which programs' files tracks can become, and how each is put in place whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smartscope.errors import InputError
from smartscope.track_files.ctc import write_ctc
from smartscope.track_files.geff import write_geff
from smartscope.track_files.reading import read_tracks
from smartscope.track_files.table import TrackTable
from smartscope.track_files.trackmate import write_edges, write_spots
from smartscope.whole_files import folder_written_whole, written_whole


@dataclass(frozen=True, slots=True)
class WrittenTracks:
    """What was written."""

    path: Path
    tracks: int
    sightings: int
    frames: int

    @property
    def line(self) -> str:
        """One line for the terminal."""
        return f"{self.path}: {self.tracks:,} tracks, {self.sightings:,} sightings in {self.frames:,} frames"


def convert_tracks(
    source: Path,
    form: str,
    output: Path,
    *,
    shape: tuple[int, int] | None = None,
    frames: int | None = None,
    pixel_size_um: float | None = None,
    interval_s: float | None = None,
) -> WrittenTracks:
    """A tracks CSV, as of ``smartscope process track``, as one of ``TRACK_FORMATS``.

    ``shape`` (H, W) and ``frames`` of the movie; without them they are as small as what is in the file. Without
    ``pixel_size_um`` places are told in pixels and times in frames.

    Raises:
        InputError: no such format, the CSV cannot be read, or the output cannot be written.
    """
    if form not in TRACK_FORMATS:
        raise InputError(f"no format {form!r}", allowed=", ".join(TRACK_FORMATS), remedy="choose one of these")
    table = read_tracks(source, shape=shape, frames=frames, pixel_size_um=pixel_size_um, interval_s=interval_s)
    return TRACK_FORMATS[form][1](table, output, source)


def _trackmate(table: TrackTable, output: Path, source: Path) -> WrittenTracks:
    edges = output.with_name(f"{output.stem}_edges{output.suffix}")
    with written_whole(edges, source) as edge_part, written_whole(output, source) as part:
        write_spots(table, part)
        write_edges(table, edge_part)
    return _told(table, output)


def _geff(table: TrackTable, output: Path, source: Path) -> WrittenTracks:
    with folder_written_whole(output, source) as part:
        write_geff(table, part)
    return _told(table, output)


def _ctc(table: TrackTable, output: Path, source: Path) -> WrittenTracks:
    with folder_written_whole(output, source) as part:
        write_ctc(table, part)
    return _told(table, output)


def _told(table: TrackTable, output: Path) -> WrittenTracks:
    return WrittenTracks(output, len(np.unique(table.track_id)), len(table), len(table.frames))


TRACK_FORMATS: Mapping[str, tuple[str, Callable[[TrackTable, Path, Path], WrittenTracks]]] = {
    "trackmate": ("trackmate.csv", _trackmate),
    "geff": ("tracks.geff", _geff),
    "ctc": ("ctc", _ctc),
}
"""Name → usual name of the file or folder, and what writes it: (table, output, source)."""

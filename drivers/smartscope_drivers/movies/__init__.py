"""Recorded movies as planes of one size, read one at a time; ``open_movie`` finds out which kind a path is."""

from __future__ import annotations

from pathlib import Path

from smartscope.errors import InputError
from smartscope_drivers.movies.images import ImagesMovie
from smartscope_drivers.movies.planes import KINDS, Movie
from smartscope_drivers.movies.run import RunMovie, run_folder
from smartscope_drivers.movies.tiff import TiffMovie
from smartscope_drivers.movies.zarr import ZarrMovie

__all__ = ["Movie", "open_movie"]


def open_movie(path: str, channel: int = 0) -> Movie:
    """The movie at a path; ``channel`` chooses among channels, or among the samples of colour images.

    Raises:
        InputError: nothing there, no movie, empty, of mixed sizes, no such channel, or pixels of another type.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise InputError("no such movie", where=path, allowed=KINDS, remedy="correct microscope.options.movie")
    movie: Movie
    if (run := run_folder(place)) is not None:
        movie = RunMovie(run)
    elif place.is_file():
        movie = TiffMovie(place, channel)
    elif any((place / name).exists() for name in ("zarr.json", ".zattrs", ".zarray")):
        movie = ZarrMovie(place, channel)
    else:
        movie = ImagesMovie(place, channel)
    if not len(movie):
        movie.close()
        raise InputError("the movie is empty", where=path, remedy="record it again, or give another")
    return movie

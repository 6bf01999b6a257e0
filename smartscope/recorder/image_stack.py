"""How an OME-Zarr 0.5 image is written and read: one (t, y, x) array that grows along t, through tensorstore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from smartscope.errors import InputError
from smartscope.recorder.folder import write_atomically

_GROW_BY_CHUNKS = 512
"""The shape stands in zarr.json; rewriting that for every chunk would cost more than the chunk."""
_READ_CACHE_BYTES = 64_000_000
_ARRAY = "0"


class Written(Protocol):
    """A write under way."""

    def done(self) -> bool:
        """Whether it has ended, well or not."""

    def result(self) -> object:
        """Wait for its end; raises what went wrong."""


class ImageStack:
    """One OME-Zarr image on disk. Each chunk is one file, put in place whole, so a crash leaves no torn chunk."""

    def __init__(
        self,
        path: Path,
        plane_shape: tuple[int, int],
        dtype: npt.DTypeLike,
        planes_per_chunk: int,
        *,
        compression: Literal["none", "lz4"],
        pixel_size_um: float,
        interval_s: float,
    ) -> None:
        """Make the image; ``interval_s`` is a first guess of the frame interval, ``finish`` knows better.

        Raises:
            OSError, ValueError: the folder cannot be written (tensorstore's own message).
        """
        self._path, self._pixel_size_um, self._per_chunk = path, pixel_size_um, planes_per_chunk
        self._length = _GROW_BY_CHUNKS * planes_per_chunk
        path.mkdir(parents=True)
        self._write_group(interval_s)
        shape = [self._length, *plane_shape]
        chunk = [planes_per_chunk, *plane_shape]
        metadata = _array_metadata(shape, chunk, np.dtype(dtype), compression)
        spec = {**_spec(path), "metadata": metadata, "create": True}
        self._array = ts.open(spec).result()

    def write(self, first_plane: int, chunk: npt.NDArray[Any], *, copy: bool = False) -> Written:
        """Start writing one whole (K, H, W) chunk; without ``copy`` the array may never change again."""
        if first_plane + self._per_chunk > self._length:
            self._length += _GROW_BY_CHUNKS * self._per_chunk
            self._array = self._array.resize(exclusive_max=[self._length, None, None], expand_only=True).result()
        target = self._array[first_plane : first_plane + self._per_chunk]
        written: Written = target.write(chunk, can_reference_source_data_indefinitely=not copy)
        return written

    def finish(self, n_planes: int, interval_s: float) -> None:
        """Cut the t axis to its true length and note the mean frame interval."""
        # metadata only: no chunk was ever written beyond the last plane's
        self._array.resize(exclusive_max=[n_planes, None, None], resize_metadata_only=True).result()
        self._write_group(interval_s)

    def _write_group(self, interval_s: float) -> None:
        document = _group_metadata(self._path.name.removesuffix(".ome.zarr"), self._pixel_size_um, interval_s)
        write_atomically(self._path / "zarr.json", json.dumps(document, indent=1))


def read_planes(path: Path) -> Any:
    """The (T, H, W) array of a recorded image as a tensorstore; T may be longer than what frames.jsonl lists.

    Raises:
        InputError: there is no such image.
    """
    context = {"cache_pool": {"total_bytes_limit": _READ_CACHE_BYTES}}
    try:
        return ts.open({**_spec(path), "context": context, "open": True}, read=True).result()
    except (ValueError, OSError) as error:
        raise InputError(
            f"cannot open the image: {error}", where=str(path), remedy="give a complete run folder"
        ) from error


def _spec(path: Path) -> dict[str, Any]:
    return {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path / _ARRAY)},
        "recheck_cached_data": False,
        "recheck_cached_metadata": False,
    }


def _array_metadata(shape: list[int], chunk: list[int], dtype: np.dtype[Any], compression: str) -> dict[str, Any]:
    codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    if compression == "lz4":
        # on camera noise, shuffling bits rather than bytes made smaller files (0.48 against 0.59) in less time
        blosc = {"cname": "lz4", "clevel": 1, "shuffle": "bitshuffle", "typesize": dtype.itemsize, "blocksize": 0}
        codecs.append({"name": "blosc", "configuration": blosc})
    return {
        "shape": shape,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        # "." and not "/": one file a chunk instead of one file and two folders
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "data_type": dtype.name,
        "fill_value": 0,
        "codecs": codecs,
        "dimension_names": ["t", "y", "x"],
    }


def _group_metadata(name: str, pixel_size_um: float, interval_s: float) -> dict[str, Any]:
    """OME-Zarr 0.5 (https://ngff.openmicroscopy.org/0.5): one resolution level, axes t, y, x."""
    scale = {"type": "scale", "scale": [interval_s, pixel_size_um, pixel_size_um]}
    multiscale = {
        "name": name,
        "axes": [
            {"name": "t", "type": "time", "unit": "second"},
            {"name": "y", "type": "space", "unit": "micrometer"},
            {"name": "x", "type": "space", "unit": "micrometer"},
        ],
        "datasets": [{"path": _ARRAY, "coordinateTransformations": [scale]}],
    }
    attributes = {"ome": {"version": "0.5", "multiscales": [multiscale]}}
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}

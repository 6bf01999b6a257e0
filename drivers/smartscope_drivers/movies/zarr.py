"""OME-Zarr 0.4 and 0.5 images, and bare Zarr arrays, as movies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tensorstore as ts

from smartscope.errors import InputError
from smartscope.frame import Pixels, Settings
from smartscope_drivers.movies.planes import KINDS, MS_PER, Axes, check_dtype, own_uint16

BARE_AXES = {2: "YX", 3: "TYX", 4: "TCYX", 5: "TCZYX"}
"""Axes of an array that does not name them, by its rank."""


class ZarrMovie:
    """The full-resolution image of an OME-Zarr 0.4 or 0.5 group, or a bare Zarr array (frames, H, W)."""

    def __init__(self, path: Path, channel: int) -> None:
        where = str(path)
        image = _zarr_image(path)
        array = path / image.get("path", "")
        spec = {
            "driver": "zarr3" if (array / "zarr.json").exists() else "zarr",
            "kvstore": {"driver": "file", "path": str(array)},
        }
        try:
            self._array = ts.open(spec, read=True).result()
        except ValueError as error:
            raise InputError(
                f"cannot be read: {error}", where=where, allowed=KINDS, remedy="give an OME-Zarr image"
            ) from error
        self._stack = Axes(image.get("axes") or BARE_AXES[self._array.rank], tuple(self._array.shape), channel, where)
        check_dtype(self._array.dtype.numpy_dtype, where)
        self.shape, self.interval_ms = self._stack.plane_shape, image.get("interval_ms")

    def __len__(self) -> int:
        return self._stack.frames

    def plane(self, index: int) -> Pixels:
        """(H, W) uint16 of one frame."""
        return own_uint16(self._array[self._stack.index(index)].read().result())

    def settings(self, index: int) -> Settings | None:
        """Not recorded."""
        return None

    def close(self) -> None:
        """Nothing stays open."""


def _zarr_image(path: Path) -> dict[str, Any]:
    """Path of the full-resolution array within a group, its axes and the frame interval; empty for a bare array."""
    document = _json(path / "zarr.json") or {"attributes": _json(path / ".zattrs")}
    attributes = document.get("attributes") or {}
    multiscales = (attributes.get("ome") or attributes).get("multiscales")
    if not multiscales:
        return {}
    axes, dataset = multiscales[0]["axes"], multiscales[0]["datasets"][0]
    names = "".join(axis["name"] for axis in axes)
    interval_ms = None
    for transform in dataset.get("coordinateTransformations", ()):
        if transform["type"] == "scale" and "t" in names:
            unit = axes[names.index("t")].get("unit", "second")
            interval_ms = transform["scale"][names.index("t")] * MS_PER.get(unit, 1e3)
    return {"path": dataset["path"], "axes": names, "interval_ms": interval_ms}


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

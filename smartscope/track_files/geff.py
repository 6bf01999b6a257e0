"""GEFF 1.3, the graph exchange format for tracks: a zarr (version 3) of nodes, edges and their properties.

Layout and keys by its specification (https://live-image-tracking-tools.github.io/geff), written with tensorstore, which
the recorder needs anyway; the package ``geff`` is used in tests only, as the judge.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from smartscope.track_files.graph import Graph, graph_of
from smartscope.track_files.table import TrackTable

VERSION = "1.3"
_ROWS_PER_CHUNK = 1 << 16
_ABOUT = {
    "frame": "index of the camera's frame",
    "radius": "of a disc",
    "intensity": "background-subtracted sum, photo-electrons",
    "label": "0 spot, 1 cell or nucleus, 2 organelle",
    "track_id": "identity as smartscope told it; one for each branch of a lineage",
    "lineage": "all that descends from one object",
    "tracklet": "a path without branch",
}


def write_geff(table: TrackTable, folder: Path) -> None:
    """Write a folder, which must be there; its name should end in ``.geff``. Raises OSError, ValueError."""
    graph = graph_of(table)
    properties = _properties(table, graph)
    for group in ("nodes", "nodes/props", "edges", "edges/props"):
        _group(folder / group)
    _array(folder / "nodes/ids", np.arange(len(table), dtype=np.uint64))
    _array(folder / "edges/ids", graph.links.astype(np.uint64))
    for name, values in properties.items():
        _group(folder / "nodes/props" / name)
        _array(folder / "nodes/props" / name / "values", values)
    _group(folder, {"geff": _metadata(table, properties)})  # last: without it this is no GEFF


def _properties(table: TrackTable, graph: Graph) -> dict[str, npt.NDArray[Any]]:
    unit_px = table.pixel_size_um or 1.0
    return {
        "t": table.t_s[table.step] if table.pixel_size_um else table.frame.astype(np.float64),
        "y": table.y_px * unit_px,
        "x": table.x_px * unit_px,
        "frame": table.frame,
        "radius": table.radius_px * unit_px,
        "intensity": table.intensity,
        "label": table.label,
        "track_id": table.track_id,
        "lineage": graph.lineages(),
        "tracklet": graph.tracklets(),
    }


def _metadata(table: TrackTable, properties: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    space, time = ("micrometer", "second") if table.pixel_size_um else ("pixel", "frame")
    units = {"t": time, "y": space, "x": space, "radius": space}
    axes = [
        {"name": name, "type": "time" if name == "t" else "space", "unit": units[name], **_range(properties[name])}
        for name in ("t", "y", "x")
    ]
    described = {
        name: {
            "identifier": name,
            "dtype": values.dtype.name,
            "varlength": False,
            **({"unit": units[name]} if name in units else {}),
            **({"description": _ABOUT[name]} if name in _ABOUT else {}),
        }
        for name, values in properties.items()
    }
    return {
        "geff_version": VERSION,
        "directed": True,
        "axes": axes,
        "node_props_metadata": described,
        "edge_props_metadata": {},
        "sphere": "radius",
        "track_node_props": {"lineage": "lineage", "tracklet": "tracklet"},
        "display_hints": {"display_horizontal": "x", "display_vertical": "y", "display_time": "t"},
    }


def _range(values: npt.NDArray[Any]) -> dict[str, float]:
    return {"min": float(values.min()), "max": float(values.max())} if values.size else {}


def _group(folder: Path, attributes: dict[str, Any] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes or {}}
    (folder / "zarr.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def _array(folder: Path, values: npt.NDArray[Any]) -> None:
    chunk = [max(1, min(len(values), _ROWS_PER_CHUNK)), *values.shape[1:]]
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(folder)},
        "metadata": {
            "shape": list(values.shape),
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "data_type": values.dtype.name,
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "gzip", "configuration": {"level": 5}},
            ],
        },
        "create": True,
    }
    ts.open(spec).result().write(values).result()

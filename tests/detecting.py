"""A small detecting network that was never trained, in a package: it takes bright places for spots.

Exact enough to test everything around a network, and quick to run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from smartscope_models.detection.answer import COLUMNS, MOST
from smartscope_models.packages import CardFacts, Examples, Manifest, TensorSpec, write_package

GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
bright (float[1,8,height,width] cells)
  => (float[1,2048] places, float[1,2048,9] objects, float[1,2,height,width] depths)
<int64[2] flat = {1, -1}, int64[1] most = {2048}, int64[3] rest = {1, 2048, 1}, int64[3] columns = {1, 2048, 8},
 int64[1] zero = {0}, int64[1] four = {4}, int64[1] channel = {1}, float one = {1.0}, float none = {0.0},
 float floor = {0.3}, float nowhere = {-1.0}, float[1,1,8] like = {0.0, 0.0, 0.5, 1.0, -1.0, 0.1, 0.2, 0.3}> {
  newest = Slice (cells, zero, four, channel)
  light = ReduceMean <axes = [1], keepdims = 1> (newest)
  around = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (light)
  peak = GreaterOrEqual (light, around)
  chance = Sigmoid (light)
  doubled = Add (chance, chance)
  minus = Sub (doubled, one)
  lone = Where (peak, minus, none)
  row = Reshape (lone, flat)
  enough = Concat <axis = 1> (row, pad_values)
  probability, index = TopK (enough, most)
  there = Greater (probability, floor)
  place = Cast <to = 1> (index)
  places = Where (there, place, nowhere)
  column = Reshape (probability, rest)
  likes = Expand (like, columns)
  objects = Concat <axis = 2> (column, likes)
  deep = Relu (minus)
  depths = Concat <axis = 1> (deep, deep)
}"""


def write_bright(folder: Path) -> Path:
    """Write the package ``bright`` into ``folder``; every object it finds is a spot."""
    model = onnx.parser.parse_model(GRAPH)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((1, MOST), np.float32), "pad_values"))
    images = {"dtype": "float32", "axes": ("batch", "channel", "y", "x")}
    manifest = Manifest(
        name="bright",
        task="detect",
        description="Bright places",
        licence="BSD-3-Clause",
        parameters=0,
        inputs=(TensorSpec(name="cells", shape=(1, 8, "height", "width"), **images),),
        outputs=(
            TensorSpec(name="places", dtype="float32", axes=("batch", "index"), shape=(1, MOST)),
            TensorSpec(
                name="objects", dtype="float32", axes=("batch", "index", "channel"), shape=(1, MOST, len(COLUMNS))
            ),
            TensorSpec(name="depths", shape=(1, 2, "height", "width"), **images),
        ),
        min_size=16,
        size_multiple=16,
    )
    cells = np.zeros((1, 8, 16, 16), np.float32)
    outputs = {
        "places": np.full((1, MOST), -1, np.float32),
        "objects": np.zeros((1, MOST, len(COLUMNS)), np.float32),
        "depths": np.zeros((1, 2, 16, 16), np.float32),
    }
    facts = CardFacts(summary="For tests.", data="None.", failure_modes=("It knows brightness alone.",))
    networks = {"fp32": model.SerializeToString()}
    return write_package(folder / "bright", manifest, networks, Examples({"cells": cells}, outputs), facts).path

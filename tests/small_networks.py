"""Networks of a few nodes that hold what real ones hold: camera counts, maps that are held, open axes, convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx.reference import ReferenceEvaluator

from smartscope_models.engines.engine import Network

Array = npt.NDArray[Any]
HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'

TINY_DENOISER = """
denoiser (uint16[1,2,height,width] frames, float[1,3,height,width] calibration, float[3] nominal)
  => (float[1,1,height,width] image)
<float smallest = {0.01}, int64[1] first = {0}, int64[1] second = {1}, int64[1] third = {2}, int64[1] end = {3}> {
  counts = Cast <to = 1> (frames)
  offset = Slice (calibration, first, second, second)
  gain = Slice (calibration, second, third, second)
  variance = Slice (calibration, third, end, second)
  light = Sub (counts, offset)
  electrons = Mul (light, gain)
  power = Add (electrons, variance)
  positive = Max (power, smallest)
  stable = Sqrt (positive)
  deep = SpaceToDepth <blocksize = 2> (stable)
  wide = Conv <pads = [1, 1, 1, 1]> (deep, weights_in)
  hidden = Relu (wide)
  narrow = Conv <pads = [1, 1, 1, 1]> (hidden, weights_out)
  noise = DepthToSpace <blocksize = 2, mode = "CRD"> (narrow)
  newest = Slice (stable, second, third, second)
  quiet = Sub (newest, noise)
  square = Mul (quiet, quiet)
  nominal_gain = Gather (nominal, second)
  nominal_offset = Gather (nominal, first)
  light_out = Mul (square, nominal_gain)
  image = Add (light_out, nominal_offset)
}"""
LEVEL = """
level (uint16[1,1,height,width] frames) => (float[1,1,height,width] image, float level) {
  image = Cast <to = 1> (frames)
  level = ReduceMean <keepdims = 0> (image)
}"""
COPY = "copy (float[height,width] x) => (float[height,width] y) { y = Identity (x) }"
SCALED = "scaled (float[height,width] x, float gain) => (float[height,width] y) { y = Mul (x, gain) }"
FIXED = "fixed (float[1,1,8,8] x) => (float[1,1,8,8] y) { y = Relu (x) }"
HALVES = """
halves (float[1,1,height,width] x) => (float[1,1,height,width] y) <int64[4] shape = {1, 1, 8, -1}> {
  wide = Reshape (x, shape)
  y = Add (x, wide)
}"""
"""Takes frames of 8 rows alone, although it declares any height."""
STRETCHED = "stretched (float[n] x, int64[1] length) => (float[m] y) { y = Expand (x, length) }"
"""The shape of its output depends on a value."""
UNREAD = "unread (float[n] x, float[n] unread) => (float[n] y) { y = Neg (x) }"


@cache
def model(text: str) -> onnx.ModelProto:
    """The graph behind one of the texts above, valid, with weights where it names some."""
    made = onnx.parser.parse_model(HEAD + text)
    named = {name for node in made.graph.node for name in node.input}
    rng = np.random.default_rng(7)
    for name, shape in {"weights_in": (6, 8, 3, 3), "weights_out": (4, 6, 3, 3)}.items():
        if name in named:
            weights = rng.normal(0, 0.1, shape).astype(np.float32)
            made.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    onnx.checker.check_model(made)
    return made


@cache
def network(text: str) -> Network:
    """As an engine takes it."""
    made = model(text)
    return Network.of(made.graph.name, made.SerializeToString())


def expected(source: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What ONNX's own reference, written in NumPy, makes of the inputs."""
    loaded = onnx.load_model_from_string(source.onnx)
    found = ReferenceEvaluator(loaded).run(None, dict(inputs))
    return {value.name: np.asarray(array) for value, array in zip(loaded.graph.output, found, strict=True)}


def denoiser_inputs(height: int, width: int, seed: int = 1) -> dict[str, Array]:
    """Inputs of TINY_DENOISER; counts from 0 to the greatest there is."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 65536, (1, 2, height, width)).astype(np.uint16)
    frames.flat[:2] = 0, 65535
    maps = (rng.normal(100, 2, (height, width)), rng.normal(0.5, 0.01, (height, width)), np.full((height, width), 2.0))
    calibration = np.stack(maps)[None].astype(np.float32)
    return {"frames": frames, "calibration": calibration, "nominal": np.array([100, 2, 2], np.float32)}


def shapes(inputs: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    """For ``warm_up``."""
    return {name: array.shape for name, array in inputs.items()}

"""Small networks from camera counts to an image, as ONNX bytes: what the engines' tests run."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
from onnx import numpy_helper, parser

from smartscope_models.engines.engine import Network

HEADER = '<ir_version: 9, opset_import: ["" : 17]>'
IMAGE = "[1,1,height,width]"
PORTS = f"(uint16{IMAGE} frames, float{IMAGE} offset, float[1] gain) => (float{IMAGE} image)"
LINEAR = f"""{HEADER} linear {PORTS} {{
  counts = Cast <to = 1> (frames)
  signal = Sub (counts, offset)
  image = Mul (signal, gain)
}}"""
"""image = (frames - offset) * gain, in float32."""
HALF = f"""{HEADER} half {PORTS} {{
  counts = Cast <to = 1> (frames)
  signal = Sub (counts, offset)
  half = Cast <to = 10> (signal)
  first = Conv <pads = [1, 1, 1, 1]> (half, weights)
  bent = Relu (first)
  last = Conv <pads = [1, 1, 1, 1]> (bent, more)
  whole = Cast <to = 1> (last)
  image = Mul (whole, gain)
}}"""
"""The same with two convolutions in half precision in between."""
TOO_EARLY = HALF.replace("Cast <to = 1> (frames)", "Cast <to = 10> (frames)").replace(
    "Sub (counts, offset)\n  half = Cast <to = 10> (signal)", "Cast <to = 10> (offset)\n  half = Sub (counts, signal)"
)
"""Wrong: counts become half-precision numbers before the offset is subtracted."""


def network(text: str, name: str = "counts") -> Network:
    """The ONNX text as a network; half-precision weights, the same each time, where they are named."""
    model = parser.parse_model(text)
    random = np.random.default_rng(5)
    for weights, shape in (("weights", (8, 1, 3, 3)), ("more", (1, 8, 3, 3))):
        if weights in text:
            values = (random.normal(size=shape) / 5).astype(np.float16)
            model.graph.initializer.append(numpy_helper.from_array(values, weights))
    onnx.checker.check_model(model)
    content = model.SerializeToString(deterministic=True)
    return Network(name, content, hashlib.sha256(content).hexdigest())


def shapes(height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Live shapes for any of the networks above."""
    return {"frames": (1, 1, height, width), "offset": (1, 1, height, width), "gain": (1,)}


def inputs(height: int, width: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Counts over the whole range of 16 bits, an offset map around 100 and a gain."""
    random = np.random.default_rng(seed)
    return {
        "frames": random.integers(0, 65536, (1, 1, height, width)).astype(np.uint16),
        "offset": random.normal(100, 3, (1, 1, height, width)).astype(np.float32),
        "gain": np.array([0.5], np.float32),
    }

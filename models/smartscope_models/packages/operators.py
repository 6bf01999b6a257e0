"""Operators that an engine is known not to take, or to take wrongly; found in a network before anything is compiled.

Measured with TensorRT for RTX 1.7.1 and OpenVINO 2026.4.1. The engine has the last word; this list tells why sooner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smartscope_models.packages.onnx_file import Node, OnnxFile

MOST_TOP_K = 3840


@dataclass(frozen=True, slots=True)
class Refusal:
    """One engine, one operator, and the reason."""

    engine: str
    operator: str
    why: str

    def line(self) -> str:
        """As one line."""
        return f"{self.engine} does not take {self.operator}: {self.why}"


@dataclass(frozen=True, slots=True)
class Limit:
    """An operator that an engine refuses where ``applies`` says so."""

    refusal: Refusal
    applies: Callable[[Node, OnnxFile], bool] = lambda node, network: True


def _long(node: Node, network: OnnxFile) -> bool:
    """A K that is computed is let pass: only the engine can tell."""
    return len(node.inputs) > 1 and network.numbers.get(node.inputs[1], 0) > MOST_TOP_K


def _reduces(node: Node, network: OnnxFile) -> bool:
    return node.words.get("reduction", "none") != "none"


LIMITS = (
    Limit(Refusal("tensorrt", "DFT", "its plug-in is not part of TensorRT for RTX; use a product of matrices")),
    Limit(Refusal("tensorrt", "NonZero", "the length of its answer depends on the data; do it outside the network")),
    Limit(Refusal("tensorrt", "TopK", f"more than {MOST_TOP_K} values are asked for (sorting too)"), _long),
    Limit(Refusal("tensorrt", "ScatterElements", "it cannot add up where indices repeat"), _reduces),
    Limit(Refusal("tensorrt", "ScatterND", "it cannot add up where indices repeat"), _reduces),
    Limit(
        Refusal("openvino", "DFT", "from opset 20 on it transforms the wrong axis; export with opset 17"),
        lambda node, network: network.opset >= 20,
    ),
)


def refusals(network: OnnxFile) -> tuple[Refusal, ...]:
    """What is known to fail, each engine and operator once."""
    found = [
        limit.refusal
        for node in network.nodes
        for limit in LIMITS
        if node.operator == limit.refusal.operator and limit.applies(node, network)
    ]
    return tuple(dict.fromkeys(found))

"""What a network is inside TensorRT, before any GPU is asked: layers, types, names; and whether that was promised.

An engine cannot be opened without a driver, a network definition can: so what a package says of itself is checked on
any machine, in CI too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smartscope_models.engines.engine import Precision, Shape, Tensor

BODY = frozenset({"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY"})
"""Layers that do the work: their type is the precision of the network."""
TYPES: Mapping[Precision, str] = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16"}
"""TensorRT's names of the precisions."""
PORTS = {"float32": "FLOAT", "float16": "HALF"} | {
    name: name.upper() for name in ("uint8", "int8", "int32", "int64", "bool")
}
"""TensorRT's names of the types that an input or output can have, by numpy's."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its kind, and the tensors it reads and writes as (name, type)."""

    kind: str
    """TensorRT's layer type, for element-wise layers with the operation: ``CONVOLUTION``, ``ELEMENTWISE SUB``."""
    reads: tuple[tuple[str, str], ...]
    writes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class NetworkSummary:
    """A network definition as plain data."""

    layers: tuple[Layer, ...]
    inputs: Mapping[str, tuple[str, Shape]]
    """By name: TensorRT's type, and the shape with -1 for an open axis."""
    outputs: Mapping[str, tuple[str, Shape]]

    @property
    def kinds(self) -> Counter[str]:
        """How many layers of each kind."""
        return Counter(layer.kind for layer in self.layers)


def inspect(module: Any, definition: Any) -> NetworkSummary:
    """Read an ``INetworkDefinition``."""
    layers = tuple(_layer(module, definition.get_layer(i)) for i in range(definition.num_layers))
    inputs = (definition.get_input(i) for i in range(definition.num_inputs))
    outputs = (definition.get_output(i) for i in range(definition.num_outputs))
    return NetworkSummary(layers, _described(inputs), _described(outputs))


def _layer(module: Any, layer: Any) -> Layer:
    kind = layer.type.name
    if kind == "ELEMENTWISE":
        layer.__class__ = module.IElementWiseLayer  # the bindings' way to see more than the base class
        kind = f"{kind} {layer.op.name}"
    reads = (layer.get_input(i) for i in range(layer.num_inputs))
    writes = (layer.get_output(i) for i in range(layer.num_outputs))
    return Layer(kind, _typed(reads), _typed(writes))


def _typed(tensors: Iterable[Any]) -> tuple[tuple[str, str], ...]:
    return tuple((tensor.name, tensor.dtype.name) for tensor in tensors if tensor is not None)  # None: input not given


def _described(tensors: Iterable[Any]) -> dict[str, tuple[str, Shape]]:
    return {tensor.name: (tensor.dtype.name, tuple(tensor.shape)) for tensor in tensors}


def check_against(
    summary: NetworkSummary, inputs: Sequence[Tensor], outputs: Sequence[Tensor], precision: Precision
) -> tuple[str, ...]:
    """Everything in which the network is not what its package says; empty if all is well.

    Names, types and lengths of inputs and outputs; the body in ``precision``; and, since fp16 ends at 65504 and counts
    whole numbers only to 2048, no half-precision number on the way from camera counts (uint16 inputs) before the offset
    is subtracted in float32.
    """
    return (*check_ports(summary, inputs, outputs), *check_body(summary, precision), *check_counts(summary, inputs))


def check_ports(summary: NetworkSummary, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> tuple[str, ...]:
    """Names, types and lengths of inputs and outputs."""
    return (*_ports("input", summary.inputs, inputs), *_ports("output", summary.outputs, outputs))


def check_body(summary: NetworkSummary, precision: Precision) -> tuple[str, ...]:
    """Layers of the body in another type than ``precision``."""
    wrong = {dtype: n for dtype, n in _body(summary).items() if dtype != TYPES[precision]}
    return tuple(f"{n} layer(s) of the body work in {dtype}, not {TYPES[precision]}" for dtype, n in wrong.items())


def check_counts(summary: NetworkSummary, inputs: Sequence[Tensor]) -> tuple[str, ...]:
    """Camera counts that become half-precision numbers before the offset is subtracted."""
    counts = (tensor.name for tensor in inputs if tensor.dtype == "uint16")
    return tuple(problem for name in counts for problem in _offset(summary, name))


def precision_of(summary: NetworkSummary) -> Precision:
    """What most layers of the body work in; fp32 where there is no body, or one of whole numbers."""
    ((dtype, _),) = _body(summary).most_common(1) or [("FLOAT", 0)]
    return next((precision for precision, name in TYPES.items() if name == dtype), "fp32")


def _ports(what: str, found: Mapping[str, tuple[str, Shape]], expected: Sequence[Tensor]) -> list[str]:
    problems = []
    if set(found) != (names := {tensor.name for tensor in expected}):
        problems.append(f"{what}s are {sorted(found)}, not {sorted(names)}")
    for tensor in expected:
        if tensor.name in found:
            dtype, shape = found[tensor.name]
            wanted, lengths = as_bytes(tensor)
            if dtype != PORTS.get(wanted):
                problems.append(f"{what} {tensor.name} is {dtype}, not {wanted}")
            fixed = tuple(n if isinstance(n, int) else m for n, m in zip(lengths, shape, strict=False))
            if len(shape) != len(lengths) or shape != fixed:
                problems.append(f"{what} {tensor.name} is {shape}, not {lengths}")
    return problems


def as_bytes(tensor: Tensor) -> tuple[str, tuple[int | str, ...]]:
    """Type and shape of a port as TensorRT sees it: uint16, which it lacks, is uint8 pairs on a last axis."""
    if tensor.dtype == "uint16":
        return "uint8", (*tensor.shape, 2)
    return tensor.dtype.name, tensor.shape


def live_shape(tensor: Tensor) -> Shape:
    """The shape that TensorRT is given for a port without open axes."""
    return tuple(int(length) for length in as_bytes(tensor)[1])


def _body(summary: NetworkSummary) -> Counter[str]:
    """How many layers of the body work in each type."""
    return Counter(dtype for layer in summary.layers if layer.kind in BODY for _, dtype in layer.reads[:1])


def _offset(summary: NetworkSummary, counts: str) -> list[str]:
    """Follow the counts forward; a float32 subtraction ends a path, a half-precision tensor before it is a problem."""
    reached, problems = {counts}, []
    for layer in summary.layers:  # in topological order
        if not any(name in reached for name, _ in layer.reads):
            continue
        if layer.kind == "SHAPE" or (layer.kind == "ELEMENTWISE SUB" and layer.writes[0][1] == "FLOAT"):
            continue  # lengths are no counts
        for name, dtype in layer.writes:
            if dtype in ("HALF", "BF16"):
                problems.append(f"{name} is {dtype} although no offset has been subtracted from {counts} yet")
            else:
                reached.add(name)
    return problems[:1]

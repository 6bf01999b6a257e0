"""As much of the ONNX format as a package needs, read without ``onnx``: inputs, outputs, operators, metadata.

Field numbers are those of onnx.proto3 (github.com/onnx/onnx, version 1); the encoding is protocol buffers' own
(protobuf.dev/programming-guides/encoding). Weights are skipped, not read, so a file of any size costs a millisecond.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from smartscope.errors import UnsupportedModel
from smartscope_models.engines.engine import Tensor

DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
"""TensorProto.DataType; what numpy lacks (bfloat16, strings) is missing."""
INT64, FLOATS = 7, (1, 10, 11, 16)
DEEPEST = 16
"""Loops and branches nested deeper than this are taken for a broken file."""
DEFAULT_DOMAINS = ("", "ai.onnx")
Bytes = memoryview
Fields = dict[int, list[Any]]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the graph or of a graph inside it."""

    operator: str
    """With its domain in front where that is not ONNX's own: ``com.microsoft.FusedConv``."""
    inputs: tuple[str, ...]
    words: Mapping[str, str]
    """Attributes that are strings."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What a file says of itself."""

    opset: int
    """Of ONNX's own operators."""
    inputs: tuple[Tensor, ...]
    """Without the weights, which old files list among them; open lengths carry the file's names, or ``?``."""
    outputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    numbers: Mapping[str, int]
    """Constant integers by name: the K of a TopK, the axis of a DFT."""
    metadata: Mapping[str, str]
    parameters: int
    """Elements of all floating-point weights."""


def read_onnx(data: bytes, where: str) -> OnnxFile:
    """Read a file's bytes; ``where`` names them in messages.

    Raises:
        UnsupportedModel: no ONNX file; weights in a file beside it; an input or output that is no tensor of numbers.
    """
    try:
        return _model(memoryview(data), where)
    except (ValueError, IndexError, UnicodeDecodeError, RecursionError) as error:
        raise UnsupportedModel(f"is no ONNX file: {error}", where=where, remedy="export the network again") from error


def _model(data: Bytes, where: str) -> OnnxFile:
    model = _fields(data)
    if 7 not in model:
        raise ValueError("it holds no graph")
    graph = _fields(model[7][-1])
    opsets = {_text(_fields(item), 1): _last(_fields(item), 2, 0) for item in model.get(8, ())}
    weights = [_fields(item) for item in graph.get(5, ())]
    if any(_last(weight, 14, 0) == 1 for weight in weights):
        raise UnsupportedModel(
            "keeps its weights in another file", where=where, remedy="save the network as one file, weights inside"
        )
    named = {_text(weight, 8) for weight in weights}
    inputs = (_tensor(item, where) for item in graph.get(11, ()) if _text(_fields(item), 1) not in named)
    numbers = {_text(weight, 8): value for weight in weights if (value := _number(weight)) is not None}
    nodes = tuple(_nodes(graph, numbers, DEEPEST))
    return OnnxFile(
        opset=next((opsets[domain] for domain in DEFAULT_DOMAINS if domain in opsets), 0),
        inputs=tuple(inputs),
        outputs=tuple(_tensor(item, where) for item in graph.get(12, ())),
        nodes=nodes,
        numbers=numbers,
        metadata={_text(entry, 1): _text(entry, 2) for entry in map(_fields, model.get(14, ()))},
        parameters=sum(math.prod(_integers(weight, 1)) for weight in weights if _last(weight, 2, 0) in FLOATS),
    )


def _nodes(graph: Fields, numbers: dict[str, int], depth: int) -> Iterator[Node]:
    """All nodes, those of loops and branches too; constants found on the way go into ``numbers``."""
    if depth == 0:
        raise ValueError("its graphs are nested too deep")
    for node in map(_fields, graph.get(1, ())):
        attributes = {_text(item, 1): item for item in map(_fields, node.get(5, ()))}
        operator, domain = _text(node, 4), _text(node, 7)
        words = {name: _text(item, 4) for name, item in attributes.items() if 4 in item}
        yield Node(
            operator if domain in DEFAULT_DOMAINS else f"{domain}.{operator}", tuple(_texts(node.get(1, ()))), words
        )
        if operator == "Constant" and 5 in attributes.get("value", {}):
            value = _number(_fields(attributes["value"][5][-1]))
            if value is not None:
                numbers.update(dict.fromkeys(_texts(node.get(2, ())), value))
        for item in attributes.values():
            for inner in (*item.get(6, ()), *item.get(11, ())):
                yield from _nodes(_fields(inner), numbers, depth - 1)


def _tensor(data: Bytes, where: str) -> Tensor:
    """A ValueInfoProto."""
    info = _fields(data)
    name, kind = _text(info, 1), _fields(info[2][-1]) if 2 in info else {}
    tensor = _fields(kind[1][-1]) if 1 in kind else {}
    dtype = DTYPES.get(_last(tensor, 1, 0))
    if dtype is None:
        raise UnsupportedModel(
            f"its tensor {name!r} is no array of plain numbers", where=where, allowed=", ".join(DTYPES.values())
        )
    lengths = _fields(tensor[2][-1]).get(1, ()) if 2 in tensor else ()
    return Tensor(name, np.dtype(dtype), tuple(_length(_fields(item)) for item in lengths))


def _length(dimension: Fields) -> int | str:
    if 1 in dimension:
        return int(dimension[1][-1])
    return _text(dimension, 2) or "?"


def _number(tensor: Fields) -> int | None:
    """The value of a TensorProto of one int64, else None."""
    if _last(tensor, 2, 0) != INT64 or math.prod(_integers(tensor, 1)) != 1:
        return None
    if 9 in tensor:
        return int(np.frombuffer(tensor[9][-1], "<i8", count=1)[0])
    values = _integers(tensor, 7)
    return _signed(values[0]) if values else None


def _integers(message: Fields, field: int) -> list[int]:
    """A repeated integer, packed or not."""
    values: list[int] = []
    for item in message.get(field, ()):
        if isinstance(item, int):
            values.append(item)
            continue
        place = 0
        while place < len(item):
            value, place = _varint(item, place)
            values.append(value)
    return values


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _last(message: Fields, field: int, default: int) -> int:
    value = message[field][-1] if field in message else default
    if not isinstance(value, int):
        raise ValueError(f"field {field} is no integer")
    return value


def _text(message: Fields, field: int) -> str:
    return next(_texts(message[field][-1:]), "") if field in message else ""


def _texts(items: Any) -> Iterator[str]:
    for item in items:
        if isinstance(item, int):
            raise ValueError("a number where a name should be")
        yield str(item, "utf-8")


def _fields(data: Bytes) -> Fields:
    """A message's fields by number, in order; sub-messages, strings and packed numbers as bytes."""
    if isinstance(data, int):
        raise ValueError("a number where a message should be")
    found: Fields = {}
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        reader = _READERS.get(key & 7)
        if reader is None or key >> 3 == 0:
            raise ValueError(f"no field can start with {key}")
        value, place = reader(data, place)
        found.setdefault(key >> 3, []).append(value)
    return found


def _varint(data: Bytes, place: int) -> tuple[int, int]:
    value = 0
    for k in range(10):
        byte = data[place + k]
        value |= (byte & 0x7F) << (7 * k)
        if not byte & 0x80:
            return value & (1 << 64) - 1, place + k + 1
    raise ValueError("a number of more than ten bytes")


def _span(data: Bytes, place: int) -> tuple[Bytes, int]:
    length, place = _varint(data, place)
    return _cut(data, place, length)


def _cut(data: Bytes, place: int, length: int) -> tuple[Bytes, int]:
    if place + length > len(data):
        raise ValueError("it is cut short")
    return data[place : place + length], place + length


_READERS: dict[int, Callable[[Bytes, int], tuple[Any, int]]] = {
    0: _varint,
    1: lambda data, place: _cut(data, place, 8),
    2: _span,
    5: lambda data, place: _cut(data, place, 4),
}
"""By wire type: varint, 64 bits, length-delimited, 32 bits."""

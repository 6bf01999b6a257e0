"""The wire format, version 1: how messages become bytes and how bytes are trusted to be messages.

A message on the events or data endpoint is ``[topic, JSON header, buffer...]``; each buffer is one array named in the
header's ``arrays``, raw and little-endian. A request on the control endpoint is one part, JSON-RPC 2.0; its reply is
``[JSON, buffer...]``. A minor version only adds and unknown keys are ignored; another major version is refused. Sizes
are limited, and nothing is ever unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from smartscope.bus.messages import MAX_ARRAYS, MESSAGE_TYPES, VERSION, ArrayInfo, Header, schema
from smartscope.errors import BusError
from smartscope.plugins import problems_of

__all__ = ["VERSION", "decode", "describe", "dump", "encode", "parse_header", "read_arrays", "schema", "topic_of"]

MAX_HEADER_BYTES = 2**20
MAX_BUFFER_BYTES = 2**28

AnyArray = npt.NDArray[Any]
Arrays = Mapping[str, tuple[AnyArray, str]]
"""Arrays to send: name → (array, its units)."""
Parts = list[bytes | memoryview]


def topic_of(header: Mapping[str, Any]) -> str:
    """The topic a message travels under: its type; for images ``frame.<stream>``."""
    return f"frame.{header['stream']}" if header["type"] == "frame" else str(header["type"])


def dump(value: Any) -> bytes:
    """Compact JSON in the order given; numpy values become numbers and lists, NaN and infinity null.

    Raises:
        BusError: something in it has no JSON form.
    """
    try:
        return to_json(value, inf_nan_mode="null", fallback=_plain)
    except ValueError as error:
        raise BusError(str(error), allowed="numbers, text, lists, mappings") from error


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def parse_header(fields: Mapping[str, Any]) -> Header:
    """Check a header and give it its type; a type that a later minor version added stays a plain ``Header``.

    Raises:
        BusError: another major version, or a field missing or wrong.
    """
    try:
        header = Header.model_validate(fields)
        if header.v.partition(".")[0] != VERSION.partition(".")[0]:
            raise BusError(f"wire version {header.v}", where="header.v", allowed="1.x", remedy="use a client of 1.x")
        return MESSAGE_TYPES.get(header.type, Header).model_validate(fields)
    except ValidationError as error:
        raise BusError(" | ".join(problem.line() for problem in problems_of(error, "header"))) from error


def describe(arrays: Arrays) -> tuple[list[dict[str, Any]], Parts]:
    """The ``arrays`` entry of a header and the contiguous little-endian buffers that go with it.

    Raises:
        BusError: an array of Python objects.
    """
    for name, (array, _) in arrays.items():
        if array.dtype.hasobject:
            raise BusError("an array of Python objects has no bytes", where=name)
    buffers = [np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for array, _ in arrays.values()]
    infos = [
        {"name": name, "dtype": buffer.dtype.str, "shape": array.shape, "codec": "raw", "units": units}
        for (name, (array, units)), buffer in zip(arrays.items(), buffers, strict=True)
    ]
    return infos, [buffer.reshape(-1).view(np.uint8).data for buffer in buffers]


def encode(fields: Mapping[str, Any], arrays: Arrays | None = None) -> Parts:
    """A message as parts ready to send, checked.

    Raises:
        BusError: a field is missing, wrong or not JSON, or the message is too large.
    """
    buffers: Parts = []
    if arrays is not None:
        infos, buffers = describe(arrays)
        fields = {**fields, "arrays": infos}
    parse_header(fields)
    parts: Parts = [topic_of(fields).encode(), dump(fields), *buffers]
    _check_sizes(parts)
    return parts


def decode(parts: Sequence[bytes | memoryview]) -> tuple[str, Header, dict[str, AnyArray]]:
    """Topic, header and arrays of a received message; the arrays look into the buffers.

    Raises:
        BusError: the parts are not a message of version 1, with the reason.
    """
    if len(parts) < 2:
        raise BusError(f"message of {len(parts)} parts", allowed="topic, header, buffers")
    _check_sizes(parts)
    header = parse_header(_json_object(parts[1]))
    try:
        topic = bytes(parts[0]).decode()
    except UnicodeDecodeError as error:
        raise BusError("topic is not UTF-8") from error
    return topic, header, read_arrays(header.arrays, parts[2:])


def read_arrays(infos: Sequence[ArrayInfo], buffers: Sequence[bytes | memoryview]) -> dict[str, AnyArray]:
    """The arrays in ``buffers``, by name, without copying.

    Raises:
        BusError: number, names, codec or size do not fit the description.
    """
    if len(infos) != len(buffers):
        raise BusError(f"{len(buffers)} buffers for {len(infos)} arrays")
    if len({info.name for info in infos}) != len(infos):
        raise BusError("two arrays of one name")
    arrays = {}
    for info, buffer in zip(infos, buffers, strict=True):
        if info.codec != "raw":
            raise BusError(f"codec {info.codec!r}", where=info.name, allowed="raw")
        dtype = np.dtype(info.dtype)
        if math.prod(info.shape) * dtype.itemsize != len(buffer):
            raise BusError(f"{len(buffer)} bytes for {info.shape} of {info.dtype}", where=info.name)
        arrays[info.name] = np.frombuffer(buffer, dtype).reshape(info.shape)
    return arrays


def _check_sizes(parts: Sequence[bytes | memoryview]) -> None:
    if len(parts) > 2 + MAX_ARRAYS:
        raise BusError(f"message of {len(parts)} parts", allowed=f"<= {2 + MAX_ARRAYS}")
    for part, limit in zip(parts, (256, MAX_HEADER_BYTES, *[MAX_BUFFER_BYTES] * MAX_ARRAYS), strict=False):
        if len(part) > limit:
            raise BusError(f"message part of {len(part)} bytes", allowed=f"<= {limit}")


def _json_object(text: bytes | memoryview) -> dict[str, Any]:
    try:
        value = from_json(bytes(text))
    except ValueError as error:
        raise BusError(f"header is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BusError("header is not a JSON object")
    return value

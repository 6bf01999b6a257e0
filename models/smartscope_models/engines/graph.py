"""What an ONNX file says of itself, and the two changes that let camera counts in without a copy on the host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines.engine import Network, Tensor

if TYPE_CHECKING:
    import onnx

OPSETS = range(11, 21)
"""Operator sets that are taken: 11 is the oldest in use in model zoos, 17 the one of the networks shipped here."""
FRAMES = "frames"
"""Name of the input for camera counts."""
RESAVE = "export it again, with opset_version=17 and the weights inside the file"


def load(network: Network) -> onnx.ModelProto:
    """The graph, checked by ONNX itself and for what no engine here takes.

    Raises:
        UnsupportedModel: no ONNX, not valid, weights outside the file, or an operator set that is not taken.
        EngineError: the package ``onnx`` is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        what, remedy = "the package onnx is missing, which reads networks", "pip install smartscope[onnxruntime]"
        raise EngineError(what, where=network.name, remedy=remedy) from error
    try:
        model = onnx.load_model_from_string(network.onnx)
    except DecodeError as error:
        raise UnsupportedModel("is no ONNX file", where=network.name, remedy="name an .onnx file") from error
    if not model.graph.node:
        raise UnsupportedModel("is no ONNX file, or an empty one", where=network.name, remedy="name an .onnx file")
    with _damage_named(network.name):
        for tensor in model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                what = f"keeps its weights ({tensor.name}) in another file"
                raise UnsupportedModel(what, where=network.name, remedy=RESAVE)
        if (number := opset(model)) not in OPSETS:
            what, allowed = f"has operator set {number}", f"{OPSETS[0]} to {OPSETS[-1]}"
            raise UnsupportedModel(what, where=network.name, allowed=allowed, remedy=RESAVE)
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            raise UnsupportedModel(f"is not valid ONNX: {_first(error)}", where=network.name, remedy=RESAVE) from error
    return model


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operators; 0 where none are imported."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    """The file's own key-value pairs (``smartscope.manifest`` among them)."""
    with _damage_named("metadata"):
        return {_text(entry.key): _text(entry.value) for entry in model.metadata_props}


def tensors(model: onnx.ModelProto) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and outputs as declared, without the initialisers that old files list as inputs.

    Raises:
        UnsupportedModel: one is no tensor, or says nothing of its axes.
    """
    with _damage_named("inputs and outputs"):
        weights = {tensor.name for tensor in model.graph.initializer}
        inputs = tuple(_tensor(value) for value in model.graph.input if value.name not in weights)
        return inputs, tuple(_tensor(value) for value in model.graph.output)


def with_uint16_frames(model: onnx.ModelProto, name: str = FRAMES) -> onnx.ModelProto:
    """A copy whose int32 input ``name`` is declared uint16, as cameras deliver; the exporter knows no uint16.

    Raises:
        UnsupportedModel: no such input, not int32, or an operator that cannot take uint16 stands behind it.
    """
    import onnx

    changed = _copy(model)
    _input(changed, name, np.int32).type.tensor_type.elem_type = onnx.TensorProto.UINT16
    return _valid(changed, f"input {name} as uint16")


def with_byte_pairs(model: onnx.ModelProto, name: str = FRAMES) -> onnx.ModelProto:
    """A copy whose uint16 input ``name`` of shape (..., H, W) becomes uint8 of shape (..., H, W, 2), for TensorRT.

    TensorRT knows no uint16. The host passes the same bytes, ``frames.view(np.uint8).reshape(*frames.shape, 2)`` of
    little-endian counts; low + 256 high is exact in float32. What stood behind the input gets these floats.

    Raises:
        UnsupportedModel: no such input, not uint16, or what stands behind it cannot take floats.
    """
    import onnx

    changed = _copy(model)
    frames = _input(changed, name, np.uint16)
    frames.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    frames.type.tensor_type.shape.dim.add().dim_value = 2
    counts = f"{name}.counts"
    for node in changed.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise UnsupportedModel(f"has control flow ({node.op_type})", where=model.graph.name, remedy=RESAVE)
        node.input[:] = [counts if given == name else given for given in node.input]
    axis = len(frames.type.tensor_type.shape.dim) - 1
    for place, node in enumerate(_merging_head(name, counts, axis, opset(model))):
        changed.graph.node.insert(place, node)
    return _valid(changed, f"input {name} as pairs of bytes")


def _merging_head(pairs: str, counts: str, axis: int, version: int) -> Iterable[onnx.NodeProto]:
    """Cast, Mul by [1, 256] and ReduceSum over the last axis."""
    import onnx

    make, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    parts, places, values = f"{pairs}.parts", f"{pairs}.places", f"{pairs}.bytes"
    yield make("Constant", [], [places], value=array(np.array([1, 256], np.float32)))
    yield make("Cast", [pairs], [values], to=onnx.TensorProto.FLOAT)
    yield make("Mul", [values, places], [parts])
    if version < 13:
        yield make("ReduceSum", [parts], [counts], keepdims=0, axes=[axis])
    else:
        yield make("Constant", [], [f"{pairs}.axis"], value=array(np.array([axis], np.int64)))
        yield make("ReduceSum", [parts, f"{pairs}.axis"], [counts], keepdims=0)


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    import onnx

    declared = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not declared.HasField("shape"):
        raise UnsupportedModel(f"{value.name} is no tensor with declared axes", remedy=RESAVE)
    name = _text(value.name)
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else _text(dim.dim_param) or f"{name}_{axis}"
        for axis, dim in enumerate(declared.shape.dim)
    )
    return Tensor(name, onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type), shape)


@contextmanager
def _damage_named(where: str) -> Iterator[None]:
    """Names are decoded, and types looked up, only when they are asked for: a damaged file may show itself here."""
    try:
        yield
    except (UnicodeDecodeError, KeyError) as error:
        raise UnsupportedModel(f"is damaged: {type(error).__name__} {error}", where=where, remedy=RESAVE) from error


def _text(text: str | bytes) -> str:
    """Names that are no UTF-8 come as bytes from some versions of protobuf; decoding them says where they are wrong."""
    return text if isinstance(text, str) else text.decode()


def _input(model: onnx.ModelProto, name: str, dtype: Any) -> onnx.ValueInfoProto:
    inputs, _ = tensors(model)
    for tensor in inputs:
        if tensor.name == name and tensor.dtype == dtype:
            value: onnx.ValueInfoProto = next(value for value in model.graph.input if value.name == name)
            return value
    declared = ", ".join(f"{tensor.name} {tensor.dtype}" for tensor in inputs)
    raise UnsupportedModel(f"has no input {name} of {np.dtype(dtype)}", where=model.graph.name, allowed=declared)


def _valid(model: onnx.ModelProto, change: str) -> onnx.ModelProto:
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UnsupportedModel(f"cannot take {change}: {_first(error)}", where=model.graph.name) from error
    return model


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def _first(error: Exception) -> str:
    return str(error).strip().splitlines()[0]

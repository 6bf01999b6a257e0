"""The small reader of ONNX files sees what onnx itself sees, and takes nothing else for a network."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages_helpers import tiny_denoiser_onnx

from smartscope.errors import UnsupportedModel
from smartscope_models.engines.graph import tensors
from smartscope_models.packages.onnx_file import OnnxFile, read_onnx

TINY = tiny_denoiser_onnx(history=2)
BRANCHES = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
net (float[1,height,7] image, bool choice, float[3] loud) => (float[1,height,7] output)
<float[3] loud = {1.0, 2.0, 3.0}, int64[1] packed = {5000}, int64[2] pair = {1, 2}>
{
  minus = Constant <value = int64 {-1}> ()
  words = Constant <value_string = "none"> ()
  added = ScatterND <reduction = "add"> (image, packed, image)
  output = If (choice) <
    then_branch = yes () => (float[1,height,7] a) { a = com.microsoft.Gelu (added) },
    else_branch = no () => (float[1,height,7] b) { b, at = TopK (added, packed) }
  >
}"""


def read(text: str) -> OnnxFile:
    return read_onnx(onnx.parser.parse_model(text).SerializeToString(), "here")


def test_it_sees_what_onnx_sees() -> None:
    model = onnx.load_model_from_string(TINY)
    onnx.helper.set_model_props(model, {"one": "eins", "zwei": "Größe µm"})
    found = read_onnx(model.SerializeToString(), "here")
    assert (found.inputs, found.outputs) == tensors(model)
    assert found.inputs[0].dtype == np.uint16
    assert found.opset == 17
    assert [node.operator for node in found.nodes] == [node.op_type for node in model.graph.node]
    assert found.metadata == {"one": "eins", "zwei": "Größe µm"}
    assert found.parameters == 9, "integers are no parameters"


def test_branches_constants_and_weights_among_the_inputs() -> None:
    found = read(BRANCHES)
    assert [tensor.name for tensor in found.inputs] == ["image", "choice"], "loud is a weight"
    assert found.inputs[0].shape == (1, "height", 7)
    assert {node.operator for node in found.nodes} == {
        "Constant", "ScatterND", "If", "com.microsoft.Gelu", "TopK",
    }  # fmt: skip
    assert found.numbers == {"packed": 5000, "minus": -1}
    scatter = next(node for node in found.nodes if node.operator == "ScatterND")
    assert scatter.words == {"reduction": "add"}
    assert scatter.inputs == ("image", "packed", "image")
    assert found.parameters == 3


def test_constants_however_they_are_stored() -> None:
    model = onnx.parser.parse_model(BRANCHES)
    unpacked = onnx.TensorProto(name="unpacked", data_type=onnx.TensorProto.INT64, dims=[1], int64_data=[-7])
    raw = onnx.numpy_helper.from_array(np.array([-9]), "raw")
    empty = onnx.TensorProto(name="empty", data_type=onnx.TensorProto.INT64, dims=[1])
    model.graph.initializer.extend([unpacked, raw, empty])
    found = read_onnx(model.SerializeToString(), "here")
    assert (found.numbers["unpacked"], found.numbers["raw"]) == (-7, -9)
    assert "empty" not in found.numbers


def test_open_lengths_without_a_name() -> None:
    model = onnx.load_model_from_string(TINY)
    model.graph.input[0].type.tensor_type.shape.dim[2].Clear()
    assert read_onnx(model.SerializeToString(), "here").inputs[0].shape == (1, 3, "?", "width")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "no graph"),
        (lambda data: data[: len(data) // 2], "cut short|no ONNX file"),
        (lambda data: b"\x03", "no field can start with 3"),
        (lambda data: b"\x80" * 11, "more than ten bytes"),
        (lambda data: b"\x38\x01", "number where a message should be"),
        (lambda data: data + b"\x72\x02\x08\x01", "number where a name should be"),
        (lambda data: data + b"\x42\x02\x12\x00", "is no integer"),
    ],
)
def test_what_is_no_onnx_file(damage, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnsupportedModel, match=message) as caught:
        read_onnx(damage(TINY), "somewhere.onnx")
    assert caught.value.where == "somewhere.onnx"


def test_graphs_without_end() -> None:
    graph = onnx.GraphProto()
    for _ in range(20):
        outer = onnx.GraphProto()
        outer.node.append(onnx.helper.make_node("Loop", [], [], body=graph))
        graph = outer
    with pytest.raises(UnsupportedModel, match="too deep"):
        read_onnx(onnx.ModelProto(graph=graph).SerializeToString(), "here")


def test_weights_elsewhere_and_inputs_that_are_no_numbers() -> None:
    model = onnx.load_model_from_string(TINY)
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(UnsupportedModel, match="weights in another file"):
        read_onnx(model.SerializeToString(), "here")
    for kind in (onnx.TensorProto.BFLOAT16, onnx.TensorProto.STRING):
        model = onnx.load_model_from_string(TINY)
        model.graph.input[0].type.tensor_type.elem_type = kind
        with pytest.raises(UnsupportedModel, match="'frames' is no array of plain numbers"):
            read_onnx(model.SerializeToString(), "here")
    model.graph.input[0].type.Clear()
    with pytest.raises(UnsupportedModel, match="no array"):
        read_onnx(model.SerializeToString(), "here")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.builds(lambda at, to: TINY[:at] + to + TINY[at + len(to) :],
                                           st.integers(0, len(TINY)), st.binary(min_size=1, max_size=8)))  # fmt: skip
def test_any_bytes_give_a_network_or_our_error(data: bytes) -> None:
    try:
        read_onnx(data, "here")
    except UnsupportedModel:
        pass

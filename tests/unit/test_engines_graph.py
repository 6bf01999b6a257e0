"""ONNX files: what is read from them, what is refused, uint16 frames and their pairs of bytes."""

from __future__ import annotations

import sys
from contextlib import suppress

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from small_networks import HEAD, TINY_DENOISER, UNREAD, denoiser_inputs, model, network

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import graph
from smartscope_models.engines.engine import Network, Tensor


def changed(text: str = UNREAD) -> onnx.ModelProto:
    """A copy to be spoilt."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model(text))
    return copy


def load(spoilt: onnx.ModelProto) -> onnx.ModelProto:
    return graph.load(Network.of("spoilt", spoilt.SerializeToString()))


def parsed(text: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(HEAD.replace("17", str(opset)) + text)


# ---------------------------------------------------------------- reading


def test_tensors_and_metadata_as_declared() -> None:
    made = changed(TINY_DENOISER)
    made.metadata_props.add(key="smartscope.manifest", value='{"schema": 1}')
    read = load(made)
    inputs, outputs = graph.tensors(read)
    assert inputs == (
        Tensor("frames", np.dtype("u2"), (1, 2, "height", "width")),
        Tensor("calibration", np.dtype("f4"), (1, 3, "height", "width")),
        Tensor("nominal", np.dtype("f4"), (3,)),
    )
    assert outputs == (Tensor("image", np.dtype("f4"), (1, 1, "height", "width")),)
    assert graph.metadata(read) == {"smartscope.manifest": '{"schema": 1}'}
    assert graph.opset(read) == 17


def test_the_hash_is_that_of_the_bytes() -> None:
    assert Network.of("x", b"abc").sha256.startswith("ba7816bf")


def test_axes_without_a_name_get_one() -> None:
    made = changed()
    made.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    assert graph.tensors(load(made))[0][0].shape == ("x_0",)


def test_weights_listed_as_inputs_are_none() -> None:
    made = changed()
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3, np.float32), "unread"))
    assert [tensor.name for tensor in graph.tensors(load(made))[0]] == ["x"]


@pytest.mark.parametrize("content", [b"", b"no network at all", b"PK\x03\x04 a zip", b"\x00" * 50])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(UnsupportedModel, match=r"thing: is no ONNX file.*remedy: name an \.onnx file"):
        graph.load(Network.of("thing", content))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_read_but_never_anything_else(data: st.DataObject) -> None:
    content = bytearray(network(UNREAD).onnx)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    with suppress(UnsupportedModel):
        graph.tensors(graph.load(Network.of("damaged", bytes(content[:cut]))))


def test_damage_that_shows_late() -> None:
    misnamed = network(UNREAD).onnx.replace(b"unread", b"unre\xffd")
    with pytest.raises(UnsupportedModel, match="is damaged: UnicodeDecodeError"):
        graph.tensors(graph.load(Network.of("damaged", misnamed)))
    strange = changed()
    strange.graph.input[1].type.tensor_type.elem_type = 77
    with pytest.raises(UnsupportedModel, match="is damaged: KeyError 77"):
        graph.tensors(strange)
    labelled = onnx.ModelProto.FromString(misnamed.replace(b"unre\xffd", b"unread"))
    labelled.metadata_props.add(key="k", value="value")
    with pytest.raises(UnsupportedModel, match="metadata: is damaged"):
        graph.metadata(onnx.ModelProto.FromString(labelled.SerializeToString().replace(b"value", b"\xffalue")))


def test_weights_in_another_file_are_refused() -> None:
    made = changed(TINY_DENOISER)
    made.graph.initializer[-1].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(UnsupportedModel, match=r"weights \(weights_out\) in another file.*weights inside"):
        load(made)


@pytest.mark.parametrize("number", [9, 10, 21, 99])
def test_operator_sets_that_are_not_taken(number: int) -> None:
    made = changed()
    made.opset_import[0].version = number
    with pytest.raises(UnsupportedModel, match=f"operator set {number}; allowed: 11 to 20"):
        load(made)


def test_without_an_operator_set() -> None:
    made = changed()
    made.opset_import[0].domain = "elsewhere"
    with pytest.raises(UnsupportedModel, match="operator set 0"):
        load(made)


def test_unknown_operators_are_refused() -> None:
    made = changed()
    made.graph.node[0].op_type = "Guess"
    with pytest.raises(UnsupportedModel, match=r"not valid ONNX: No Op registered for Guess.*opset_version=17"):
        load(made)


def test_inputs_that_are_no_tensors_are_refused() -> None:
    made = parsed("lists (seq(float[n]) xs) => (float[n] y) { y = ConcatFromSequence <axis = 0> (xs) }")
    with pytest.raises(UnsupportedModel, match="xs is no tensor"):
        graph.tensors(load(made))
    blind = changed()
    blind.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedModel, match="y is no tensor with declared axes"):
        graph.tensors(blind)


@pytest.mark.parametrize("missing", ["onnx", "google.protobuf.message"])
def test_without_onnx(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(EngineError, match=r"onnx is missing.*pip install smartscope\[onnxruntime\]"):
        graph.load(network(UNREAD))


# ---------------------------------------------------------------- uint16 frames

EXPORTED = "exported (int32[1,1,height,width] frames) => (float[1,1,height,width] y) { y = Cast <to = 1> (frames) }"


def test_the_exported_input_becomes_uint16() -> None:
    source = parsed(EXPORTED)
    source.metadata_props.add(key="kept", value="yes")
    retyped = graph.with_uint16_frames(source)
    assert graph.tensors(retyped)[0][0] == Tensor("frames", np.dtype("u2"), (1, 1, "height", "width"))
    assert graph.metadata(retyped) == {"kept": "yes"}
    assert graph.tensors(source)[0][0].dtype == np.int32, "the source stays as it was"


def test_what_cannot_become_uint16() -> None:
    with pytest.raises(UnsupportedModel, match=r"no input frames of int32; allowed: x float32, unread float32"):
        graph.with_uint16_frames(changed())
    with pytest.raises(UnsupportedModel, match="no input frames of int32; allowed: frames uint16"):
        graph.with_uint16_frames(changed(TINY_DENOISER))
    negated = "negated (int32[n] frames) => (int32[n] y) { y = Neg (frames) }"
    with pytest.raises(UnsupportedModel, match="cannot take input frames as uint16"):
        graph.with_uint16_frames(parsed(negated))


# ---------------------------------------------------------------- pairs of bytes


def pairs(frames: np.ndarray) -> np.ndarray:
    """The same bytes."""
    return frames.view(np.uint8).reshape(*frames.shape, 2)


def test_pairs_of_bytes_give_the_same_image() -> None:
    source = changed(TINY_DENOISER)
    source.metadata_props.add(key="kept", value="yes")
    paired = graph.with_byte_pairs(source)
    assert graph.tensors(paired)[0][0] == Tensor("frames", np.dtype("u1"), (1, 2, "height", "width", 2))
    assert graph.metadata(paired) == {"kept": "yes"}
    assert (graph.opset(paired), paired.ir_version) == (17, source.ir_version)
    inputs = denoiser_inputs(8, 6)
    wanted = ReferenceEvaluator(source).run(None, inputs)[0]
    found = ReferenceEvaluator(paired).run(None, {**inputs, "frames": pairs(inputs["frames"])})[0]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("opset", [11, 12, 13, 17, 18, 20])
def test_every_count_survives_at_every_operator_set(opset: int) -> None:
    paired = graph.with_byte_pairs(parsed(EXPORTED.replace("int32", "uint16"), opset))
    counts = np.arange(65536, dtype=np.uint16).reshape(1, 1, 256, 256)
    found = ReferenceEvaluator(paired).run(None, {"frames": pairs(counts)})[0]
    np.testing.assert_array_equal(found, counts.astype(np.float32))


def test_what_cannot_take_pairs() -> None:
    with pytest.raises(UnsupportedModel, match=r"no input frames of uint16; allowed: frames int32"):
        graph.with_byte_pairs(parsed(EXPORTED))
    whole = "whole (uint16[n] frames) => (uint16[n] y) { y = BitwiseNot (frames) }"
    with pytest.raises(UnsupportedModel, match="cannot take input frames as pairs of bytes"):
        graph.with_byte_pairs(parsed(whole, 18))


def test_control_flow_around_frames_is_refused() -> None:
    branch = """
    branch (uint16[n] frames, bool way) => (float[n] y) {
      y = If (way) <
        then_branch = a () => (float[n] p) { p = Cast <to = 1> (frames) },
        else_branch = b () => (float[n] q) { q = Cast <to = 1> (frames) }
      >
    }"""
    with pytest.raises(UnsupportedModel, match=r"control flow \(If\)"):
        graph.with_byte_pairs(parsed(branch))

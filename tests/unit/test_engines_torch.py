"""Each operator of the torch engine against ONNX's own reference; what it does not know is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx.helper import (
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_value_info,
    np_dtype_to_tensor_dtype,
)
from onnx.reference import ReferenceEvaluator
from small_networks import TINY_DENOISER, UNREAD, denoiser_inputs, expected, model, network, shapes

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import Network

torch = pytest.importorskip("torch", reason="torch is not installed")

from smartscope_models.engines.torch_reference import TorchEngine  # noqa: E402

Array = npt.NDArray[Any]
RNG = np.random.default_rng(5)
X = RNG.normal(0, 1, (1, 4, 6, 8)).astype(np.float32)
POSITIVE = np.abs(X) + 0.1
LINE = RNG.normal(0, 1, (1, 4, 9)).astype(np.float32)
VOLUME = RNG.normal(0, 1, (1, 2, 4, 6, 4)).astype(np.float32)
COUNTS = RNG.integers(-9, 9, (3, 5)).astype(np.int32)
TRUE = X > 0
HOW = "coordinate_transformation_mode"


def floats(*shape: int) -> Array:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


def i64(*values: int) -> Array:
    return np.array(values, np.int64)


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def node_network(op: str, arrays: Sequence[Array | None], opset: int, fixed: int, **attributes: Any) -> Network:
    """One node; the inputs from ``fixed`` on are weights, as axes and sizes are."""
    names = ["" if array is None else f"i{k}" for k, array in enumerate(arrays)]
    weights = [
        onnx.numpy_helper.from_array(array, name)
        for name, array in zip(names[fixed:], arrays[fixed:], strict=True)
        if array is not None
    ]
    inputs = [
        make_tensor_value_info(name, np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names[:fixed], arrays[:fixed], strict=True)
        if array is not None
    ]
    if not fixed:
        inputs = [make_tensor_value_info("unread", 1, (1,))]
    node = make_node(op, names, ["y"], **attributes)
    blind = make_graph([node], op, inputs, [make_tensor_value_info("y", 1, None)], weights)
    made = make_model(blind, opset_imports=[make_opsetid("", opset)], ir_version=8)
    given = {name: array for name, array in zip(names[:fixed], arrays[:fixed], strict=True) if array is not None}
    given = given or {"unread": f32(0)}
    found = np.asarray(ReferenceEvaluator(made).run(None, given)[0])
    made.graph.output[0].CopyFrom(make_tensor_value_info("y", np_dtype_to_tensor_dtype(found.dtype), found.shape))
    return Network.of(op, made.SerializeToString())


def run(source: Network, inputs: dict[str, Array]) -> dict[str, Array]:
    engine = TorchEngine(source)
    engine.warm_up(shapes(inputs))
    found = dict(engine.run(inputs))
    engine.close()
    return found


# (operator, inputs, how many of them vary, attributes)
CASES: list[tuple[str, list[Array | None], int, dict[str, Any]]] = [
    *((op, [X, floats(4, 1, 1)], 2, {}) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")),
    *((op, [X, floats(1, 1, 6, 8)], 2, {}) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    ("Equal", [COUNTS, COUNTS.T[:3, :1].copy()], 2, {}),
    ("Div", [COUNTS, np.full((3, 5), 4, np.int32)], 2, {}),
    ("Pow", [POSITIVE, f32(1.7)], 1, {}),
    ("Pow", [COUNTS, f32(2)], 1, {}),
    ("Max", [X], 1, {}),
    ("Sum", [X, X, POSITIVE], 3, {}),
    ("And", [TRUE, ~TRUE], 2, {}),
    ("Or", [TRUE, ~TRUE], 2, {}),
    ("Not", [TRUE], 1, {}),
    ("Where", [TRUE, X, f32(0)], 2, {}),
    *((op, [X], 1, {}) for op in ("Abs", "Neg", "Exp", "Sin", "Cos", "Erf", "Floor", "Ceil", "Round", "Identity")),
    *((op, [X], 1, {}) for op in ("Relu", "Sigmoid", "Tanh", "Softplus", "Dropout", "HardSigmoid", "LeakyRelu", "Elu")),
    *((op, [POSITIVE], 1, {}) for op in ("Sqrt", "Log", "Reciprocal")),
    ("LeakyRelu", [X], 1, {"alpha": 0.2}),
    ("PRelu", [X, floats(4, 1, 1)], 1, {}),
    ("Softmax", [X], 1, {"axis": 1}),
    ("Clip", [X, np.float32(-0.5), np.float32(0.5)], 1, {}),
    ("Clip", [X, None, np.float32(0.5)], 1, {}),
    ("Clip", [X, np.float32(0.5)], 1, {}),
    ("Clip", [X], 1, {}),
    ("Cast", [X * 100], 1, {"to": onnx.TensorProto.INT32}),
    ("Cast", [np.abs(X) * 1000], 1, {"to": onnx.TensorProto.UINT16}),
    ("Cast", [X], 1, {"to": onnx.TensorProto.FLOAT16}),
    ("Conv", [X, floats(6, 4, 3, 3), floats(6)], 1, {"pads": [1, 1, 1, 1]}),
    ("Conv", [X, floats(6, 4, 3, 2)], 1, {"pads": [0, 1, 2, 0], "strides": [2, 1], "kernel_shape": [3, 2]}),
    ("Conv", [X, floats(4, 1, 3, 3)], 1, {"group": 4, "dilations": [2, 2], "auto_pad": "VALID"}),
    ("Conv", [LINE, floats(3, 4, 3)], 1, {"pads": [1, 1]}),
    ("Conv", [VOLUME, floats(3, 2, 2, 2, 2)], 1, {}),
    ("ConvTranspose", [X, floats(4, 3, 2, 2), floats(3)], 1, {"strides": [2, 2]}),
    ("ConvTranspose", [X, floats(4, 3, 3, 3)], 1, {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("AveragePool", [X], 1, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("AveragePool", [X], 1, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("MaxPool", [X], 1, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("MaxPool", [X], 1, {"kernel_shape": [3, 2], "pads": [0, 1, 1, 0]}),
    ("GlobalAveragePool", [X], 1, {}),
    ("Resize", [X, None, f32(1, 1, 2, 2)], 1, {"mode": "nearest", "nearest_mode": "floor", HOW: "asymmetric"}),
    ("Resize", [X, None, f32(1, 1, 2, 3)], 1, {"mode": "linear", HOW: "half_pixel"}),
    ("Resize", [X, None, None, i64(1, 4, 9, 5)], 1, {"mode": "linear", HOW: "pytorch_half_pixel"}),
    ("Resize", [X, None, None, i64(1, 4, 9, 5)], 1, {"mode": "linear", HOW: "align_corners"}),
    ("Resize", [X, None, f32(1, 1, 2, 2)], 1, {"mode": "cubic", HOW: "half_pixel"}),
    ("Pad", [X, i64(0, 0, 1, 2, 0, 0, 0, 3), np.float32(7)], 1, {}),
    ("Pad", [X, i64(0, 1, 1, 2, 0, 0, 0, 3)], 1, {"mode": "constant"}),
    ("Pad", [X, i64(0, 0, 1, 2, 0, 0, 2, 3)], 1, {"mode": "reflect"}),
    ("Pad", [X, i64(0, 0, 1, 2, 0, 0, 2, 3)], 1, {"mode": "edge"}),
    ("DepthToSpace", [X], 1, {"blocksize": 2, "mode": "CRD"}),
    ("DepthToSpace", [floats(1, 12, 2, 3)], 1, {"blocksize": 2}),
    ("SpaceToDepth", [X], 1, {"blocksize": 2}),
    ("BatchNormalization", [X, floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.1], 1, {"epsilon": 1e-3}),
    ("InstanceNormalization", [X, floats(4), floats(4)], 1, {}),
    ("LayerNormalization", [X, floats(8), floats(8)], 1, {}),
    ("ReduceMean", [X], 1, {"axes": [2, 3]}),
    ("ReduceMean", [X], 1, {"keepdims": 0}),
    ("ReduceSum", [X, i64(1)], 1, {"keepdims": 0}),
    ("ReduceSum", [X], 1, {"noop_with_empty_axes": 1}),
    ("ReduceMax", [X], 1, {"axes": [1]}),
    ("ReduceMin", [X], 1, {"axes": [-1]}),
    ("MatMul", [X, floats(8, 5)], 1, {}),
    ("Gemm", [floats(3, 5), floats(4, 3), floats(4)], 1, {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", [floats(3, 5), floats(5, 4)], 1, {}),
    ("Concat", [X, POSITIVE, X], 3, {"axis": 1}),
    ("Slice", [X, i64(1), i64(3), i64(1)], 1, {}),
    ("Slice", [X, i64(-3, 1), i64(2**62, -1), i64(3, 2), i64(2, 1)], 1, {}),
    ("Slice", [X, i64(0, 1), i64(1, 3)], 1, {}),
    ("Split", [X, i64(1, 3)], 1, {"axis": 1}),
    ("Gather", [X, i64(2, -1)], 1, {"axis": 1}),
    ("Gather", [X, np.array(3, np.int64)], 1, {"axis": -1}),
    ("Gather", [X, np.array([[0, 1], [5, 4]])], 1, {"axis": 2}),
    ("GatherElements", [LINE, np.array([[[0, -1, 8], [3, 3, 0], [1, 2, 3], [7, 0, 0]]])], 1, {"axis": 2}),
    ("GatherElements", [X[0, 0], np.array([[5, 1, 0, 0, -6, 2, 3, 4]])], 1, {}),
    ("Reshape", [X, i64(0, 2, -1)], 1, {}),
    ("Flatten", [X], 1, {"axis": 2}),
    ("Flatten", [X], 1, {"axis": 0}),
    ("Transpose", [X], 1, {"perm": [0, 2, 3, 1]}),
    ("Transpose", [X], 1, {}),
    ("Squeeze", [X, i64(0)], 1, {}),
    ("Squeeze", [X], 1, {}),
    ("Unsqueeze", [LINE, i64(0, -1)], 1, {}),
    ("Expand", [floats(4, 1), i64(2, 1, 3)], 1, {}),
    ("Tile", [COUNTS, i64(2, 3)], 1, {}),
    ("Shape", [X], 1, {}),
    ("Shape", [X], 1, {"start": 1, "end": -1}),
    ("ConstantOfShape", [i64(2, 3)], 0, {}),
    ("ConstantOfShape", [i64(2, 3)], 0, {"value": onnx.numpy_helper.from_array(i64(7))}),
    ("Range", [np.int64(2), np.int64(9), np.int64(3)], 0, {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "arrays", "vary", "attributes"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_operator(op: str, arrays: list[Array | None], vary: int, attributes: dict[str, Any]) -> None:
    source = node_network(op, arrays, 17, vary, **attributes)
    inputs = {f"i{k}": np.asarray(array) for k, array in enumerate(arrays[:vary])} or {"unread": f32(0)}
    found, wanted = run(source, inputs)["y"], expected(source, inputs)["y"]
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(found.astype(np.float64), wanted.astype(np.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("op", "arrays", "attributes"),
    [
        ("ReduceMean", [X, i64(2, 3)], {"keepdims": 0}),
        ("ReduceMax", [X, i64(-1)], {}),
        ("Split", [X], {"axis": 1, "num_outputs": 1}),
        ("Pad", [X, i64(0, 0, 1, 2, 0, 0, 0, 3)], {}),
    ],
)
def test_operator_of_set_18(op: str, arrays: list[Array], attributes: dict[str, Any]) -> None:
    source = node_network(op, arrays, 18, 1, **attributes)
    np.testing.assert_allclose(run(source, {"i0": X})["y"], expected(source, {"i0": X})["y"], rtol=1e-5, atol=1e-6)


def test_gelu_of_set_20() -> None:
    source = node_network("Gelu", [X], 20, 1, approximate="tanh")
    np.testing.assert_allclose(run(source, {"i0": X})["y"], expected(source, {"i0": X})["y"], rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- whole graphs


def parsed(text: str, opset: int = 17) -> Network:
    made = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')
    return Network.of(made.graph.name, made.SerializeToString())


def test_constants_of_every_kind() -> None:
    source = parsed("""
    constants (float[n] x) => (float[n] y) {
      a = Constant <value_float = 0.5> ()
      b = Constant <value_floats = [1.0]> ()
      c = Constant <value_int = 3> ()
      d = Constant <value_ints = [4]> ()
      e = Constant <value = float[1] {5.0}> ()
      whole = Add (c, d)
      f = Cast <to = 1> (whole)
      y = Sum (x, a, b, e, f)
    }""")
    x = np.zeros(3, np.float32)
    np.testing.assert_array_equal(run(source, {"x": x})["y"], x + 13.5)


def test_the_exporters_form_of_pixel_unshuffle() -> None:
    """Shape arithmetic, Reshape and Transpose, with frames that arrive as uint16."""
    source = parsed("""
    unshuffle (uint16[1,1,height,width] frames) => (float[1,4,h,w] y)
    <int64[1] two = {2}, int64[1] one = {1}, int64[1] four = {4}, int64[1] row = {2}, int64[1] column = {3}> {
      shape = Shape (frames)
      height = Gather (shape, row)
      width = Gather (shape, column)
      h = Div (height, two)
      w = Div (width, two)
      apart = Concat <axis = 0> (one, one, h, two, w, two)
      together = Concat <axis = 0> (one, four, h, w)
      counts = Cast <to = 1> (frames)
      blocks = Reshape (counts, apart)
      sorted = Transpose <perm = [0, 1, 3, 5, 2, 4]> (blocks)
      y = Reshape (sorted, together)
    }""")
    for size in ((4, 6), (8, 2)):
        frames = RNG.integers(0, 65536, (1, 1, *size)).astype(np.uint16)
        wanted = torch.nn.functional.pixel_unshuffle(torch.from_numpy(frames.astype(np.float32)), 2).numpy()
        np.testing.assert_array_equal(run(source, {"frames": frames})["y"], wanted)


def test_uint16_comes_out_as_uint16() -> None:
    source = parsed("plus (uint16[n] frames) => (uint16[n] y) { y = Identity (frames) }")
    frames = np.array([0, 1, 32768, 65535], np.uint16)
    assert run(source, {"frames": frames})["y"].tolist() == [0, 1, 32768, 65535]


def test_an_output_may_be_read_on() -> None:
    source = parsed("both (float[n] x) => (float[n] y, float[n] z) { y = Neg (x) z = Exp (y) }")
    found = run(source, {"x": np.zeros(2, np.float32)})
    assert (found["y"].tolist(), found["z"].tolist()) == ([0, 0], [1, 1])


def test_values_are_let_go_when_nobody_reads_them_any_more() -> None:
    engine = TorchEngine(network(TINY_DENOISER))
    live, seen = {"frames", "calibration", "nominal"}, set[str]()
    for step in engine._steps:
        seen |= set(step.outputs)
        live = (live | set(step.outputs)) - set(step.done_with)
    assert "image" in seen
    assert live == {"image"}


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    inputs = denoiser_inputs(8, 8)
    for threads in (before, before + 1):
        engine = TorchEngine(network(TINY_DENOISER), threads=threads)
        engine.warm_up(shapes(inputs))
        engine.run(inputs)
        assert torch.get_num_threads() == before


def test_half_precision_body() -> None:
    source = parsed("""
    half (float[1,1,height,width] x) => (float[1,1,height,width] y) <float[1,1,1,1] half = {0.5}> {
      low = Cast <to = 10> (x)
      w = Cast <to = 10> (half)
      less = Conv (low, w)
      y = Cast <to = 1> (less)
    }""")
    engine = TorchEngine(source, precision="fp16")
    x = np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 1, 3, 4)
    engine.warm_up({"x": x.shape})
    assert engine.precision == "fp16"
    np.testing.assert_allclose(engine.run({"x": x})["y"], x / 2, atol=5e-4)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{ y = Selu (x) }", "torch has no operator Selu here"),
        ("{ y = ReduceL2 <keepdims = 0> (x) }", "torch has no operator ReduceL2 here"),
        ("{ y = Resize <axes = [0]> (x, , w) }", "torch has no operator Resize with axes here"),
        ("<bfloat16[1] low = {1}> { y = Mul (x, w) }", "torch cannot keep its weights"),
    ],
)
def test_unknown_when_opened(text: str, message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        TorchEngine(parsed(f"g (float[n] x, float[1] w) => (float[n] y) {text}", 18))


def test_operators_of_others_are_unknown() -> None:
    made = onnx.ModelProto()
    made.CopyFrom(model(UNREAD))
    made.opset_import.add(domain="com.microsoft", version=1)
    made.graph.node[0].domain = "com.microsoft"
    with pytest.raises(UnsupportedModel, match=r"no operator com\.microsoft\.Neg here"):
        TorchEngine(Network.of("g", made.SerializeToString()))


@pytest.mark.parametrize("opset", [11, 12])
def test_old_operator_sets_are_refused(opset: int) -> None:
    with pytest.raises(UnsupportedModel, match=f"operator set {opset}; allowed: 13 to 20"):
        TorchEngine(parsed("g (float[n] x) => (float[n] y) { y = Neg (x) }", opset))


@pytest.mark.parametrize(
    ("op", "arrays", "attributes", "message"),
    [
        ("Conv", [X, floats(6, 4, 3, 3)], {"auto_pad": "SAME_UPPER"}, "Conv with auto_pad 'SAME_UPPER' here"),
        ("ConvTranspose", [X, floats(4, 3, 3, 3)], {"pads": [0, 1, 1, 0]}, "ConvTranspose with unequal pads"),
        ("Resize", [X, None, f32(1, 1, 2, 2)], {"mode": "nearest"}, "nearest Resize"),
        ("Slice", [X, i64(5), i64(1), i64(3), i64(-1)], {}, "Slice with a negative step"),
        ("Cast", [X], {"to": onnx.TensorProto.UINT32}, "Cast with type 12"),
    ],
)
def test_unknown_when_warmed_up(op: str, arrays: list[Array], attributes: dict[str, Any], message: str) -> None:
    engine = TorchEngine(node_network(op, arrays, 17, 1, **attributes))
    with pytest.raises(UnsupportedModel, match=message):
        engine.warm_up({"i0": arrays[0].shape})


def test_a_failing_device_is_no_fault_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*inputs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(operators(), "Neg", full)
    engine = TorchEngine(network(UNREAD))
    with pytest.raises(EngineError, match="Neg failed: OutOfMemoryError: CUDA out of memory") as caught:
        engine.warm_up({"x": (2,), "unread": (2,)})
    assert not isinstance(caught.value, UnsupportedModel)


def operators() -> dict[str, Any]:
    from smartscope_models.engines import torch_operators

    return torch_operators.OPERATORS


@pytest.mark.parametrize("largest", [0, 1])
def test_the_first_of_equal_values_comes_first(largest: int) -> None:
    text = f"""top (float[2,7] x) => (float[2,5] y, int64[2,5] place) <int64[1] k = {{5}}> {{
      y, place = TopK <largest = {largest}> (x, k)
    }}"""
    source, inputs = network(text), {"x": f32(3, 1, 3, 0, 1, 3, 2, *[4] * 7).reshape(2, 7)}
    got = run(source, inputs)
    for name, right in expected(source, inputs).items():
        np.testing.assert_array_equal(got[name], right)

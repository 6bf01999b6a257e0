"""The real TensorRT for RTX, as far as a CPU carries it: parsing, inspecting and building need no GPU."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import counts_networks as networks
import numpy as np
import pytest
import small_networks
from fake_cuda import FakeCuda

import smartscope_models
from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import graph, probe
from smartscope_models.engines.engine import Network, Tensor
from smartscope_models.engines.tensorrt import TensorRtEngine, with_byte_pairs
from smartscope_models.engines.tensorrt_build import build, parse
from smartscope_models.engines.tensorrt_inspect import (
    Layer,
    NetworkSummary,
    as_bytes,
    check_against,
    inspect,
    live_shape,
    precision_of,
)

ZOO = sorted((Path(smartscope_models.__file__).parent / "zoo").glob("*/model*.onnx"))
SIZE = 64
VARYING = ("detect_", "localize_", "structured_illumination_")
"""TensorRT for RTX 1.7 was seen to lay these out differently from build to build; all others repeat bit for
bit."""
LARGEST = 1_500_000
"""Bytes of an engine beyond three times its ONNX file."""


@pytest.fixture(scope="module")
def rtx() -> Any:
    """TensorRT for RTX; skips where it is not installed."""
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed (pip install tensorrt-rtx)")


def of_file(path: Path) -> Network:
    content = path.read_bytes()
    return Network(f"{path.parent.name}/{path.name}", content, hashlib.sha256(content).hexdigest())


def live(network: Network, length: int = SIZE) -> dict[str, tuple[int, ...]]:
    """Shapes as TensorRT sees them, every open axis of one length."""
    inputs, _ = graph.tensors(graph.load(network))
    return {tensor.name: tuple(n if isinstance(n, int) else length for n in as_bytes(tensor)[1]) for tensor in inputs}


CASES = [
    pytest.param(small_networks.network(small_networks.TINY_DENOISER), id="denoiser"),
    *(
        pytest.param(networks.network(text), id=name)
        for name, text in (("linear", networks.LINEAR), ("half", networks.HALF))
    ),
    *(pytest.param(of_file(path), id=f"{path.parent.name}/{path.name}") for path in ZOO),
]


@pytest.mark.parametrize("targets", [(), ("SM75",)], ids=["default", "SM75"])
@pytest.mark.parametrize("network", CASES)
def test_every_network_is_built_and_always_the_same(rtx: Any, network: Network, targets: tuple[str, ...]) -> None:
    pairs = with_byte_pairs(network)
    plan = build(rtx, pairs, live(network), targets)
    assert 10_000 < len(plan) < 3 * len(network.onnx) + LARGEST
    again = build(rtx, with_byte_pairs(network), live(network), targets)
    if network.name.startswith(VARYING):
        assert abs(len(again) - len(plan)) < 0.05 * len(plan)
    else:
        assert hashlib.sha256(again).digest() == hashlib.sha256(plan).digest()


@pytest.mark.parametrize("network", CASES)
def test_every_network_is_what_its_file_says(rtx: Any, network: Network) -> None:
    inputs, outputs = graph.tensors(graph.load(network))
    summary = inspect(rtx, parse(rtx, with_byte_pairs(network)).definition)
    half = network.name.endswith(".fp16.onnx") or "half" in graph.load(network).graph.name
    assert check_against(summary, inputs, outputs, "fp16" if half else "fp32") == ()
    assert precision_of(summary) == ("fp16" if half else "fp32")


def test_the_network_is_seen_layer_by_layer(rtx: Any) -> None:
    summary = inspect(rtx, parse(rtx, with_byte_pairs(networks.network(networks.HALF))).definition)
    assert summary.kinds["CONVOLUTION"] == 2
    assert summary.kinds["ELEMENTWISE SUB"] == 1
    assert summary.inputs["frames"] == ("UINT8", (1, 1, -1, -1, 2))
    assert summary.outputs == {"image": ("FLOAT", (1, 1, -1, -1))}
    offset = next(layer for layer in summary.layers if layer.kind == "ELEMENTWISE SUB")
    assert {dtype for _, dtype in (*offset.reads, *offset.writes)} == {"FLOAT"}


def test_counts_in_half_precision_are_seen(rtx: Any) -> None:
    network = networks.network(networks.TOO_EARLY)
    summary = inspect(rtx, parse(rtx, with_byte_pairs(network)).definition)
    inputs, outputs = graph.tensors(graph.load(network))
    (problem,) = check_against(summary, inputs, outputs, "fp16")
    assert problem.endswith("is HALF although no offset has been subtracted from frames yet")


WRONG = {
    "DFT": (
        "(float[1,8,8,1] x) => (float[1,8,8,2] y) { y = DFT <axis = 2> (x) }",
        r"node 0 \(DFT\): .*Plugin not found",
    ),
    "NonZero": ("(float[1,8] x) => (int64[2,n] y) { y = NonZero (x) }", r"\(NonZero\): .*plugin"),
    "TopK": (
        "(float[1,8000] x) => (float[1,4000] y, int64[1,4000] i) <int64[1] k = {4000}> { y, i = TopK (x, k) }",
        "K exceeds the maximum value allowed \\(3840\\)",
    ),
    "uint16": ("(uint16[1,8] x) => (float[1,8] y) { y = Cast <to = 1> (x) }", "ONNX date type"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_it_cannot_take_is_an_error_in_its_own_words(rtx: Any, name: str) -> None:
    text, words = WRONG[name]
    network = networks.network(f"{networks.HEADER} wrong {text}", "somebody's network")
    with pytest.raises(
        UnsupportedModel, match=rf"somebody's network: tensorrt_rtx 1\.\S+ cannot (take|build) .*{words}"
    ):
        build(rtx, network, live(network))


def test_bytes_that_are_no_network_are_an_error(rtx: Any) -> None:
    with pytest.raises(UnsupportedModel, match="Failed to parse the ONNX model"):
        parse(rtx, Network("rubbish", b"rubbish", ""))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offset": None}, "missing dimensions in profile"),
        ({"offset": (1, 1, SIZE, 32)}, "width: Input dimensions with this name have different constant values"),
        ({"gain": (2,)}, "static dimensions that don't match"),
    ],
)
def test_shapes_that_do_not_fit_are_an_error_in_its_own_words(rtx: Any, change: dict, words: str) -> None:
    network = with_byte_pairs(networks.network(networks.LINEAR))
    shapes = {**live(networks.network(networks.LINEAR)), **change}
    with pytest.raises(UnsupportedModel, match=f"cannot build the network .*{words}"):
        build(rtx, network, {name: shape for name, shape in shapes.items() if shape})


def test_without_a_driver_a_fresh_engine_is_refused_in_its_own_words(rtx: Any, tmp_path: Path) -> None:
    """The real build, the real runtime and the real refusal; only the GPU's memory is made up."""
    if probe.cuda_missing() is None:
        pytest.skip("there is a driver: the engine would run, and on memory that is made up")
    engine = TensorRtEngine(networks.network(networks.HALF), module=rtx, cuda=FakeCuda(), cache_dir=tmp_path)
    assert engine.precision == "fp16"
    with pytest.raises(EngineError, match=r"does not run on this GPU \(compute capability 8\.9\): .*driver"):
        engine.warm_up(networks.shapes(SIZE, SIZE))
    assert not list(tmp_path.iterdir())
    engine.close()


# ------------------------------------------------------------------------------------- what needs no TensorRT at all

FRAMES = Tensor("frames", np.dtype(np.uint16), (1, 1, "height", "width"))
IMAGE = Tensor("image", np.dtype(np.float32), (1, 1, "height", "width"))


def summary(*layers: Layer, frames: Any = ("UINT8", (1, 1, -1, -1, 2)), name: str = "frames") -> NetworkSummary:
    return NetworkSummary(layers, {name: frames}, {"image": ("FLOAT", (1, 1, -1, -1))})


def layer(kind: str, reads: str, writes: str) -> Layer:
    """``a:FLOAT b:HALF`` as the tensors read and written."""
    read, write = (tuple(tuple(word.split(":")) for word in text.split()) for text in (reads, writes))
    return Layer(kind, read, write)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (summary(name="pixels"), r"inputs are \['pixels'\], not \['frames'\]"),
        (summary(frames=("FLOAT", (1, 1, -1, -1, 2))), "frames is FLOAT, not uint8"),
        (summary(frames=("UINT8", (1, 3, -1, -1, 2))), r"frames is \(1, 3, -1, -1, 2\), not \(1, 1, "),
        (summary(frames=("UINT8", (1, 1, -1, -1))), r"frames is \(1, 1, -1, -1\), not"),
        (summary(layer("CONVOLUTION", "a:FLOAT", "b:FLOAT")), r"1 layer\(s\) of the body work in FLOAT, not HALF"),
        (summary(layer("CAST", "frames:UINT8", "a:HALF")), "a is HALF although no offset"),
        (
            summary(layer("CAST", "frames:UINT8", "a:FLOAT"), layer("ACTIVATION", "a:FLOAT", "b:BF16")),
            "b is BF16 although no offset",
        ),
        (summary(layer("ELEMENTWISE SUB", "frames:HALF o:HALF", "a:HALF")), "a is HALF although no offset"),
    ],
)
def test_each_broken_promise_is_named(found: NetworkSummary, problem: str) -> None:
    (only,) = check_against(found, [FRAMES], [IMAGE], "fp16")
    assert re.search(problem, only)


def test_half_precision_after_the_offset_is_as_promised() -> None:
    found = summary(
        layer("CAST", "frames:UINT8", "a:FLOAT"),
        layer("ELEMENTWISE SUB", "a:FLOAT o:FLOAT", "b:FLOAT"),
        layer("CAST", "b:FLOAT", "c:HALF"),
        layer("SHAPE", "frames:UINT8", "n:INT64"),
        layer("SLICE", "elsewhere:HALF n:INT64", "d:HALF"),
        layer("CONVOLUTION", "c:HALF d:HALF", "e:HALF"),
    )
    assert check_against(found, [FRAMES], [IMAGE], "fp16") == ()
    assert precision_of(found) == "fp16"


def test_a_network_without_a_body_counts_as_fp32() -> None:
    assert precision_of(summary()) == "fp32"
    assert precision_of(summary(layer("CONVOLUTION", "a:INT8", "b:INT8"))) == "fp32"


def test_uint16_is_seen_as_pairs_of_bytes() -> None:
    assert as_bytes(FRAMES) == ("uint8", (1, 1, "height", "width", 2))
    assert as_bytes(IMAGE) == ("float32", IMAGE.shape)
    assert live_shape(Tensor("frames", np.dtype(np.uint16), (1, 2, 3))) == (1, 2, 3, 2)

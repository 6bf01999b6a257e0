"""How ONNX Runtime and OpenVINO are set up, and which networks they refuse."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from small_networks import TINY_DENOISER, denoiser_inputs, network, shapes

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import Network, Precision
from smartscope_models.engines.onnx_runtime import OnnxRuntimeEngine
from smartscope_models.engines.open_vino import HINTS, OpenVinoEngine

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
openvino = pytest.importorskip("openvino", reason="openvino is not installed")
HAS = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def parsed(text: str, opset: int = 17) -> Network:
    made = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')
    onnx.checker.check_model(made)
    return Network.of(made.graph.name, made.SerializeToString())


def run(engine: OnnxRuntimeEngine | OpenVinoEngine) -> np.ndarray:
    inputs = denoiser_inputs(16, 16)
    engine.warm_up(shapes(inputs))
    return engine.run(inputs)["image"]


# ---------------------------------------------------------------- ONNX Runtime


def test_onnxruntime_keeps_to_its_threads() -> None:
    engine = OnnxRuntimeEngine(network(TINY_DENOISER), threads=2)
    options = engine._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert engine._session.get_providers() == ["CPUExecutionProvider"]


def test_onnxruntime_refuses_what_it_has_no_kernel_for() -> None:
    errors = parsed("errors (double[n] x) => (double[n] y) { y = Erf (x) }")
    with pytest.raises(UnsupportedModel, match=r"onnxruntime, errors: refused: NotImplemented.*Erf"):
        OnnxRuntimeEngine(errors)


# ---------------------------------------------------------------- OpenVINO


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_computes_as_told(precision: Precision) -> None:
    """The processor's own favourite may be bf16: it must be fp32 unless bf16 is asked for."""
    if precision.upper() not in HAS and precision != "fp32":
        pytest.skip(f"this processor has no {precision}, only {', '.join(HAS)}")
    engine = OpenVinoEngine(network(TINY_DENOISER), precision=precision, threads=2)
    image, wanted = run(engine), run(OnnxRuntimeEngine(network(TINY_DENOISER)))
    compiled = engine._request.get_compiled_model()
    hint = compiled.get_property("INFERENCE_PRECISION_HINT")
    assert hint == {"f32": openvino.Type.f32, "bf16": openvino.Type.bf16}[HINTS[precision]]
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert engine.precision == precision
    error = float(np.sqrt(np.mean((image - wanted) ** 2) / np.mean(wanted**2)))
    assert error < 1e-6 if precision == "fp32" else 1e-6 < error < 0.02


def test_openvino_refuses_a_precision_that_the_processor_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino.Core, "get_property", lambda *arguments: ["FP32", "INT8"])
    with pytest.raises(EngineError, match="this processor has no fp16; allowed: fp32") as caught:
        OpenVinoEngine(network(TINY_DENOISER), precision="fp16")
    assert not isinstance(caught.value, UnsupportedModel)


def test_openvino_refuses_what_it_does_not_know() -> None:
    with pytest.raises(UnsupportedModel, match=r"openvino, d: refused: RuntimeError: .*opset_version=17"):
        OpenVinoEngine(parsed("d (float[3,3] x) => (float y) { y = Det (x) }"))


def test_openvino_is_not_trusted_with_what_it_gets_wrong() -> None:
    """DFT at operator set 20 is transformed along the wrong axis, without an error; at 17 it is right."""
    late = "f (float[1,h,w,1] x) => (float[1,h,w,2] y) <int64 axis = {2}> { y = DFT (x, , axis) }"
    with pytest.raises(UnsupportedModel, match="computes DFT of operator set 20 wrongly"):
        OpenVinoEngine(parsed(late, 20))
    source = parsed("f (float[1,h,w,1] x) => (float[1,h,w,2] y) { y = DFT <axis = 2> (x) }")
    x = np.arange(48, dtype=np.float32).reshape(1, 6, 8, 1)
    engine = OpenVinoEngine(source)
    engine.warm_up({"x": x.shape})
    found = engine.run({"x": x})["y"]
    np.testing.assert_allclose(found[..., 0] + 1j * found[..., 1], np.fft.fft(x[..., 0], axis=2), atol=1e-3)

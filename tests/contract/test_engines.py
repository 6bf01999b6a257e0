"""Every engine that is installed keeps the contract, and all say the same."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from contract.engine_contract import SIZES, EngineContract
from small_networks import TINY_DENOISER, denoiser_inputs, network, shapes

from smartscope_models.engines import Engine, Finding, Network, cuda_missing, findings, open_engine
from smartscope_models.engines.onnx_runtime import OnnxRuntimeEngine
from smartscope_models.engines.open_vino import OpenVinoEngine

FOUND = {finding.name: finding for finding in findings()}
TENSOR_CORES = 2e-3
"""Relative error of a sum of products whose factors are rounded to TF32's 10 bits."""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing compiled is left with the user, nor taken from there."""
    monkeypatch.setenv("SMARTSCOPE_CACHE", str(tmp_path))


def needs(name: str) -> pytest.MarkDecorator:
    """Skip, with the probe's own reason, what cannot run here."""
    finding: Finding = FOUND[name]
    return pytest.mark.skipif(not finding.usable, reason=f"{name}: {finding.why}")


@needs("onnxruntime")
class TestOnnxRuntime(EngineContract):
    def open(self, network: Network) -> Engine:
        return OnnxRuntimeEngine(network)


@needs("openvino")
class TestOpenVino(EngineContract):
    def open(self, network: Network) -> Engine:
        return OpenVinoEngine(network)


@needs("torch")
class TestTorch(EngineContract):
    def open(self, network: Network) -> Engine:
        from smartscope_models.engines.torch_reference import TorchEngine

        return TorchEngine(network)


@needs("torch_cuda")
class TestTorchOnCuda(EngineContract):
    relative = 1e-4

    def open(self, network: Network) -> Engine:
        from smartscope_models.engines.torch_reference import TorchEngine

        return TorchEngine(network, device="cuda")


@needs("tensorrt_rtx")
class TestTensorRtForRtx(EngineContract):
    relative = TENSOR_CORES

    def open(self, network: Network) -> Engine:
        from smartscope_models.engines.tensorrt import TensorRtEngine

        return TensorRtEngine(network, module=importlib.import_module("tensorrt_rtx"))


@needs("tensorrt")
class TestTensorRt(EngineContract):
    relative = TENSOR_CORES

    def open(self, network: Network) -> Engine:
        from smartscope_models.engines.tensorrt import TensorRtEngine

        return TensorRtEngine(network, module=importlib.import_module("tensorrt"))


class TestAuto(EngineContract):
    """Whatever is chosen here."""

    relative = EngineContract.relative if cuda_missing() else TENSOR_CORES

    def open(self, network: Network) -> Engine:
        return open_engine({"fp32": network})


OPEN: dict[str, Callable[[Network], Engine]] = {
    "torch": TestTorch().open,
    "onnxruntime": TestOnnxRuntime().open,
    "openvino": TestOpenVino().open,
    "torch_cuda": TestTorchOnCuda().open,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in OPEN if name != "torch"])
@needs("torch")
def test_parity_with_torch(name: str, size: tuple[int, int]) -> None:
    inputs, images = denoiser_inputs(*size), []
    for opened in (OPEN["torch"](network(TINY_DENOISER)), OPEN[name](network(TINY_DENOISER))):
        opened.warm_up(shapes(inputs))
        images.append(opened.run(inputs)["image"])
        opened.close()
    difference = np.sqrt(np.mean((images[1] - images[0]) ** 2) / np.mean(images[0] ** 2))
    assert 0 <= difference < 1e-6


def test_the_suite_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="must open the engine"):
        EngineContract().open(network(TINY_DENOISER))


def test_every_reason_to_skip_is_said() -> None:
    assert all(finding.why for finding in FOUND.values())

"""What tests on a GPU need; where it is missing they skip with the probe's own words, never silently."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

import pytest

from smartscope_models.engines import probe
from smartscope_models.engines.cuda_stream import CudaStream

STREAMS = {"torch": ("cuda_torch", "TorchStream"), "cuda-bindings": ("cuda_bindings", "BindingsStream")}


@pytest.fixture(scope="session")
def reasons() -> Mapping[str, str]:
    """Why each engine on a GPU cannot run here, by the probe's name of it; without those that can."""
    on_gpu = ("tensorrt_rtx", "tensorrt", "torch_cuda")
    return {found.name: found.why for found in probe.findings() if found.name in on_gpu and not found.usable}


@pytest.fixture(params=["tensorrt_rtx", "tensorrt"])
def tensorrt(request: pytest.FixtureRequest, reasons: Mapping[str, str]) -> ModuleType:
    """The module, where it is installed and takes the GPU."""
    if request.param in reasons:
        pytest.skip(f"{request.param}: {reasons[request.param]}")
    return importlib.import_module(request.param)


@pytest.fixture(params=STREAMS)
def cuda(request: pytest.FixtureRequest) -> CudaStream:
    """A stream, through each library that can hold memory on the GPU."""
    if reason := probe.cuda_missing():
        pytest.skip(reason)
    module, name = STREAMS[request.param]
    try:
        stream: CudaStream = getattr(importlib.import_module(f"smartscope_models.engines.{module}"), name)()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{request.param}: {error}")
    return stream

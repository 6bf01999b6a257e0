"""TensorRT on a real GPU: ONNX Runtime's numbers, with and without a CUDA graph, and at once at the second start."""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import counts_networks as networks
import numpy as np
import pytest

import smartscope_models
from smartscope.errors import EngineError
from smartscope_models.engines import probe, tensorrt_load
from smartscope_models.engines.cuda_stream import CudaStream
from smartscope_models.engines.engine import Network, Tensor
from smartscope_models.engines.tensorrt import TensorRtEngine

SIZE = (64, 96)
ZOO = sorted((Path(smartscope_models.__file__).parent / "zoo").glob("*/model*.onnx"))


def of_file(path: Path) -> Network:
    content = path.read_bytes()
    return Network(f"{path.parent.name}/{path.name}", content, hashlib.sha256(content).hexdigest())


CASES = [
    pytest.param(networks.network(networks.LINEAR), id="linear"),
    pytest.param(networks.network(networks.HALF), id="half"),
    *(pytest.param(of_file(path), id=f"{path.parent.name}/{path.name}") for path in ZOO),
]


def shapes(inputs: tuple[Tensor, ...], height: int, width: int) -> dict[str, tuple[int, ...]]:
    lengths: dict[int | str, int] = {"height": height, "width": width}
    return {tensor.name: tuple(lengths.get(n, n) for n in tensor.shape) for tensor in inputs}  # type: ignore[misc]


def values(inputs: tuple[Tensor, ...], size: tuple[int, int], seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """12-bit counts well above the offset; calibration maps and scalars near 1."""
    random, found = np.random.default_rng(seed), {}
    for name, shape in shapes(inputs, *size).items():
        if name == "frames":
            found[name] = random.integers(90, 4096, shape).astype(np.uint16)
        else:
            found[name] = random.uniform(0.5, 1.5, shape).astype(np.float32)
    return found


def of_onnxruntime(network: Network, given: Mapping[str, Any]) -> dict[str, Any]:
    ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    session = ort.InferenceSession(network.onnx, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(given)), strict=True))


def test_a_skipped_test_says_why(reasons: Mapping[str, str]) -> None:
    assert all(reasons.values())
    assert probe.cuda_missing() != ""
    if probe.cuda_missing():
        assert set(reasons) == {"tensorrt_rtx", "tensorrt", "torch_cuda"}, "without a GPU each has its reason"


@pytest.mark.parametrize("network", CASES)
def test_the_numbers_are_those_of_onnxruntime(
    tensorrt: ModuleType, cuda: CudaStream, network: Network, tmp_path: Path
) -> None:
    engine = TensorRtEngine(network, module=tensorrt, cache_dir=tmp_path, cuda=cuda)
    for size in (SIZE, (128, 64)):
        engine.warm_up(shapes(engine.inputs, *size))
        given = values(engine.inputs, size)
        for name, expected in of_onnxruntime(network, given).items():
            found = engine.run(given)[name]
            error = np.sqrt(np.mean((found - expected) ** 2)) / np.sqrt(np.mean(expected**2))
            assert error < (1e-2 if engine.precision == "fp16" else 1e-4), name
    engine.close()


def test_a_graph_changes_nothing(tensorrt: ModuleType, cuda: CudaStream, tmp_path: Path) -> None:
    network = networks.network(networks.HALF)
    results = []
    for graph in (True, False):
        engine = TensorRtEngine(network, module=tensorrt, cache_dir=tmp_path, cuda=cuda, graph=graph)
        engine.warm_up(shapes(engine.inputs, *SIZE))
        assert engine.live.graph in (("captured", "of TensorRT for RTX") if graph else ("not asked for",))
        results.append([engine.run(values(engine.inputs, SIZE, seed))["image"] for seed in range(5)])
        engine.close()
    np.testing.assert_array_equal(*results)


def test_results_held_are_never_written(tensorrt: ModuleType, cuda: CudaStream, tmp_path: Path) -> None:
    network = networks.network(networks.LINEAR)
    engine = TensorRtEngine(network, module=tensorrt, cache_dir=tmp_path, cuda=cuda)
    engine.warm_up(shapes(engine.inputs, *SIZE))
    given = [values(engine.inputs, SIZE, seed) for seed in range(12)]
    engine.hold("gain", given[0]["gain"])
    kept = [engine.run({name: one[name] for name in ("frames", "offset")})["image"] for one in given]
    engine.close()
    for one, found in zip(given, kept, strict=True):
        expected = (one["frames"].astype(np.float32) - one["offset"]) * given[0]["gain"]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_second_start_builds_nothing(
    tensorrt: ModuleType, cuda: CudaStream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, results = networks.network(networks.HALF), []
    for _ in range(2):
        engine = TensorRtEngine(network, module=tensorrt, cache_dir=tmp_path, cuda=cuda)
        engine.warm_up(shapes(engine.inputs, *SIZE))
        results.append(engine.run(values(engine.inputs, SIZE))["image"])
        engine.close()
        monkeypatch.setattr(tensorrt_load, "build", None)
    np.testing.assert_array_equal(*results)
    kinds = {path.suffix for path in tmp_path.iterdir()}
    assert kinds == ({".engine", ".rtcache"} if tensorrt_load.is_rtx(tensorrt) else {".engine"})


def test_a_gpu_that_is_not_listed_runs_or_is_refused_in_words(reasons: Mapping[str, str], tmp_path: Path) -> None:
    if reason := probe.cuda_missing():
        pytest.skip(reason)
    if "tensorrt_rtx" not in reasons or reasons["tensorrt_rtx"] == "not installed":
        pytest.skip(reasons.get("tensorrt_rtx", "TensorRT for RTX lists this GPU: the other tests run on it"))
    network = networks.network(networks.LINEAR)
    engine = TensorRtEngine(network, module=importlib.import_module("tensorrt_rtx"), cache_dir=tmp_path)
    given = values(engine.inputs, SIZE)
    try:
        engine.warm_up(shapes(engine.inputs, *SIZE))
        found = engine.run(given)["image"]
    except EngineError as error:
        print(f"refused: {error}")
        refused = str(error)
    else:
        refused = "the GPU took it"
        np.testing.assert_allclose(found, of_onnxruntime(network, given)["image"], rtol=1e-6)
    engine.close()
    assert "GPU" in refused


@pytest.mark.benchmark
@pytest.mark.parametrize("length", [512, 2048])
@pytest.mark.parametrize("network", [case for case in CASES if "linear" not in str(case.id)])
def test_latency(tensorrt: ModuleType, cuda: CudaStream, network: Network, length: int, tmp_path: Path) -> None:
    """Prints JSON: milliseconds from a frame in pageable memory to an image in page-locked memory, calibration held."""
    engine = TensorRtEngine(network, module=tensorrt, cache_dir=tmp_path, cuda=cuda)
    began = time.perf_counter()
    engine.warm_up(shapes(engine.inputs, length, length))
    warm_up_s = time.perf_counter() - began
    given = values(engine.inputs, (length, length))
    for name in set(given) - {"frames"}:
        engine.hold(name, given[name])
    took_ms = []
    for _ in range(300):
        began = time.perf_counter()
        engine.run({"frames": given["frames"]})
        took_ms.append((time.perf_counter() - began) * 1e3)
    figures = {
        "network": network.name, "length_px": length, "engine": tensorrt.__name__, "version": tensorrt.__version__,
        "gpu": cuda.gpu.name, "memory": type(cuda).__name__, "graph": engine.live.graph, "warm_up_s": warm_up_s,
        "median_ms": float(np.median(took_ms)), "p99_ms": float(np.percentile(took_ms, 99)),
    }  # fmt: skip
    print(json.dumps(figures))
    engine.close()

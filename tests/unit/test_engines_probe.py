"""What is found on a machine, with a driver and packages that the tests make up."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from smartscope_models.engines import probe
from smartscope_models.engines.probe import CudaDevice, Finding

NAMES = ("tensorrt_rtx", "tensorrt", "torch_cuda", "onnxruntime", "openvino", "torch")


class Driver:
    """The CUDA driver, as far as it is asked."""

    def __init__(self, capability: tuple[int, int] = (8, 9), *, count: int = 1, init: int = 0, fails: str = "") -> None:
        self.capability, self.count, self.init, self.fails = capability, count, init, fails

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's names
        return self.init

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        device._obj.value = number
        return 1 if self.fails == "cuDeviceGet" else 0

    def cuDeviceGetName(self, name: Any, length: int, device: Any) -> int:  # noqa: N802
        name.value = b"A GPU"
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: N802
        value._obj.value = self.capability[(75, 76).index(attribute)]
        return 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """All packages there, a GPU of compute capability 8.9; to be changed by the test."""
    place = SimpleNamespace(
        driver=Driver(),
        installed={"tensorrt_rtx", "tensorrt", "onnxruntime", "openvino", "torch", "onnx"},
        versions={"tensorrt": "10.16.1"},
        cuda=True,
    )
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(is_available=lambda: place.cuda)  # type: ignore[attr-defined]
    monkeypatch.setattr(probe, "_driver", lambda library: place.driver)
    monkeypatch.setattr(probe, "_installed", lambda module: module in place.installed)
    monkeypatch.setattr(probe, "_version", lambda module: place.versions.get(module, "1.7"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    return place


def found() -> dict[str, Finding]:
    return {finding.name: finding for finding in probe.findings()}


def usable() -> list[str]:
    return [finding.name for finding in probe.findings() if finding.usable]


def test_everything_is_there(machine: SimpleNamespace) -> None:
    assert usable() == list(NAMES)
    assert found()["tensorrt_rtx"] == Finding("tensorrt_rtx", True, "1.7", "A GPU, compute capability 8.9")
    assert found()["torch_cuda"].why == "A GPU"
    assert found()["torch"].why == found()["openvino"].why == "cpu"
    assert probe.cuda_missing() is None
    assert probe.gpu() == CudaDevice("A GPU", (8, 9))


@pytest.mark.parametrize("absent", ["tensorrt_rtx", "tensorrt", "onnxruntime", "openvino"])
def test_a_package_is_absent(machine: SimpleNamespace, absent: str) -> None:
    machine.installed.remove(absent)
    assert usable() == [name for name in NAMES if name != absent]
    assert found()[absent] == Finding(absent, False, "", "not installed")


def test_without_onnx_nothing_runs(machine: SimpleNamespace) -> None:
    machine.installed.remove("onnx")
    assert usable() == []
    assert {finding.why for finding in probe.findings()} == {"needs the package onnx"}


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (Driver(init=100), "cuInit returned 100"),
        (Driver(count=0), "no device"),
        (Driver(fails="cuDeviceGet"), "does not describe its device (codes (1, 0, 0, 0))"),
    ],
)
def test_no_usable_gpu(machine: SimpleNamespace, driver: Driver, reason: str) -> None:
    machine.driver = driver
    assert usable() == ["onnxruntime", "openvino", "torch"]
    assert probe.gpu() is None
    missing = probe.cuda_missing()
    for why in (missing, found()["tensorrt_rtx"].why, found()["tensorrt"].why, found()["torch_cuda"].why):
        assert why is not None
        assert reason in why


@pytest.mark.parametrize(("platform", "library"), [("linux", "libcuda.so.1"), ("win32", "nvcuda.dll")])
def test_no_driver(monkeypatch: pytest.MonkeyPatch, platform: str, library: str) -> None:
    def absent(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", absent)
    monkeypatch.setattr(sys, "platform", platform)
    assert probe.cuda_missing() == f"{library} not found"


@pytest.mark.parametrize(
    ("capability", "supported"),
    [((6, 1), False), ((7, 0), False), ((7, 5), True), ((8, 0), True), ((8, 6), True), ((8, 9), True), ((9, 0), False),
     ((10, 0), False), ((12, 0), True), ((12, 1), True), ((13, 0), True)],
)  # fmt: skip
def test_gpus_of_tensorrt_for_rtx(machine: SimpleNamespace, capability: tuple[int, int], supported: bool) -> None:
    machine.driver = Driver(capability)
    assert ("tensorrt_rtx" in usable()) is supported
    assert usable()[-5:] == list(NAMES[1:]), "the others do not care"
    number = f"{capability[0]}.{capability[1]}"
    assert (f"capability {number}, is not supported" in found()["tensorrt_rtx"].why) is not supported


@pytest.mark.parametrize(("version", "taken"), [("8.6.0", False), ("10.0.1", True), ("11.4", True), ("12.0", False)])
def test_versions_of_tensorrt(machine: SimpleNamespace, version: str, taken: bool) -> None:
    machine.versions["tensorrt"] = version
    assert ("tensorrt" in usable()) is taken
    assert taken or found()["tensorrt"].why == f"version {version}; needs 10 or 11"


def test_torch_without_cuda(machine: SimpleNamespace) -> None:
    machine.cuda = False
    assert "torch_cuda" not in usable()
    assert "without CUDA" in found()["torch_cuda"].why


def test_installed_and_version_of_real_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe._installed("numpy")
    assert probe._version("numpy")[0].isdigit()
    assert not probe._installed("no_such_module")
    assert probe._version("no_such_module") == "unknown"
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert not probe._installed("numpy"), "blocked"
    monkeypatch.setitem(sys.modules, "made_up", ModuleType("made_up"))
    assert probe._installed("made_up"), "put there by hand"


def test_onnxruntime_has_several_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name != "onnxruntime-gpu":
            raise probe.PackageNotFoundError
        return "1.31"

    monkeypatch.setattr(probe, "version", version)
    assert probe._version("onnxruntime") == "1.31"


def test_looking_is_cheap() -> None:
    code = """
import sys, smartscope_models.engines as engines
heavy = {"torch", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "onnx"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
engines.findings()
assert engines.cuda_missing() is None or not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

"""What this machine has for running networks, found without importing a runtime merely to see that it is missing."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

MAJOR_ATTRIBUTE, MINOR_ATTRIBUTE = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the CUDA driver API."""
RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))
"""Compute capabilities that TensorRT for RTX 1.7 builds for, or that NVIDIA lists; 9.0 (Hopper) is not among them."""
TENSORRT_MAJORS = ("10", "11")
DISTRIBUTIONS = {"onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")}
"""Names under which a module is installed, where they are not the module's own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One way to run networks."""

    name: str
    """``tensorrt_rtx``, ``tensorrt``, ``torch_cuda``, ``onnxruntime``, ``openvino`` or ``torch`` (on the CPU)."""
    usable: bool
    version: str
    """Empty where it is not installed."""
    why: str
    """Why it is not usable, or on what it would run."""


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """The first CUDA device."""

    name: str
    capability: tuple[int, int]


def findings() -> tuple[Finding, ...]:
    """Everything that could run a network, fastest first."""
    looks: dict[str, tuple[str, Callable[[], tuple[bool, str]]]] = {
        "tensorrt_rtx": ("tensorrt_rtx", _on_rtx),
        "tensorrt": ("tensorrt", _on_tensorrt),
        "torch_cuda": ("torch", _on_torch_cuda),
        "onnxruntime": ("onnxruntime", _on_cpu),
        "openvino": ("openvino", _on_cpu),
        "torch": ("torch", _on_cpu),
    }
    return tuple(_look(name, module, look) for name, (module, look) in looks.items())


def cuda_missing() -> str | None:
    """Why no CUDA device is usable, or None. To be asked before any TensorRT object exists: some crash without."""
    found = _first_gpu()
    return found if isinstance(found, str) else None


def gpu() -> CudaDevice | None:
    """The first CUDA device, if there is one."""
    found = _first_gpu()
    return None if isinstance(found, str) else found


def _look(name: str, module: str, look: Callable[[], tuple[bool, str]]) -> Finding:
    for needed in (module, "onnx"):
        if not _installed(needed):
            return Finding(name, False, "", "not installed" if needed == module else "needs the package onnx")
    usable, why = look()
    return Finding(name, usable, _version(module), why)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:
        # a module put into sys.modules by hand, or blocked there, has no spec
        return sys.modules.get(module) is not None


def _version(module: str) -> str:
    for distribution in DISTRIBUTIONS.get(module, (module,)):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "unknown"


def _on_cpu() -> tuple[bool, str]:
    return True, "cpu"


def _on_rtx() -> tuple[bool, str]:
    found = _first_gpu()
    if isinstance(found, str):
        return False, found
    where = f"{found.name}, compute capability {found.capability[0]}.{found.capability[1]}"
    if found.capability in RTX_CAPABILITIES or found.capability > RTX_CAPABILITIES[-1]:
        return True, where
    return False, f"{where}, is not supported by TensorRT for RTX"


def _on_tensorrt() -> tuple[bool, str]:
    number = _version("tensorrt")
    if number.partition(".")[0] not in TENSORRT_MAJORS:
        return False, f"version {number}; needs {' or '.join(TENSORRT_MAJORS)}"
    found = _first_gpu()
    return (False, found) if isinstance(found, str) else (True, found.name)


def _on_torch_cuda() -> tuple[bool, str]:
    found = _first_gpu()
    if isinstance(found, str):
        return False, found
    # the version does not say for which CUDA torch was built, or for none: with a GPU at hand the import is worth it
    import torch

    return (True, found.name) if torch.cuda.is_available() else (False, "torch was built without CUDA, or for another")


def _first_gpu() -> CudaDevice | str:
    """The first device, or why there is none; the driver alone is asked, no CUDA runtime."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = _driver(library)
    except OSError:
        return f"{library} not found"
    if (code := driver.cuInit(0)) != 0:
        return f"cuInit returned {code}"
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or not count.value:
        return "NVIDIA driver present, no device"
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(100)
    codes = (
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDeviceGetName(name, len(name), device),
        driver.cuDeviceGetAttribute(ctypes.byref(major), MAJOR_ATTRIBUTE, device),
        driver.cuDeviceGetAttribute(ctypes.byref(minor), MINOR_ATTRIBUTE, device),
    )
    if any(codes):
        return f"the NVIDIA driver does not describe its device (codes {codes})"
    return CudaDevice(name.value.decode(errors="replace"), (major.value, minor.value))


def _driver(library: str) -> Any:
    return ctypes.CDLL(library)

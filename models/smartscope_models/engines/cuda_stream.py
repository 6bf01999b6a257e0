"""What an engine needs of CUDA (device memory, page-locked memory, one stream, graphs) and who provides it."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from smartscope.errors import EngineError

Bytes = npt.NDArray[np.uint8]
"""(N,) uint8, contiguous."""
DEVICE = 0
"""The first GPU that CUDA shows; ``CUDA_VISIBLE_DEVICES`` chooses another one."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What identifies the GPU, and with it everything compiled for it."""

    name: str
    capability: tuple[int, int]
    """Compute capability, major and minor: (8, 9) for Ada."""
    driver: int
    """CUDA version of the driver, as CUDA counts: 13000 for 13.0."""


class DeviceMemory(Protocol):
    """A block on the device, freed when nobody refers to it. Copies are put on the stream and return at once."""

    @property
    def address(self) -> int:
        """Where the block begins, for ``set_tensor_address``."""

    def upload(self, host: Bytes) -> None:
        """Copy a page-locked array of the block's length here; it must not change before ``wait`` returns."""

    def download(self, host: Bytes) -> None:
        """Copy the block into a page-locked array of its length; it is valid when ``wait`` returns."""


class CudaStream(Protocol):
    """One GPU and one stream of its own on it. What goes wrong in CUDA comes as RuntimeError."""

    gpu: Gpu
    handle: int
    """The stream, for ``execute_async_v3``; never the default stream."""

    def allocate(self, nbytes: int) -> DeviceMemory:
        """A block on the device."""

    def pinned(self, nbytes: int) -> memoryview:
        """Page-locked host memory, zeroed; it lives as long as an array made of it (``np.ndarray(buffer=...)``)."""

    def wait(self) -> None:
        """Sleep until everything asked for so far is done: the core is free for the camera meanwhile."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what ``work`` puts on the stream as a CUDA graph; the answer puts it there again, in one launch."""


def open_stream() -> CudaStream:
    """A stream on the first GPU, through torch where it has CUDA, else through cuda-bindings.

    Call it only where ``probe.cuda_missing`` found nothing missing.

    Raises:
        EngineError: neither library is there, or CUDA refuses.
    """
    why_not = []
    for library, module, name in (
        ("torch", "cuda_torch", "TorchStream"),
        ("cuda-bindings", "cuda_bindings", "BindingsStream"),
    ):
        try:
            implementation = importlib.import_module(f"smartscope_models.engines.{module}")
            stream: CudaStream = getattr(implementation, name)()
        except (ImportError, RuntimeError) as error:
            why_not.append(f"{library}: {error}")
        else:
            return stream
    raise EngineError(
        f"no library can hold memory on the GPU ({'; '.join(why_not)})",
        allowed="torch built with CUDA, or cuda-bindings",
        remedy="pip install cuda-bindings",
    )


def driver_version() -> int:
    """CUDA version of the installed driver, as CUDA counts (13000 for 13.0); raises RuntimeError without one."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    version = ctypes.c_int()
    try:
        failed = ctypes.CDLL(name).cuDriverGetVersion(ctypes.byref(version))
    except OSError as error:
        raise RuntimeError(f"{name} not found") from error
    if failed:
        raise RuntimeError(f"cuDriverGetVersion returned {failed}")
    return version.value

"""CUDA through NVIDIA's ``cuda-bindings`` (runtime API), whose every call answers (error, values...)."""

from __future__ import annotations

import ctypes
import importlib
import weakref
from collections.abc import Callable
from typing import Any

from smartscope_models.engines.cuda_stream import DEVICE, Bytes, Gpu


class BindingsStream:
    """One stream of its own on the first GPU."""

    def __init__(self, runtime: Any = None) -> None:
        """``runtime`` is ``cuda.bindings.runtime``; raises ImportError or RuntimeError where it cannot be used."""
        runtime = runtime or importlib.import_module("cuda.bindings.runtime")
        self.runtime = runtime
        self.call("cudaSetDevice", DEVICE)
        found = self.call("cudaGetDeviceProperties", DEVICE)
        driver = self.call("cudaDriverGetVersion")
        self.gpu = Gpu(found.name.decode().rstrip("\0"), (found.major, found.minor), driver)
        self.stream = self.call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)
        self._give_back(self, "cudaStreamDestroy", self.stream)
        sleeping = runtime.cudaEventBlockingSync | runtime.cudaEventDisableTiming
        self._done = self.call("cudaEventCreateWithFlags", sleeping)
        self._give_back(self, "cudaEventDestroy", self._done)
        self.handle = int(self.stream)

    def allocate(self, nbytes: int) -> _Block:
        """A block on the device."""
        block = _Block(self, self.call("cudaMalloc", nbytes))
        self._give_back(block, "cudaFree", block.address)
        return block

    def pinned(self, nbytes: int) -> memoryview:
        """Page-locked, zeroed; given back when no array refers to it."""
        address = self.call("cudaHostAlloc", nbytes, self.runtime.cudaHostAllocDefault)
        memory = (ctypes.c_uint8 * nbytes).from_address(address)
        self._give_back(memory, "cudaFreeHost", address)
        ctypes.memset(address, 0, nbytes)
        return memoryview(memory)

    def wait(self) -> None:
        """Sleep until the stream is empty."""
        self.call("cudaEventRecord", self._done, self.stream)
        self.call("cudaEventSynchronize", self._done)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """``work`` as one launch; thread-local, so that what other threads do with CUDA meanwhile stays out of it."""
        mode = self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self.stream, mode)
        try:
            work()
        except BaseException:
            self.runtime.cudaStreamEndCapture(self.stream)  # or the stream stays unusable
            raise
        drawn = self.call("cudaStreamEndCapture", self.stream)
        try:
            return _Graph(self, self.call("cudaGraphInstantiate", drawn, 0))
        finally:
            self.call("cudaGraphDestroy", drawn)

    def call(self, name: str, *arguments: Any) -> Any:
        """The value of one CUDA call, None where it has none; raises RuntimeError with CUDA's own words."""
        error, *values = getattr(self.runtime, name)(*arguments)
        if int(error) != 0:
            _, text = self.runtime.cudaGetErrorString(error)
            raise RuntimeError(f"{name}: {text.decode()} (CUDA error {int(error)})")
        return values[0] if values else None

    def _give_back(self, owner: object, name: str, what: Any) -> None:
        """Call ``name`` once ``owner`` is gone; the end of the process frees everything by itself."""
        weakref.finalize(owner, getattr(self.runtime, name), what).atexit = False


class _Block:
    """``cudaMalloc``'s block."""

    def __init__(self, stream: BindingsStream, address: int) -> None:
        self._stream, self.address = stream, address

    def upload(self, host: Bytes) -> None:
        """Host to device, asynchronous."""
        self._copy(self.address, host.ctypes.data, host.nbytes, "cudaMemcpyHostToDevice")

    def download(self, host: Bytes) -> None:
        """Device to host, asynchronous."""
        self._copy(host.ctypes.data, self.address, host.nbytes, "cudaMemcpyDeviceToHost")

    def _copy(self, to: int, source: int, nbytes: int, direction: str) -> None:
        kind = getattr(self._stream.runtime.cudaMemcpyKind, direction)
        self._stream.call("cudaMemcpyAsync", to, source, nbytes, kind, self._stream.stream)


class _Graph:
    """An instantiated graph; calling it launches it."""

    def __init__(self, stream: BindingsStream, executable: Any) -> None:
        self._stream, self._executable = stream, executable
        weakref.finalize(self, stream.runtime.cudaGraphExecDestroy, executable).atexit = False

    def __call__(self) -> None:
        self._stream.call("cudaGraphLaunch", self._executable, self._stream.stream)

"""CUDA through torch, where torch is built with it: blocks are uint8 tensors, kept and reused by torch's allocators."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from smartscope_models.engines.cuda_stream import DEVICE, Bytes, Gpu, driver_version


class TorchStream:
    """One stream of its own on the first GPU."""

    def __init__(self, torch: Any = None) -> None:
        """Raises ImportError without torch, RuntimeError where it has no CUDA."""
        torch = torch or importlib.import_module("torch")
        if not torch.cuda.is_available():
            raise RuntimeError(f"torch {torch.__version__} sees no CUDA device")
        self.torch, self._device = torch, torch.device("cuda", DEVICE)
        found = torch.cuda.get_device_properties(self._device)
        self.gpu = Gpu(found.name, (found.major, found.minor), driver_version())
        self.stream = torch.cuda.Stream(self._device)
        self._done = torch.cuda.Event(blocking=True)
        self.handle = int(self.stream.cuda_stream)

    def allocate(self, nbytes: int) -> _Block:
        """A block on the device; allocated on the own stream, the only one that uses it."""
        with self.torch.cuda.stream(self.stream):
            return _Block(self, self.torch.empty(nbytes, dtype=self.torch.uint8, device=self._device))

    def pinned(self, nbytes: int) -> memoryview:
        """Page-locked, zeroed; it refers to the tensor."""
        return memoryview(self.torch.zeros(nbytes, dtype=self.torch.uint8, pin_memory=True).numpy())

    def wait(self) -> None:
        """Sleep until the stream is empty."""
        self._done.record(self.stream)
        self._done.synchronize()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """``work`` as one launch; thread-local, so that what other threads do with CUDA meanwhile stays out of it."""
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            work()

        def launch() -> None:
            with self.torch.cuda.stream(self.stream):
                graph.replay()

        return launch


class _Block:
    """A tensor on the device, (N,) uint8."""

    def __init__(self, stream: TorchStream, tensor: Any) -> None:
        self._stream, self._tensor = stream, tensor
        self.address = int(tensor.data_ptr())

    def upload(self, host: Bytes) -> None:
        """Host to device, asynchronous."""
        self._copy(self._tensor, self._stream.torch.from_numpy(host))

    def download(self, host: Bytes) -> None:
        """Device to host, asynchronous."""
        self._copy(self._stream.torch.from_numpy(host), self._tensor)

    def _copy(self, to: Any, source: Any) -> None:
        with self._stream.torch.cuda.stream(self._stream.stream):
            to.copy_(source, non_blocking=True)

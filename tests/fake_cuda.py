"""A stream as late as CUDA allows: nothing happens before ``wait``, and a copy sees what is there by then."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from smartscope_models.engines.cuda_stream import Bytes, Gpu


class FakeCuda:
    """One GPU in host memory; ``DEVICES`` finds it by its stream handle, as TensorRT does."""

    DEVICES: ClassVar[weakref.WeakValueDictionary[int, FakeCuda]] = weakref.WeakValueDictionary()
    _handles = iter(range(1, 1 << 30))

    def __init__(self, gpu: Gpu | None = None) -> None:
        self.gpu = gpu or Gpu("Fake GPU", (8, 9), 13000)
        self.handle = next(FakeCuda._handles)
        FakeCuda.DEVICES[self.handle] = self
        self.memory: dict[int, Bytes] = {}
        """By address: what has not been freed."""
        self._next_address = 0x10000
        self._queue: list[Callable[[], None]] = []
        self._recording: list[Callable[[], None]] | None = None
        self.waits = self.pinned_blocks = self.replays = 0
        self.fails = ""
        """What the next ``wait`` complains of."""
        self.capture_fails = ""
        self.captures_nothing = False
        """CUDA's silent failure: the graph is empty."""

    def allocate(self, nbytes: int) -> FakeMemory:
        block = FakeMemory(self, self._next_address, nbytes)
        self.memory[block.address] = np.full(nbytes, 0xCD, np.uint8)
        weakref.finalize(block, self.memory.pop, block.address)
        self._next_address += nbytes + 256
        return block

    def pinned(self, nbytes: int) -> memoryview:
        self.pinned_blocks += 1
        return memoryview(bytearray(nbytes))

    def put(self, work: Callable[[], None]) -> None:
        """At the end of the stream, or into the graph being captured."""
        (self._queue if self._recording is None else self._recording).append(work)

    def wait(self) -> None:
        self.waits += 1
        if self.fails:
            raise RuntimeError(self.fails)
        queue, self._queue = self._queue, []
        for work in queue:
            work()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        if self.capture_fails:
            raise RuntimeError(self.capture_fails)
        self._recording = []
        work()
        recorded, self._recording = self._recording, None

        def launch() -> None:
            self.replays += 1
            self._queue += [] if self.captures_nothing else recorded

        return launch


class FakeMemory:
    """A block of the fake GPU."""

    def __init__(self, cuda: FakeCuda, address: int, nbytes: int) -> None:
        self._cuda, self.address, self._nbytes = cuda, address, nbytes

    def upload(self, host: Bytes) -> None:
        assert host.nbytes == self._nbytes, "copies are whole"
        self._cuda.put(lambda: np.copyto(self._cuda.memory[self.address], host))

    def download(self, host: Bytes) -> None:
        assert host.nbytes == self._nbytes, "copies are whole"
        self._cuda.put(lambda: np.copyto(host, self._cuda.memory[self.address]))

"""Memory, streams and graphs through torch and through cuda-bindings: the right calls, in order, and nothing kept."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from fake_cuda import FakeCuda

from smartscope.errors import EngineError
from smartscope_models.engines import cuda_bindings, cuda_stream, cuda_torch, probe
from smartscope_models.engines.buffers import BufferPool
from smartscope_models.engines.cuda_stream import Gpu, open_stream

# ------------------------------------------------------------------------------------------------- cuda-bindings


class FakeRuntime:
    """``cuda.bindings.runtime`` in host memory: every call answers (error, values...) and is remembered."""

    CONSTANTS: ClassVar[dict[str, Any]] = {
        "cudaStreamNonBlocking": 1,
        "cudaEventBlockingSync": 1,
        "cudaEventDisableTiming": 2,
        "cudaHostAllocDefault": 0,
        "cudaMemcpyKind": SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2),
        "cudaStreamCaptureMode": SimpleNamespace(cudaStreamCaptureModeThreadLocal=1),
    }

    def __init__(self, **fails: int) -> None:
        vars(self).update(self.CONSTANTS)
        self.calls: list[tuple[Any, ...]] = []
        self.blocks: dict[int, Any] = {}
        self._fails = fails

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            if name in self._fails:
                return self._fails[name], *([None] * len(self._answer(name, arguments)))
            return 0, *self._answer(name, arguments)

        return call

    def _answer(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if name in ("cudaMalloc", "cudaHostAlloc"):
            block = (ctypes.c_uint8 * arguments[0])(*[7] * arguments[0])
            self.blocks[ctypes.addressof(block)] = block
            return (ctypes.addressof(block),)
        if name in ("cudaFree", "cudaFreeHost"):
            del self.blocks[arguments[0]]
        if name == "cudaMemcpyAsync":
            ctypes.memmove(*arguments[:3])
        if name == "cudaGetErrorString":
            return (b"an illegal memory access was encountered",)
        if name == "cudaGetDeviceProperties":
            return (SimpleNamespace(name=b"RTX 4000 Ada\0\0", major=8, minor=9),)
        handles = {
            "cudaDriverGetVersion": 13000,
            "cudaStreamCreateWithFlags": 11,
            "cudaEventCreateWithFlags": 12,
            "cudaStreamEndCapture": 13,
            "cudaGraphInstantiate": 14,
        }
        return (handles[name],) if name in handles else ()

    def asked(self, *names: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] in names]


def test_bindings_say_what_the_gpu_is() -> None:
    stream = cuda_bindings.BindingsStream(FakeRuntime())
    assert stream.gpu == Gpu("RTX 4000 Ada", (8, 9), 13000)
    assert stream.handle == 11


def test_bindings_copy_there_and_back() -> None:
    runtime = FakeRuntime()
    stream = cuda_bindings.BindingsStream(runtime)
    block = stream.allocate(4)
    there, back = (np.frombuffer(stream.pinned(4), np.uint8) for _ in range(2))
    assert there.tolist() == [0] * 4, "zeroed"
    there[:] = [1, 2, 3, 4]
    block.upload(there)
    block.download(back)
    stream.wait()
    assert back.tolist() == [1, 2, 3, 4]
    (up, down) = runtime.asked("cudaMemcpyAsync")
    assert (up[4:], down[4:]) == ((1, 11), (2, 11)), "direction and stream"
    assert runtime.calls[-2:] == [("cudaEventRecord", 12, 11), ("cudaEventSynchronize", 12)]


def test_bindings_give_everything_back() -> None:
    runtime = FakeRuntime()
    stream = cuda_bindings.BindingsStream(runtime)
    block, view = stream.allocate(4), BufferPool((2,), np.uint16, allocate=stream.pinned).take()
    part = view[1:]
    replay = stream.capture(lambda: None)
    del block, view
    assert len(runtime.blocks) == 1, "somebody still looks at the page-locked memory"
    del part
    assert not runtime.blocks
    del replay, stream
    gc.collect()
    ended = ("cudaGraphDestroy", "cudaGraphExecDestroy", "cudaEventDestroy", "cudaStreamDestroy")
    assert {call[0] for call in runtime.asked(*ended)} == set(ended)


def test_bindings_capture_and_replay() -> None:
    runtime = FakeRuntime()
    stream = cuda_bindings.BindingsStream(runtime)
    replay = stream.capture(lambda: runtime.calls.append(("work",)))
    replay()
    names = [call[0] for call in runtime.calls]
    begin = names.index("cudaStreamBeginCapture")
    assert names[begin:] == [
        "cudaStreamBeginCapture", "work", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy",
        "cudaGraphLaunch",
    ]  # fmt: skip
    assert runtime.calls[-1] == ("cudaGraphLaunch", 14, 11)


def test_bindings_end_a_capture_that_fails() -> None:
    runtime = FakeRuntime()
    stream = cuda_bindings.BindingsStream(runtime)
    with pytest.raises(RuntimeError, match="no"):
        stream.capture(lambda: (_ for _ in ()).throw(RuntimeError("no")))
    assert runtime.asked("cudaStreamEndCapture"), "or the stream stays unusable"
    refused = FakeRuntime(cudaGraphInstantiate=801)
    with pytest.raises(RuntimeError, match=r"cudaGraphInstantiate: .*801"):
        cuda_bindings.BindingsStream(refused).capture(lambda: None)
    assert refused.asked("cudaGraphDestroy")


@pytest.mark.parametrize("call", ["cudaSetDevice", "cudaMalloc", "cudaHostAlloc", "cudaEventSynchronize"])
def test_bindings_fail_in_cudas_words(call: str) -> None:
    with pytest.raises(RuntimeError, match=rf"{call}: an illegal memory access was encountered \(CUDA error 700\)"):
        _every_call(FakeRuntime(**{call: 700}))


def test_the_real_bindings_refuse_where_there_is_no_driver() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    if probe.cuda_missing() is None:
        pytest.skip("there is a GPU: nothing is refused")
    with pytest.raises(RuntimeError, match=r"cudaSetDevice: .*driver"):
        cuda_bindings.BindingsStream()
    used = {*FakeRuntime.CONSTANTS, *(call[0] for call in _every_call(FakeRuntime()).calls)}
    assert [name for name in used if not hasattr(runtime, name)] == []
    for constant in ("cudaMemcpyKind", "cudaStreamCaptureMode"):
        assert vars(FakeRuntime.CONSTANTS[constant]).keys() <= getattr(runtime, constant).__members__.keys()


def _every_call(runtime: FakeRuntime) -> FakeRuntime:
    """Use everything once."""
    stream = cuda_bindings.BindingsStream(runtime)
    block, host = stream.allocate(1), np.frombuffer(stream.pinned(1), np.uint8)
    block.upload(host)
    stream.wait()
    stream.capture(lambda: block.download(host))()
    return runtime


# ------------------------------------------------------------------------------------------------- torch


def fake_torch(available: bool = True) -> SimpleNamespace:
    """torch with a CUDA that is the CPU: real tensors, streams that only remember."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    calls: list[str] = []

    @contextlib.contextmanager
    def stream(of: Any) -> Iterator[None]:
        calls.append(f"stream {of.cuda_stream}")
        yield

    @contextlib.contextmanager
    def graph(of: Any, *, stream: Any, capture_error_mode: str) -> Iterator[None]:
        calls.append(f"capture on {stream.cuda_stream}, {capture_error_mode}")
        yield

    cuda = SimpleNamespace(
        is_available=lambda: available,
        get_device_properties=lambda device: SimpleNamespace(name="RTX 4000 Ada", major=8, minor=9),
        Stream=lambda device: SimpleNamespace(cuda_stream=21),
        Event=lambda blocking: SimpleNamespace(
            record=lambda of: calls.append(f"record on {of.cuda_stream}"),
            synchronize=lambda: calls.append(f"synchronize, blocking {blocking}"),
        ),
        CUDAGraph=lambda: SimpleNamespace(replay=lambda: calls.append("replay")),
        stream=stream,
        graph=graph,
    )
    return SimpleNamespace(
        __version__="2.13",
        calls=calls,
        cuda=cuda,
        uint8=torch.uint8,
        device=lambda kind, index: f"{kind}:{index}",
        empty=lambda n, dtype, device: torch.empty(n, dtype=dtype),
        zeros=lambda n, dtype, pin_memory: torch.zeros(n, dtype=dtype),
        from_numpy=torch.from_numpy,
    )


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_torch, "driver_version", lambda: 13000)


@pytest.mark.usefixtures("driver")
def test_torch_copies_there_and_back_on_its_own_stream() -> None:
    torch = fake_torch()
    stream = cuda_torch.TorchStream(torch)
    assert (stream.gpu, stream.handle) == (Gpu("RTX 4000 Ada", (8, 9), 13000), 21)
    block = stream.allocate(4)
    assert block.address > 0
    there = np.frombuffer(stream.pinned(4), np.uint8)
    assert there.tolist() == [0] * 4
    there[:] = [1, 2, 3, 4]
    back = BufferPool((2,), np.uint16, allocate=stream.pinned).take()
    block.upload(there)
    block.download(back.view(np.uint8))
    stream.wait()
    assert back.view(np.uint8).tolist() == [1, 2, 3, 4]
    assert torch.calls == ["stream 21"] * 3 + ["record on 21", "synchronize, blocking True"]


@pytest.mark.usefixtures("driver")
def test_torch_captures_and_replays() -> None:
    torch = fake_torch()
    replay = cuda_torch.TorchStream(torch).capture(lambda: torch.calls.append("work"))
    replay()
    assert torch.calls == ["capture on 21, thread_local", "work", "stream 21", "replay"]


def test_torch_without_cuda_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"torch 2\.13 sees no CUDA device"):
        cuda_torch.TorchStream(fake_torch(available=False))


def test_the_real_torch_has_what_is_used() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    assert [name for name in vars(fake_torch().cuda) if not hasattr(torch.cuda, name)] == []


# ------------------------------------------------------------------------------------------------- which of the two


def _streams(monkeypatch: pytest.MonkeyPatch, torch: object, bindings: object) -> None:
    monkeypatch.setattr(cuda_torch, "TorchStream", torch)
    monkeypatch.setattr(cuda_bindings, "BindingsStream", bindings)


def _missing() -> FakeCuda:
    raise ModuleNotFoundError("No module named 'cuda'")


def _without_cuda() -> FakeCuda:
    raise RuntimeError("torch 2.13+cpu sees no CUDA device")


def test_torch_comes_first_then_the_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    of_torch, of_bindings = FakeCuda(), FakeCuda()
    _streams(monkeypatch, lambda: of_torch, lambda: of_bindings)
    assert open_stream() is of_torch
    _streams(monkeypatch, _without_cuda, lambda: of_bindings)
    assert open_stream() is of_bindings


def test_with_neither_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    _streams(monkeypatch, _without_cuda, _missing)
    with pytest.raises(
        EngineError, match=r"torch: .*sees no CUDA.*cuda-bindings: No module.*pip install cuda-bindings"
    ):
        open_stream()


@pytest.mark.parametrize("name", ["cuda_torch", "cuda_bindings"])
def test_an_absent_library_is_an_import_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for absent in ("torch", "cuda.bindings.runtime"):
        monkeypatch.setitem(sys.modules, absent, None)
    module = importlib.import_module(f"smartscope_models.engines.{name}")
    with pytest.raises(ImportError):
        (module.TorchStream if name == "cuda_torch" else module.BindingsStream)()


# ------------------------------------------------------------------------------------------------- the driver's version


@pytest.mark.parametrize(("platform", "name"), [("linux", "libcuda.so.1"), ("win32", "nvcuda.dll")])
def test_the_drivers_version_is_asked_of_the_driver(monkeypatch: pytest.MonkeyPatch, platform: str, name: str) -> None:
    def answer(pointer: Any) -> int:
        pointer._obj.value = 13010
        return 0

    opened = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(
        cuda_stream.ctypes, "CDLL", lambda name: opened.append(name) or SimpleNamespace(cuDriverGetVersion=answer)
    )
    assert cuda_stream.driver_version() == 13010
    assert opened == [name]


def test_a_driver_that_is_absent_or_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(cuda_stream.ctypes, "CDLL", absent)
    with pytest.raises(RuntimeError, match="not found"):
        cuda_stream.driver_version()
    refusing = SimpleNamespace(cuDriverGetVersion=lambda pointer: 999)
    monkeypatch.setattr(cuda_stream.ctypes, "CDLL", lambda name: refusing)
    with pytest.raises(RuntimeError, match="returned 999"):
        cuda_stream.driver_version()

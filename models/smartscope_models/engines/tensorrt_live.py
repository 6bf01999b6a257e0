"""One network for one set of shapes, alive on the GPU: a context, its buffers, a launch in which nothing is allocated.

Order on the stream: inputs to the device, the network, outputs to the host, an event. TensorRT for RTX makes its own
CUDA graph; for the full TensorRT the launch is captured here, and replaces the plain one only if both agree bit by bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from smartscope_models.engines.cuda_stream import Bytes, CudaStream
from smartscope_models.engines.engine import Array, Shape, Tensor
from smartscope_models.engines.tensorrt_inspect import live_shape
from smartscope_models.engines.tensorrt_log import log_of

log = logging.getLogger(__name__)

FIRST_RUNS = 3
"""Before the light goes on: the first compiles, the second is caught in RTX's graph, the third replays it."""
POISON = 0xA5
"""Outputs are overwritten with it before the captured graph must bring them back."""


class LiveShape:
    """A context with everything it touches at fixed addresses; RuntimeError says that TensorRT or CUDA failed."""

    def __init__(
        self,
        module: Any,
        engine: Any,
        cuda: CudaStream,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        graph: bool = True,
        compiled: bytes | None = None,
    ) -> None:
        """Allocate, bind and run a few times on zeros.

        Args:
            module: ``tensorrt_rtx`` or ``tensorrt``.
            engine: deserialised, for exactly the shapes of ``inputs``.
            cuda: the stream for everything here.
            inputs: with their live shapes, no axis open.
            outputs: their shapes are TensorRT's to say, see ``output_shapes``.
            graph: launch the whole network at once where that can be done.
            compiled: kernels of an earlier run (RTX), as ``compiled`` gave them.

        Raises:
            ValueError: an output's shape depends on the data, so that it has no fixed buffer.
            RuntimeError: TensorRT or CUDA refuses.
        """
        self._log, self._cuda, self._engine = log_of(module), cuda, engine
        self._settings, self._kernels, graph_of_rtx = _settings(module, engine, graph, compiled)
        self._context = self._done(engine.create_execution_context(self._settings), "create_execution_context")
        self._inputs = {tensor.name: _Input(cuda, tensor) for tensor in inputs}
        for tensor in inputs:
            shape = live_shape(tensor)
            self._done(self._context.set_input_shape(tensor.name, shape), f"set_input_shape {tensor.name} {shape}")
            self._bind(tensor.name, self._inputs[tensor.name].memory)
        self.output_shapes = {tensor.name: self._output_shape(tensor.name) for tensor in outputs}
        self._outputs = {t.name: cuda.allocate(_nbytes(self.output_shapes[t.name], t.dtype)) for t in outputs}
        for name, memory in self._outputs.items():
            self._bind(name, memory)
        for _ in range(FIRST_RUNS):
            self._plain()
            cuda.wait()
        self._replay: Callable[[], None] | None = None
        self.graph = "of TensorRT for RTX" if graph_of_rtx else "not asked for"
        """Whether the launch is one CUDA graph, and if not, why not."""
        if graph and not graph_of_rtx:
            self.graph = self._captured(outputs)

    def send(self, name: str, values: Array) -> None:
        """Put one input on its way to the device."""
        self._inputs[name].send(values)

    def run(self, outputs: Mapping[str, Array]) -> None:
        """Run on what was sent, and fill ``outputs``, page-locked and C-contiguous; returns when they are there."""
        if self._replay is None:
            self._plain()
        else:
            self._replay()
        for name, array in outputs.items():
            self._outputs[name].download(flat(array))
        self._cuda.wait()

    def wait(self) -> None:
        """Until all that was sent has arrived."""
        self._cuda.wait()

    def compiled(self) -> bytes | None:
        """The kernels compiled so far, to be kept for the next start; None for the full TensorRT."""
        native = None if self._kernels is None else self._kernels.serialize()
        return None if native is None else bytes(native)

    def _plain(self) -> None:
        self._done(self._context.execute_async_v3(self._cuda.handle), "execute_async_v3")

    def _captured(self, outputs: Sequence[Tensor]) -> str:
        """Launch through a CUDA graph from now on, if that can be done; says what was done."""
        try:
            replay = self._cuda.capture(self._plain)
        except RuntimeError as error:
            log.warning("the network runs without a CUDA graph: %s", error)
            return f"none: {error}"
        plain = {tensor.name: self._fetch(tensor) for tensor in outputs}
        poison = {tensor.name: self._pinned(tensor, POISON) for tensor in outputs}  # lives until the copies are done
        for name, block in poison.items():
            self._outputs[name].upload(block)
        replay()
        self._cuda.wait()
        if any(not np.array_equal(plain[tensor.name], self._fetch(tensor)) for tensor in outputs):
            log.warning("the network runs without a CUDA graph: the captured one gives other results")
            return "none: the captured one gives other results"
        self._replay = replay
        return "captured"

    def _fetch(self, tensor: Tensor) -> Bytes:
        found = self._pinned(tensor, 0)
        self._outputs[tensor.name].download(found)
        self._cuda.wait()
        return found

    def _pinned(self, tensor: Tensor, value: int) -> Bytes:
        block = np.frombuffer(self._cuda.pinned(_nbytes(self.output_shapes[tensor.name], tensor.dtype)), np.uint8)
        block[:] = value
        return block

    def _output_shape(self, name: str) -> Shape:
        shape = tuple(int(length) for length in self._context.get_tensor_shape(name))
        if min(shape, default=1) < 0:
            raise ValueError(f"the shape {shape} of output {name} depends on the data")
        return shape

    def _bind(self, name: str, memory: Any) -> None:
        self._done(self._context.set_tensor_address(name, memory.address), f"set_tensor_address {name}")

    def _done(self, answer: Any, what: str) -> Any:
        """TensorRT says no by False or None, and why in its log."""
        if answer is None or answer is False:
            raise RuntimeError(f"{what}: {self._log.said()}")
        return answer


class _Input:
    """Device memory, and the page-locked memory before it: the camera's own is not page-locked."""

    def __init__(self, cuda: CudaStream, tensor: Tensor) -> None:
        shape = tuple(int(length) for length in tensor.shape)
        nbytes = _nbytes(shape, tensor.dtype)
        self.memory = cuda.allocate(nbytes)
        self._host: Array = np.ndarray(shape, tensor.dtype, buffer=cuda.pinned(nbytes))
        self.memory.upload(flat(self._host))

    def send(self, values: Array) -> None:
        """Counts as they are: uint16 is the same bytes as TensorRT's uint8 pairs."""
        np.copyto(self._host, values, casting="no")
        self.memory.upload(flat(self._host))


def flat(array: Array) -> Bytes:
    """The bytes of a C-contiguous array, no copy."""
    return array.reshape(-1).view(np.uint8)


def _nbytes(shape: Shape, dtype: np.dtype[Any]) -> int:
    return max(1, prod(shape) * dtype.itemsize)


def _settings(module: Any, engine: Any, graph: bool, compiled: bytes | None) -> tuple[Any, Any, bool]:
    """(runtime configuration, RTX's store of compiled kernels or None, whether RTX makes the CUDA graph)."""
    config, kernels = engine.create_runtime_config(), None
    if hasattr(config, "create_runtime_cache"):
        kernels = config.create_runtime_cache()
        if compiled is not None and not kernels.deserialize(compiled):
            log.info("the kept kernels fit no more (new driver, say) and are compiled anew")
        config.set_runtime_cache(kernels)
    if hasattr(config, "dynamic_shapes_kernel_specialization_strategy"):
        eager = module.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
    graph_of_rtx = graph and hasattr(config, "cuda_graph_strategy")
    if graph_of_rtx:
        config.cuda_graph_strategy = module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return config, kernels, graph_of_rtx

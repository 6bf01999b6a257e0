"""TensorRT for a stream of frames: one class for TensorRT for RTX and TensorRT 10 and 11, whose module is passed in.

Every set of live shapes has its own engine (profile min = opt = max), context, buffers and CUDA graph. A frame costs
one copy on the host, into page-locked memory; everything else happens on one stream that only this engine uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import graph as onnx_graph
from smartscope_models.engines import probe
from smartscope_models.engines.checked import CheckedEngine
from smartscope_models.engines.cuda_stream import CudaStream, open_stream
from smartscope_models.engines.engine import Array, Network, Precision, Shape
from smartscope_models.engines.tensorrt_build import parse
from smartscope_models.engines.tensorrt_cache import CacheKey, EngineCache, default_folder
from smartscope_models.engines.tensorrt_inspect import check_counts, check_ports, inspect, precision_of
from smartscope_models.engines.tensorrt_live import LiveShape
from smartscope_models.engines.tensorrt_load import key_of, load_engine
from smartscope_models.engines.tensorrt_log import log_of

ALIVE = 4
"""Sets of shapes kept ready on the GPU; a policy that goes back to an earlier region waits for nothing."""
RING = 3
"""Page-locked outputs made before the light goes on: one being written, one with the recorder, one with a client."""


class TensorRtEngine(CheckedEngine):
    """A network on an NVIDIA GPU."""

    name = "tensorrt"

    def __init__(
        self,
        network: Network,
        *,
        module: Any,
        precision: Precision | None = None,
        cache_dir: Path | None = None,
        graph: bool = True,
        cuda: CudaStream | None = None,
    ) -> None:
        """Parse the network; nothing is built before the shapes are known.

        Args:
            network: as any engine takes it; uint16 inputs become byte pairs here.
            module: ``tensorrt_rtx`` or ``tensorrt`` (10 or 11), imported.
            precision: what the caller believes the file's body to be; TensorRT changes none.
            cache_dir: for engines and compiled kernels; None takes the user's cache folder.
            graph: launch through a CUDA graph.
            cuda: the stream; None opens one, after the driver has been probed: some TensorRT builds crash without one.

        Raises:
            UnsupportedModel: TensorRT cannot take the network, or the file is not what it says.
            EngineError: no driver, no GPU, or one that this TensorRT does not run on.
        """
        self._cuda = _probed_stream() if cuda is None else cuda
        model = onnx_graph.load(network)
        inputs, outputs = onnx_graph.tensors(model)
        self._pairs = with_byte_pairs(network)
        summary = inspect(module, parse(module, self._pairs).definition)
        found = precision_of(summary)
        super().__init__(network, found, inputs, outputs)
        if problems := (*check_ports(summary, inputs, outputs), *check_counts(summary, inputs)):
            raise UnsupportedModel("; ".join(problems), where=self.where, remedy=onnx_graph.RESAVE)
        if precision not in (None, found):
            what = f"its body is {found}, not {precision}: TensorRT takes the file's own precision"
            raise UnsupportedModel(what, where=self.where, remedy=f"ask for {found}, or name another file")
        self.device, self.allocate = self._cuda.gpu.name, self._cuda.pinned
        self._module, self._graph = module, graph
        self._cache = EngineCache(cache_dir or default_folder())
        self._runtime = module.Runtime(log_of(module).native)
        self._alive: dict[CacheKey, LiveShape] = {}

    @property
    def live(self) -> LiveShape:
        """What runs now: that of the newest warm-up."""
        return next(reversed(self._alive.values()))

    def warm_up(self, shapes: Mapping[str, Shape]) -> None:
        """See ``Engine``. Shapes that were warm before are ready at once."""
        super().warm_up(shapes)
        with self._translated():  # page-locking takes milliseconds, which no frame should pay
            for pool in self._pools.values():
                _ = [pool.take() for _ in range(RING)]

    def _prepare(self, shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
        inputs = [replace(tensor, shape=shapes[tensor.name]) for tensor in self.inputs]
        key = key_of(self._module, self._pairs, inputs, self._cuda.gpu)
        with self._translated(), log_of(self._module).listen():
            self._cuda.wait()  # makes CUDA's context current in this thread; kept kernels are refused without one
            if (live := self._alive.pop(key, None)) is None:
                engine = load_engine(self._module, self._runtime, self._pairs, key, self._cache)
                kernels = self._cache.read(key, "rtcache")
                live = LiveShape(self._module, engine, self._cuda, inputs, self.outputs, self._graph, kernels)
                self._keep(key, live)
            self._alive[key] = live
        while len(self._alive) > ALIVE:
            del self._alive[next(iter(self._alive))]
        return live.output_shapes

    def _hold(self, name: str, values: Array) -> None:
        with self._translated():
            self.live.send(name, values)
            self.live.wait()

    def _execute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        with self._translated():
            for name, values in inputs.items():
                self.live.send(name, values)
            self.live.run(outputs)

    def _release(self) -> None:
        for key, live in self._alive.items():
            self._keep(key, live)
        self._alive.clear()  # contexts go before the runtime that made them
        del self._runtime

    def _keep(self, key: CacheKey, live: LiveShape) -> None:
        """Kernels compiled since they were last kept spare the next start their compilation."""
        kernels = live.compiled()
        if kernels is not None and kernels != self._cache.read(key, "rtcache"):
            self._cache.write(key, "rtcache", kernels)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """CUDA's and TensorRT's failures as ours, with the network's name."""
        try:
            yield
        except RuntimeError as error:
            remedy = "look at nvidia-smi: another program may fill the GPU"
            raise EngineError(f"failed on the GPU: {error}", where=self.where, remedy=remedy) from error


def with_byte_pairs(network: Network) -> Network:
    """The network as TensorRT can take it: every uint16 input as pairs of bytes.

    Raises:
        UnsupportedModel: what stands behind such an input cannot take floats.
    """
    model = onnx_graph.load(network)
    for tensor in onnx_graph.tensors(model)[0]:
        if tensor.dtype == "uint16":
            model = onnx_graph.with_byte_pairs(model, tensor.name)
    content = model.SerializeToString(deterministic=True)
    return Network(network.name, content, hashlib.sha256(content).hexdigest())


def _probed_stream() -> CudaStream:
    if why := probe.cuda_missing():
        raise EngineError(
            f"TensorRT needs an NVIDIA GPU: {why}",
            where="tensorrt",
            remedy="install the NVIDIA driver, or choose engine: onnxruntime",
        )
    return open_stream()

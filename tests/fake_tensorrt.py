"""A TensorRT that runs anywhere: real ONNX, real numbers (ONNX's own reference), and the real one's ways to fail.

Classes, methods and enumerations have the names of the real bindings, those with ``Rtx`` before them exist in TensorRT
for RTX only; ``test_engines_tensorrt_surface`` holds the real package against them. What is private is the fake's own.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from math import prod
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from fake_cuda import FakeCuda
from google.protobuf.message import DecodeError
from onnx.reference import ReferenceEvaluator

LOGO = b"FAKEPLAN"
KERNELS = b"FAKEKERNELS"
UNSUPPORTED = ("DFT", "NonZero")


@dataclass
class World:
    """What this TensorRT is, what goes wrong in it, and what it was asked to do."""

    flavour: str = "tensorrt_rtx"
    version: str = "1.7.1.116"
    asked: Counter[str] = field(default_factory=Counter)
    diagnosis: str = ""
    """Why no engine is valid on this GPU: a name of ``EngineInvalidityDiagnostics``."""
    suboptimal: bool = False
    doubts: int = 0
    """So many engines are found malformed before one is taken."""
    deserialises: bool = True
    executes: bool = True
    makes_contexts: bool = True
    loses_input: bool = False
    open_output: bool = False
    """The outputs' shapes depend on the data."""
    takes_kernels: bool = True
    settings: list[Any] = field(default_factory=list)
    """Runtime configurations that contexts were made with."""

    def __hash__(self) -> int:
        return id(self)

    @property
    def rtx(self) -> bool:
        return self.flavour == "tensorrt_rtx"


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class ComputeCapability(Enum):
    SM75 = 75
    SM89 = 89


class EngineValidity(Enum):
    VALID = 0
    SUBOPTIMAL = 1
    INVALID = 2


class EngineInvalidityDiagnostics(IntEnum):
    VERSION_MISMATCH = 1
    UNSUPPORTED_CC = 2
    OLD_CUDA_DRIVER = 4
    MALFORMED_ENGINE = 32


class CudaGraphStrategy(Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class DynamicShapesKernelSpecializationStrategy(Enum):
    LAZY = 0
    EAGER = 1


class ILogger:
    class Severity(IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def log(self, severity: Any, msg: str) -> None:
        raise AssertionError("must be overridden")


class DataType(Enum):
    FLOAT = onnx.TensorProto.FLOAT
    HALF = onnx.TensorProto.FLOAT16
    UINT8 = onnx.TensorProto.UINT8
    INT64 = onnx.TensorProto.INT64


class LayerType(Enum):
    CONVOLUTION = "Conv"
    CAST = "Cast"
    ELEMENTWISE = "Sub Mul Add"
    REDUCE = "ReduceSum"
    ACTIVATION = "Relu"
    CONSTANT = "Constant"
    SHUFFLE = ""
    """In the fake: everything else."""


class ElementWiseOperation(Enum):
    SUB = "Sub"
    PROD = "Mul"
    SUM = "Add"


class ITensor:
    name: str = ""
    dtype: DataType = DataType.FLOAT
    shape: tuple[int, ...] = ()

    def __init__(self, value: onnx.ValueInfoProto) -> None:
        self.name, self.dtype = value.name, DataType(value.type.tensor_type.elem_type)
        dims = value.type.tensor_type.shape.dim
        self.shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)


class ILayer:
    def __init__(self, node: onnx.NodeProto, tensors: dict[str, ITensor]) -> None:
        self._node, self._tensors = node, tensors

    @property
    def type(self) -> LayerType:
        return next((kind for kind in LayerType if self._node.op_type in kind.value.split()), LayerType.SHUFFLE)

    num_inputs = property(lambda self: len(self._node.input))
    num_outputs = property(lambda self: len(self._node.output))

    def get_input(self, index: int) -> ITensor | None:
        return self._tensors.get(self._node.input[index])

    def get_output(self, index: int) -> ITensor | None:
        return self._tensors.get(self._node.output[index])


class IElementWiseLayer(ILayer):
    @property
    def op(self) -> ElementWiseOperation:
        return ElementWiseOperation(self._node.op_type)


class INetworkDefinition:
    def __init__(self, world: World) -> None:
        self._world, self._model = world, onnx.ModelProto()

    num_layers = property(lambda self: len(self._model.graph.node))
    num_inputs = property(lambda self: len(self._model.graph.input) - self._world.loses_input)
    num_outputs = property(lambda self: len(self._model.graph.output))

    def get_layer(self, index: int) -> ILayer:
        known = (*self._model.graph.input, *self._model.graph.value_info, *self._model.graph.output)
        return ILayer(self._model.graph.node[index], {value.name: ITensor(value) for value in known})

    def get_input(self, index: int) -> ITensor:
        return ITensor(self._model.graph.input[index])

    def get_output(self, index: int) -> ITensor:
        return ITensor(self._model.graph.output[index])


class ParserError:
    def __init__(self, text: str, index: int = -1, node: onnx.NodeProto | None = None) -> None:
        self._text, self._index, self._node = text, index, node

    def desc(self) -> str:
        return self._text

    def node(self) -> int:
        return self._index

    def node_name(self) -> str:
        return self._node.name if self._node else ""

    def node_operator(self) -> str:
        return self._node.op_type if self._node else ""


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._errors = network, list[ParserError]()
        network._world.asked["parse"] += 1

    num_errors = property(lambda self: len(self._errors))

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse(self, model: bytes) -> bool:
        try:
            graph = onnx.load_model_from_string(model)
        except DecodeError:
            self._errors.append(ParserError("Failed to parse the ONNX model."))
            return False
        for index, node in enumerate(graph.graph.node):
            if node.op_type in UNSUPPORTED:
                self._errors.append(ParserError("Plugin not found", index, node))
        if any(value.type.tensor_type.elem_type == onnx.TensorProto.UINT16 for value in graph.graph.input):
            self._errors.append(ParserError("Failed to convert ONNX date type to TensorRT data type."))
        self._network._model = onnx.shape_inference.infer_shapes(graph)
        return not self._errors


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, tuple[int, ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        assert min == opt == max, "the live shape and no other"
        self._shapes[input] = tuple(opt)


class IBuilderConfig:
    num_compute_capabilities: int = 0

    def __init__(self) -> None:
        self._targets: dict[int, str] = {}
        self._profile = IOptimizationProfile()

    def set_compute_capability(self, compute_capability: ComputeCapability, index: int) -> bool:
        assert index < self.num_compute_capabilities
        self._targets[index] = compute_capability.name
        return True

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profile = profile
        return 0


class Builder:
    def __init__(self, world: World, logger: ILogger) -> None:
        self._world, self._logger = world, logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return INetworkDefinition(self._world)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        self._world.asked["build"] += 1
        shapes = config._profile._shapes
        open_axes = {value.name for value in network._model.graph.input}
        if set(shapes) != open_axes or 13 in shapes.get("frames", ()):  # 13: the shape that this fake cannot build
            self._logger.log(ILogger.Severity.ERROR, f"IBuilder::buildSerializedNetwork: no profile fits {shapes}")
            return None
        plan = {
            "targets": list(config._targets.values()),
            "shapes": {name: list(shape) for name, shape in shapes.items()},
            "onnx": b64encode(network._model.SerializeToString(deterministic=True)).decode(),
        }
        return LOGO + json.dumps(plan).encode()


class Runtime:
    def __init__(self, world: World, logger: ILogger) -> None:
        self._world, self._logger = world, logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        self._world.asked["deserialise"] += 1
        if not self._world.deserialises:
            self._logger.log(ILogger.Severity.ERROR, "deserializeCudaEngine failed: version or format")
            return None
        return ICudaEngine(self._world, json.loads(serialized_engine.removeprefix(LOGO)), self._logger)


class RtxRuntime(Runtime):
    def get_engine_validity(self, buffer: bytes) -> tuple[EngineValidity, int]:
        bits = EngineInvalidityDiagnostics
        if self._world.doubts:
            self._world.doubts -= 1
            return EngineValidity.INVALID, bits.MALFORMED_ENGINE | bits.VERSION_MISMATCH
        if self._world.diagnosis:
            return EngineValidity.INVALID, int(
                bits[self._world.diagnosis] if self._world.diagnosis in bits.__members__ else 0
            )
        return EngineValidity.SUBOPTIMAL if self._world.suboptimal else EngineValidity.VALID, 0


class IRuntimeConfig:
    pass


class RtxIRuntimeCache:
    def __init__(self, world: World) -> None:
        self._world, self._kernels = world, KERNELS

    def deserialize(self, blob: bytes) -> bool:
        if self._world.takes_kernels and blob.startswith(KERNELS):
            self._kernels = bytes(blob)
            return True
        return False

    def serialize(self) -> bytes | None:
        return self._kernels

    def _compile(self, network: str) -> None:
        if network.encode() not in self._kernels:
            self._world.asked["compile"] += 1
            self._kernels += network.encode()


class RtxIRuntimeConfig(IRuntimeConfig):
    cuda_graph_strategy = CudaGraphStrategy.DISABLED
    dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY

    def __init__(self, world: World) -> None:
        self._world, self._cache = world, RtxIRuntimeCache(world)

    def create_runtime_cache(self) -> RtxIRuntimeCache:
        return RtxIRuntimeCache(self._world)

    def set_runtime_cache(self, cache: RtxIRuntimeCache) -> bool:
        self._cache = cache
        return True


class ICudaEngine:
    def __init__(self, world: World, plan: Any, logger: ILogger) -> None:
        self._world, self._plan, self._logger = world, plan, logger

    def create_runtime_config(self) -> IRuntimeConfig:
        return RtxIRuntimeConfig(self._world) if self._world.rtx else IRuntimeConfig()

    def create_execution_context(self, runtime_config: IRuntimeConfig) -> IExecutionContext | None:
        if not self._world.makes_contexts:
            self._logger.log(ILogger.Severity.ERROR, "out of device memory")
            return None
        self._world.settings.append(runtime_config)
        return IExecutionContext(self._world, self._plan, self._logger, runtime_config)


class IExecutionContext:
    def __init__(self, world: World, plan: Any, logger: ILogger, settings: Any) -> None:
        self._world, self._plan, self._logger, self._settings = world, plan, logger, settings
        self._model = onnx.load_model_from_string(b64decode(plan["onnx"]))
        self._sums = ReferenceEvaluator(self._model)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        return list(shape) == self._plan["shapes"][name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory > 0

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if self._world.open_output:
            return (-1, 2)
        zeros = {value.name: np.zeros(self._shapes[value.name], _numpy(value)) for value in self._model.graph.input}
        return dict(self._run(zeros))[name].shape

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self._world.executes:
            self._logger.log(ILogger.Severity.ERROR, "enqueueV3: an illegal memory access was encountered")
            return False
        cuda = FakeCuda.DEVICES[stream_handle]
        self._world.asked["execute"] += 1
        if isinstance(self._settings, RtxIRuntimeConfig):
            self._settings._cache._compile(self._model.graph.name + str(self._shapes))
        cuda.put(lambda: self._compute(cuda))
        return True

    def _compute(self, cuda: FakeCuda) -> None:
        given = {}
        for value in self._model.graph.input:
            shape, dtype = self._shapes[value.name], _numpy(value)
            block = cuda.memory[self._addresses[value.name]]
            assert block.nbytes == prod(shape) * np.dtype(dtype).itemsize
            given[value.name] = block.view(dtype).reshape(shape)
        for name, array in self._run(given):
            cuda.memory[self._addresses[name]][:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def _run(self, given: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        names = [value.name for value in self._model.graph.output]
        return zip(names, self._sums.run(None, given), strict=True)


def _numpy(value: onnx.ValueInfoProto) -> Any:
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


SHARED = (
    NetworkDefinitionCreationFlag, ILogger, DataType, LayerType, ElementWiseOperation, ITensor, ILayer,
    IElementWiseLayer, INetworkDefinition, ParserError, OnnxParser, IOptimizationProfile, IBuilderConfig, Builder,
    Runtime, IRuntimeConfig, ICudaEngine, IExecutionContext,
)  # fmt: skip
RTX = (
    ComputeCapability, EngineValidity, EngineInvalidityDiagnostics, CudaGraphStrategy, RtxRuntime, RtxIRuntimeCache,
    DynamicShapesKernelSpecializationStrategy, RtxIRuntimeConfig,
)  # fmt: skip


def fake_tensorrt(world: World) -> ModuleType:
    """The module to pass to ``TensorRtEngine``."""
    module = ModuleType(world.flavour)
    module.__version__ = world.version  # type: ignore[attr-defined]
    for cls in SHARED if not world.rtx else (*SHARED, *RTX):
        setattr(module, cls.__name__.removeprefix("Rtx"), cls)
    runtime = RtxRuntime if world.rtx else Runtime
    module.Builder = lambda logger: Builder(world, logger)  # type: ignore[attr-defined]
    module.Runtime = lambda logger: runtime(world, logger)  # type: ignore[attr-defined]
    return module

"""The reference: a network's graph worked through node by node in torch, on the CPU or a CUDA device.

Slower than the others on a CPU, but every step is in plain sight, and it runs wherever torch runs: it is what the other
engines are compared with, and what a GPU without TensorRT gets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import graph
from smartscope_models.engines.checked import CheckedEngine, said
from smartscope_models.engines.engine import Array, Network, Precision, Shape
from smartscope_models.engines.torch_operators import Operator, find

if TYPE_CHECKING:
    import onnx

OPSETS = range(13, 21)
"""Before 13 axes and pads are attributes, and Softmax another function."""


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the graph, ready to run."""

    op_type: str
    operator: Operator
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    done_with: tuple[str, ...]
    """Values that no later step reads: let go, since at 2048² each may be half a gigabyte."""


class TorchEngine(CheckedEngine):
    """torch, eager, float32 without TF32 on a GPU, channels last."""

    name = "torch"

    def __init__(
        self, network: Network, *, precision: Precision = "fp32", threads: int = 1, device: str = "cpu"
    ) -> None:
        """Read the network; ``precision`` is that of the file, ``device`` is ``cpu`` or ``cuda``.

        Raises:
            UnsupportedModel: an operator, or an attribute of one, is not known here.
            RuntimeError: there is no such device.
        """
        model = graph.load(network)
        super().__init__(network, precision, *graph.tensors(model))
        if (number := graph.opset(model)) not in OPSETS:
            allowed = f"{OPSETS[0]} to {OPSETS[-1]}"
            raise UnsupportedModel(f"has operator set {number}", where=self.where, allowed=allowed, remedy=graph.RESAVE)
        self._threads, self._place = threads, torch.device(device)
        try:
            self._weights = {name: self._kept(array) for name, array in _constants(model)}
            self._steps = tuple(_steps(model))
        except LookupError as error:
            raise UnsupportedModel(f"torch has no {error.args[0]} here", where=self.where) from error
        except TypeError as error:
            raise UnsupportedModel(f"torch cannot keep its weights: {error}", where=self.where) from error
        self._sent: dict[str, Tensor] = {}
        if self._place.type == "cuda":
            self.device = torch.cuda.get_device_name(self._place)

    def _prepare(self, shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
        self._sent = {}
        found = self._compute(self._rehearsal(shapes))
        return {tensor.name: tuple(found[tensor.name].shape) for tensor in self.outputs}

    def _hold(self, name: str, values: Array) -> None:
        self._sent[name] = self._send(values)

    def _execute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        found = self._compute(inputs)
        for name, array in outputs.items():
            if found[name].shape != array.shape:
                what = (
                    f"output {name} came as {tuple(found[name].shape)}, not {array.shape}: its shape depends on values"
                )
                raise EngineError(what, where=self.where)
            # by way of NumPy, which also makes uint16 of int32
            array[...] = found[name].cpu().numpy()

    def _release(self) -> None:
        del self._weights, self._sent

    # ---------------------------------------------------------------- the graph

    def _compute(self, inputs: Mapping[str, Array]) -> dict[str, Tensor]:
        with torch.inference_mode(), _threads(self._threads), _exactly():
            values = self._weights | self._sent | {name: self._send(array) for name, array in inputs.items()}
            for step in self._steps:
                try:
                    found = step.operator(*(values[name] if name else None for name in step.inputs), **step.attributes)
                except NotImplementedError as error:
                    what = f"torch has no operator {step.op_type} with {error} here"
                    raise UnsupportedModel(what, where=self.where) from error
                except (torch.AcceleratorError, torch.OutOfMemoryError) as error:
                    raise EngineError(f"{step.op_type} failed: {said(error)}", where=self.where) from error
                values.update(zip(step.outputs, (found,) if isinstance(found, Tensor) else found, strict=False))
                for name in step.done_with:
                    values.pop(name, None)
            return {tensor.name: values[tensor.name] for tensor in self.outputs}

    def _send(self, array: Array) -> Tensor:
        """To the device; uint16 becomes int32 there, because torch computes little with uint16."""
        own = array if array.flags.writeable else np.array(array)
        if own.dtype == np.uint16:
            return torch.from_numpy(own.view(np.int16)).to(self._place).to(torch.int32) & 0xFFFF
        return torch.from_numpy(own).to(self._place)

    def _kept(self, array: Array) -> Tensor:
        """A weight; integers stay on the CPU, see ``torch_operators``."""
        if array.dtype.kind != "f":
            return torch.from_numpy(np.array(array))
        tensor = self._send(np.array(array))
        return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _constants(model: onnx.ModelProto) -> Iterator[tuple[str, Array]]:
    """Everything that is known before the first frame."""
    import onnx

    for tensor in model.graph.initializer:
        yield tensor.name, onnx.numpy_helper.to_array(tensor)
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = onnx.helper.get_attribute_value(node.attribute[0])
            if isinstance(value, onnx.TensorProto):
                yield node.output[0], onnx.numpy_helper.to_array(value)
            else:
                kind = np.float32 if node.attribute[0].name.startswith("value_float") else np.int64
                yield node.output[0], np.array(value, kind)


def _steps(model: onnx.ModelProto) -> Iterator[Step]:
    """The nodes in order; a graph is sorted by definition. Raises LookupError."""
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    last = {name: place for place, node in enumerate(nodes) for name in node.input}
    wanted = {value.name for value in model.graph.output}
    for place, node in enumerate(nodes):
        if node.domain not in ("", "ai.onnx"):
            raise LookupError(f"operator {node.domain}.{node.op_type}")
        attributes = {attribute.name: _value(attribute) for attribute in node.attribute}
        done = {name for name in (*node.input, *node.output) if last.get(name, place) == place} - wanted
        yield Step(
            node.op_type,
            find(node.op_type, attributes),
            attributes,
            tuple(node.input),
            tuple(node.output),
            tuple(done),
        )


def _value(attribute: onnx.AttributeProto) -> Any:
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return torch.from_numpy(np.array(onnx.numpy_helper.to_array(value)))
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """torch's number of threads belongs to the process: set for the time of a run, and given back."""
    before = torch.get_num_threads()
    if before == number:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _exactly() -> Iterator[None]:
    """cuDNN without TF32, which keeps 10 bits of a float32; the fastest algorithm is sought once per shape."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        yield

"""How OpenVINO is set up on a CPU: the precision always said, because its default differs from machine to machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import graph
from smartscope_models.engines.checked import CheckedEngine, said
from smartscope_models.engines.engine import Array, Network, Precision, Shape

HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}
CAPABILITIES: dict[Precision, str] = {"fp32": "FP32", "bf16": "BF16", "fp16": "FP16"}
WRONG_FROM = {"DFT": 20}
"""Operators that OpenVINO 2026.4 computes wrongly, without an error, from this operator set on: it ignores the axis."""


class OpenVinoEngine(CheckedEngine):
    """OpenVINO on the CPU, fp32 or, from the same fp32 file, bf16 or fp16 where the processor has it.

    Compiled anew for each set of shapes: that takes 0.05 to 0.15 s for one frame minus a map, which then takes 0.20 ms
    instead of 0.33 with open axes at 512², and 3.0 instead of 4.6 at 2048² (CPU time, one thread, loaded machine).
    """

    name = "openvino"

    def __init__(self, network: Network, *, precision: Precision = "fp32", threads: int = 1) -> None:
        """Read the network; ``precision`` is that of the arithmetic.

        Raises:
            UnsupportedModel: OpenVINO cannot read it, or is known to compute it wrongly.
            EngineError: the processor has no such arithmetic.
            ImportError: OpenVINO is not installed.
        """
        model = graph.load(network)
        super().__init__(network, precision, *graph.tensors(model))
        import openvino

        self._openvino, self._core = openvino, openvino.Core()
        self._request: Any = None
        self._bound: dict[str, Array] = {}
        self._read: set[str] = set()
        """Inputs that something reads; the others lose their names, and cannot be set."""
        able = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if CAPABILITIES[precision] not in able:
            has = ", ".join(hint for hint, capability in CAPABILITIES.items() if capability in able)
            raise EngineError(f"this processor has no {precision}", where=self.where, allowed=has)
        version = graph.opset(model)
        for node in model.graph.node:
            if version >= WRONG_FROM.get(node.op_type, version + 1):
                what = f"OpenVINO computes {node.op_type} of operator set {version} wrongly"
                raise UnsupportedModel(what, where=self.where, remedy="export it with opset_version=17")
        try:
            self._core.read_model(network.onnx)
        except Exception as error:
            raise UnsupportedModel(f"refused: {said(error)}", where=self.where, remedy=graph.RESAVE) from error
        self._properties = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }

    def _prepare(self, shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
        model = self._core.read_model(self.network.onnx)
        self._read = {name for port in model.inputs for name in port.get_names()}
        model.reshape({name: list(shape) for name, shape in shapes.items() if name in self._read})
        self._request = self._core.compile_model(model, "CPU", self._properties).create_infer_request()
        return {tensor.name: tuple(model.output(tensor.name).shape) for tensor in self.outputs}

    def _hold(self, name: str, values: Array) -> None:
        if name in self._read:
            # OpenVINO shares no memory that is read-only
            self._bind(name, values if values.flags.writeable else np.array(values))

    def _execute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        for name, values in inputs.items():
            self._hold(name, values)
        for name, array in outputs.items():
            self._bind(name, array)
        self._request.infer()

    def _bind(self, name: str, array: Array) -> None:
        """Let OpenVINO read or write ``array`` in place; it does not keep the array alive itself."""
        self._request.set_tensor(name, self._openvino.Tensor(array, shared_memory=True))
        self._bound[name] = array

    def _release(self) -> None:
        del self._request, self._core, self._bound

"""How ONNX Runtime is set up on a CPU that also serves a camera: given threads, none spinning, outputs in place."""

from __future__ import annotations

from collections.abc import Mapping

from smartscope.errors import UnsupportedModel
from smartscope_models.engines import graph
from smartscope_models.engines.checked import CheckedEngine, said
from smartscope_models.engines.engine import Array, Network, Precision, Shape

QUIET = 3
"""Severity from which ONNX Runtime writes to stderr: errors."""


class OnnxRuntimeEngine(CheckedEngine):
    """ONNX Runtime on the CPU.

    Outputs are bound to arrays from our pool, so that who owns them does not depend on ONNX Runtime's version. Speed is
    no reason: one frame minus a map takes 0.15 ms bound and 0.08 to 0.20 ms unbound at 512², 2.3 and 2.4 ms at 2048²
    (CPU time, one thread, median of 400 and 150 runs, loaded machine), since ONNX Runtime keeps its own pool.
    """

    name = "onnxruntime"

    def __init__(self, network: Network, *, precision: Precision = "fp32", threads: int = 1) -> None:
        """Read the network; ``precision`` is that of the file.

        Raises:
            UnsupportedModel: ONNX Runtime has no kernel for one of its operators.
            ImportError: ONNX Runtime is not installed.
        """
        inputs, outputs = graph.tensors(graph.load(network))
        super().__init__(network, precision, inputs, outputs)
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        # threads that spin between two frames would take the core that reads the camera
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = QUIET
        try:
            self._session = ort.InferenceSession(network.onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UnsupportedModel(f"refused: {said(error)}", where=self.where, remedy=graph.RESAVE) from error
        self._binding = self._session.io_binding()

    def _prepare(self, shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
        self._binding = self._session.io_binding()
        # shapes may follow from sums inside the graph: what comes out is the only sure answer
        found = self._session.run(None, self._rehearsal(shapes))
        return {tensor.name: array.shape for tensor, array in zip(self.outputs, found, strict=True)}

    def _hold(self, name: str, values: Array) -> None:
        self._binding.bind_cpu_input(name, values)

    def _execute(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        for name, values in inputs.items():
            self._binding.bind_cpu_input(name, values)
        for name, array in outputs.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        self._session.run_with_iobinding(self._binding)

    def _release(self) -> None:
        del self._binding, self._session

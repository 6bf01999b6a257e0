"""Which engine runs a network: the first of a fixed order that is there and takes it, or the one that was named."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from smartscope.errors import EngineError, UnsupportedModel
from smartscope_models.engines import probe
from smartscope_models.engines.checked import fitting, said
from smartscope_models.engines.engine import Array, Engine, EngineName, Network, Precision, Shape

log = logging.getLogger(__name__)

Networks = Mapping[Precision, Network]
"""The files of one package, by the precision of their bodies."""
INSTALL = "pip install smartscope[{}]"


@dataclass(frozen=True, slots=True)
class Route:
    """One way to an engine."""

    finding: str
    """Name of the finding that says whether this way is open."""
    engine: EngineName
    extra: str
    """Of ``pip install smartscope[extra]``."""
    files: tuple[Precision, ...]
    """What it takes, the preferred one first."""
    open: Callable[[Network, Precision, int], Engine]
    """Of (network, precision, threads)."""
    lowers_to: tuple[Precision, ...] = ()
    """Precisions that the engine itself makes of the fp32 file."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A way that was considered and not taken."""

    name: str
    why: str


def open_engine(
    networks: Networks, *, engine: EngineName = "auto", precision: Precision | None = None, threads: int = 1
) -> Engine:
    """An engine for one of ``networks``; without ``precision`` the engine's favourite among them.

    ``auto`` takes the first that is there and takes the network, and goes on to the next should the warm-up fail, when
    shapes and memory are known. A named engine is taken, or it is an error.

    Raises:
        UnsupportedModel: the engine (with ``auto`` every engine) refuses the network, or has no such precision.
        EngineError: the engine is not usable here, or none is; the remedy says what to install.
    """
    if engine == "auto":
        return AutoEngine(networks, precision, threads)
    routes = [route for route in ROUTES if route.engine == engine]
    if not routes:
        known = ", ".join(dict.fromkeys(("auto", *(route.engine for route in ROUTES))))
        raise EngineError(f"there is no engine {engine!r}", allowed=known)
    found = {finding.name: finding for finding in probe.findings()}
    for route in routes:
        if found[route.finding].usable:
            opened = _open(route, networks, precision, threads)
            opened.why = f"{engine} was asked for by name"
            return opened
    reasons = "; ".join(f"{route.finding}: {found[route.finding].why}" for route in routes)
    raise EngineError(f"engine {engine} cannot be used here: {reasons}", remedy=INSTALL.format(routes[0].extra))


class AutoEngine:
    """The first engine that takes the network; those after it wait in case it cannot be warmed up."""

    def __init__(self, networks: Networks, precision: Precision | None, threads: int) -> None:
        """Open the first that can be opened; raises as ``open_engine`` does."""
        self._arguments = networks, precision, threads
        found = {finding.name: finding for finding in probe.findings()}
        self._waiting = [route for route in ROUTES if found[route.finding].usable]
        self.passed_over = [Refusal(name, finding.why) for name, finding in found.items() if not finding.usable]
        """What was considered before the engine in use, and why it was not taken."""
        self._held: dict[str, Array] = {}
        if not self._waiting:
            raise EngineError(f"no engine is installed: {self._reasons()}", remedy=INSTALL.format("onnxruntime"))
        self._adopt(self._next(lambda engine: None))

    def _adopt(self, engine: Engine) -> None:
        self.engine, self.name, self.device = engine, engine.name, engine.device
        self.precision, self.inputs, self.outputs = engine.precision, engine.inputs, engine.outputs
        self.why = f"{self.name} on {self.device}; passed over: {self._reasons() or 'none'}"

    def warm_up(self, shapes: Mapping[str, Shape]) -> None:
        """See ``Engine``. Where the engine in use fails the next takes its place; where all fail it stays."""
        fitting(self.inputs, shapes, "auto")
        try:
            self._ready(self.engine, shapes)
        except EngineError as error:
            if not self._waiting:
                raise
            log.warning("engine %s cannot be warmed up for %s: %s", self.name, dict(shapes), error)
            better = self._next(lambda engine: self._ready(engine, shapes))
            self.engine.close()
            self.passed_over.append(Refusal(self.name, str(error)))
            self._adopt(better)

    def hold(self, name: str, values: Array) -> None:
        """See ``Engine``; kept for the engine that may come next."""
        self.engine.hold(name, values)
        self._held[name] = np.array(values)

    def run(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """See ``Engine``."""
        return self.engine.run(inputs)

    def close(self) -> None:
        """See ``Engine``."""
        self.engine.close()
        self._waiting = []

    def _ready(self, engine: Engine, shapes: Mapping[str, Shape]) -> None:
        engine.warm_up(shapes)
        self._held = {name: values for name, values in self._held.items() if values.shape == tuple(shapes[name])}
        for name, values in self._held.items():
            engine.hold(name, values)

    def _next(self, ready: Callable[[Engine], None]) -> Engine:
        """The first waiting engine that opens and gets ready; the failures before it are passed over for good."""
        errors = list[EngineError]()
        for place, route in enumerate(self._waiting):
            try:
                engine = _open(route, *self._arguments)
                try:
                    ready(engine)
                except EngineError:
                    engine.close()
                    raise
            except EngineError as error:
                log.warning("engine %s is passed over: %s", route.finding, error)
                errors.append(error)
                continue
            refused = zip(self._waiting[:place], errors, strict=True)
            self.passed_over += [Refusal(passed.finding, str(error)) for passed, error in refused]
            self._waiting = self._waiting[place + 1 :]
            log.info("the network runs on %s, %s, %s", engine.name, engine.device, engine.precision)
            return engine
        kind = UnsupportedModel if all(isinstance(error, UnsupportedModel) for error in errors) else EngineError
        reasons = "; ".join(str(error) for error in errors)
        raise kind(f"no engine takes the network: {reasons}", remedy="name an engine to see its error alone")

    def _reasons(self) -> str:
        return "; ".join(f"{refusal.name} ({refusal.why})" for refusal in self.passed_over)


def diagnose() -> dict[str, str]:
    """For ``smartscope doctor``: each way to run a network, and which one ``auto`` would try first and why."""
    found = probe.findings()
    report = {
        finding.name: f"{finding.version}, {finding.why}" if finding.usable else f"not usable: {finding.why}"
        for finding in found
    }
    usable = [finding.name for finding in found if finding.usable]
    if usable:
        report["auto"] = f"{usable[0]}, the first usable of {', '.join(report)}"
    else:
        report["auto"] = f"none is usable: {INSTALL.format('onnxruntime')}"
    return report


def _open(route: Route, networks: Networks, precision: Precision | None, threads: int) -> Engine:
    taken = _file(route, networks, precision)
    try:
        return route.open(taken[1], taken[0], threads)
    except EngineError:
        raise
    except Exception as error:
        what = f"{route.finding} is installed but cannot be used: {said(error)}"
        raise EngineError(what, remedy=f"{INSTALL.format(route.extra)} --force-reinstall") from error


def _file(route: Route, networks: Networks, asked: Precision | None) -> tuple[Precision, Network]:
    """Which precision the engine is to have, and from which file."""
    for precision in route.files:
        if precision in networks and asked in (None, precision):
            return precision, networks[precision]
    if asked is not None and asked in route.lowers_to and "fp32" in networks:
        return asked, networks["fp32"]
    allowed = ", ".join(dict.fromkeys((*route.files, *route.lowers_to)))
    what = f"has no file of {asked or 'a precision'} that {route.finding} takes; it has {', '.join(networks) or 'none'}"
    raise UnsupportedModel(what, where=next((n.name for n in networks.values()), "package"), allowed=allowed)


def _on_tensorrt(module: str) -> Callable[[Network, Precision, int], Engine]:
    def opened(network: Network, precision: Precision, threads: int) -> Engine:
        from smartscope_models.engines.tensorrt import TensorRtEngine

        return TensorRtEngine(network, module=importlib.import_module(module), precision=precision)

    return opened


def _on_torch(device: str) -> Callable[[Network, Precision, int], Engine]:
    def opened(network: Network, precision: Precision, threads: int) -> Engine:
        from smartscope_models.engines.torch_reference import TorchEngine

        return TorchEngine(network, precision=precision, threads=threads, device=device)

    return opened


def _on_onnxruntime(network: Network, precision: Precision, threads: int) -> Engine:
    from smartscope_models.engines.onnx_runtime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(network, precision=precision, threads=threads)


def _on_openvino(network: Network, precision: Precision, threads: int) -> Engine:
    from smartscope_models.engines.open_vino import OpenVinoEngine

    return OpenVinoEngine(network, precision=precision, threads=threads)


ROUTES = (
    Route("tensorrt_rtx", "tensorrt", "tensorrt", ("fp16", "bf16", "fp32"), _on_tensorrt("tensorrt_rtx")),
    Route("tensorrt", "tensorrt", "tensorrt", ("fp16", "bf16", "fp32"), _on_tensorrt("tensorrt")),
    Route("torch_cuda", "torch", "torch", ("fp16", "bf16", "fp32"), _on_torch("cuda")),
    Route("onnxruntime", "onnxruntime", "onnxruntime", ("fp32", "fp16"), _on_onnxruntime),
    Route("openvino", "openvino", "openvino", ("fp32",), _on_openvino, lowers_to=("bf16", "fp16")),
    Route("torch", "torch", "torch", ("fp32", "fp16"), _on_torch("cpu")),
)
"""In the order of ``auto``. A GPU takes the fp16 body where there is one, a CPU fp32 unless asked."""

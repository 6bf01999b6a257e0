"""Whether every engine here answers rightly: on the package's test tensors, and on frames of a second size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from smartscope.errors import EngineError, SmartscopeError, UnsupportedModel
from smartscope_models.engines import probe
from smartscope_models.engines.engine import Engine, Precision
from smartscope_models.packages.manifest import RUNTIMES, Runtime
from smartscope_models.packages.package import Array, ModelPackage
from smartscope_models.packages.report import Check, Skip, checked
from smartscope_models.packages.trial import Arrays, inputs_of, run

TOLERANCE: dict[Precision, float] = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 3e-2}
"""Root mean square of the difference over the standard deviation of the right answer."""
FOREIGN_TOLERANCE = 1e-3
"""For test tensors of others, who may have made them on a GPU."""
ROUTES: dict[Runtime, tuple[str, ...]] = {"tensorrt": ("tensorrt_rtx", "tensorrt"), "torch": ("torch_cuda", "torch")}
"""By engine, the findings of the probe that stand for it, where they are not its name."""
Opener = Callable[..., Engine]


@dataclass(frozen=True, slots=True)
class Trial:
    """Inputs and the right answer."""

    inputs: Arrays
    outputs: Arrays
    source: str
    """Where the right answer comes from."""


class Answers:
    """Every engine that is here, on the test tensors and on frames of a second size."""

    def __init__(self, package: ModelPackage, opener: Opener) -> None:
        self._package, self._opener = package, opener
        self._unusable = {name: unusable(name) for name in RUNTIMES}

    def checks(self) -> Iterator[Check]:
        """One per engine, file and size."""
        for size, make in (("test tensors", self._packaged), ("second size", self._second_size)):
            try:
                trial = make()
            except Skip as reason:
                yield Check(f"answers, {size}", "skipped", str(reason))
            except SmartscopeError as error:
                yield Check(f"answers, {size}", "failed", error.line())
            else:
                for engine, precision in self._runs():
                    yield checked(f"{engine} {precision}, {size}", partial(self._compare, engine, precision, trial))

    def _runs(self) -> Iterator[tuple[Runtime, Precision]]:
        for engine in RUNTIMES:
            yield engine, "fp32"
            if "fp16" in self._package.networks and engine in ("onnxruntime", "tensorrt"):
                yield engine, "fp16"

    def _packaged(self) -> Trial:
        if (examples := self._package.examples()) is None:
            raise Skip("it has no test tensors")
        return Trial(examples.inputs, examples.outputs, "the test tensors")

    def _second_size(self) -> Trial:
        """One step taller and two wider than the test tensors, judged by the reference engine."""
        if why := self._unusable["torch"]:
            raise Skip(f"no reference engine: {why}")
        manifest = self._package.manifest
        height, width = self._size()
        try:
            size = manifest.fit(height + 1, width + manifest.size_multiple + 1)
        except UnsupportedModel as error:
            raise Skip(error.what) from error
        inputs = inputs_of(self._package, *size)
        outputs = self._run("torch", "fp32", inputs)
        return Trial(inputs, outputs, f"{size[0]} x {size[1]}, judged by torch")

    def _size(self) -> tuple[int, int]:
        if (examples := self._package.examples()) is None:
            return self._package.manifest.fit(1, 1)
        spec = next(spec for spec in self._package.manifest.inputs if "y" in spec.axes)
        shape = examples.inputs[spec.name].shape
        return shape[spec.axes.index("y")], shape[spec.axes.index("x")]

    def _compare(self, engine: Runtime, precision: Precision, trial: Trial) -> str:
        if engine not in self._package.manifest.engines:
            raise Skip("not meant for it")
        if why := self._unusable[engine]:
            raise Skip(why)
        outputs = self._run(engine, precision, trial.inputs)
        allowed = TOLERANCE[precision]
        if self._package.origin == "bioimage":
            allowed = max(allowed, FOREIGN_TOLERANCE)
        errors = {name: relative_error(outputs[name], right) for name, right in trial.outputs.items()}
        worst = max(errors, key=lambda name: errors[name])
        if not errors[worst] <= allowed:
            raise EngineError(
                f"{worst} differs from {trial.source} by {errors[worst]:.2g} of its standard deviation",
                where=engine,
                allowed=f"<= {allowed:g}",
            )
        return f"differs from {trial.source} by {errors[worst]:.1e}"

    def _run(self, engine: Runtime, precision: Precision, inputs: Arrays) -> Arrays:
        opened = self._opener(self._package.networks, engine=engine, precision=precision)
        try:
            opened.warm_up({name: array.shape for name, array in inputs.items()})
            return dict(run(opened, self._package, inputs))
        finally:
            opened.close()


def unusable(engine: Runtime) -> str:
    """Why an engine cannot be used on this machine; empty where it can."""
    names = ROUTES.get(engine, (engine,))
    found = [finding for finding in probe.findings() if finding.name in names]
    if any(finding.usable for finding in found):
        return ""
    return "; ".join(f"{finding.name}: {finding.why}" for finding in found)


def relative_error(got: Array, right: Array) -> float:
    """Root mean square of the difference over the standard deviation of ``right``; infinite where shapes differ."""
    if got.shape != right.shape or not np.isfinite(got).all():
        return float("inf")
    reference = right.astype(np.float64)
    scale = max(float(reference.std()), 1e-3 * float(np.sqrt(np.mean(reference**2))), 1e-12)
    return float(np.sqrt(np.mean((got - reference) ** 2))) / scale

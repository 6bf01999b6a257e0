"""What ``smartscope models`` does with packages; the command line finds this class as an entry point and prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from smartscope.doctor import machine
from smartscope.errors import EngineError, SmartscopeError
from smartscope_models.engines.choice import open_engine
from smartscope_models.engines.engine import Engine, EngineName, Precision
from smartscope_models.engines.tensorrt_cache import default_folder
from smartscope_models.packages.answers import Opener
from smartscope_models.packages.manifest import RUNTIMES
from smartscope_models.packages.opening import find_packages, open_package
from smartscope_models.packages.package import ModelPackage
from smartscope_models.packages.sources import Source
from smartscope_models.packages.trial import inputs_of, run, shapes
from smartscope_models.packages.verify import verify

Size = tuple[int, int]
Wanted = Literal["auto", "fp32", "fp16", "bf16"]
Progress = Callable[[int, int], None]
Row = dict[str, Any]


class PackageTools:
    """Lists, shows, verifies, builds and measures packages; figures as plain values for JSON."""

    def __init__(self, opener: Opener = open_engine) -> None:
        self._open_engine = opener

    def listing(self) -> list[Row]:
        """One row per package that has a name; one that cannot be opened says why."""
        return [self._row(folder) for folder in find_packages()]

    def show(self, name: str) -> Row:
        """Everything about one package; raises as ``open_package`` does."""
        package = open_package(name)
        source = Source(package.path if package.origin != "file" else package.path.parent)
        names: Iterable[str] = source.names() if package.origin != "file" else (package.path.name,)
        card = package.path / "CARD.md"
        return {
            "path": str(package.path),
            "kind": package.origin,
            "sha256": package.sha256,
            "card": str(card) if card.is_file() else None,
            "files": {file: source.size(file) for file in names},
            "manifest": package.manifest.model_dump(mode="json", by_alias=True),
        }

    def verify(self, names: Sequence[str], progress: Progress) -> list[Row]:
        """One report per package; all that have a name where none is given."""
        places = self._places(names)
        reports = []
        for done, place in enumerate(places):
            progress(done, len(places))
            reports.append(verify(place, self._open_engine).as_dict())
        return reports

    def build(
        self, names: Sequence[str], size: Size, engine: EngineName, precision: Wanted, progress: Progress
    ) -> list[Row]:
        """Compile for frames of this size now, so that the next start need not; which engine, how long, where kept."""
        places = self._places(names)
        rows = []
        for done, place in enumerate(places):
            progress(done, len(places))
            package = open_package(place)
            began = time.perf_counter()
            opened, fitted = self._warm(package, size, engine, precision)
            row = {**_engine_row(place, opened, fitted), "why": opened.why}
            opened.close()
            kept = str(default_folder()) if row["engine"] == "tensorrt" else None
            rows.append({**row, "took_s": round(time.perf_counter() - began, 3), "cache": kept})
        return rows

    def bench(
        self,
        names: Sequence[str],
        sizes: Sequence[Size],
        engine: EngineName,
        precision: Wanted,
        frames: int,
        progress: Progress,
    ) -> Row:
        """Wall and CPU time per frame of each package, engine and size; ``auto`` means every engine that is here."""
        engines: Sequence[EngineName] = RUNTIMES if engine == "auto" else (engine,)
        runs = [(place, size, name) for place in self._places(names) for size in sizes for name in engines]
        rows = []
        for done, (place, size, name) in enumerate(runs):
            progress(done, len(runs))
            rows.append(self._measured(place, size, name, precision, frames))
        return {"machine": machine(), "frames": frames, "threads": 1, "results": rows}

    def _places(self, names: Sequence[str]) -> Sequence[str | Path]:
        return list(names) or list(find_packages())

    def _row(self, folder: Path) -> Row:
        try:
            package = open_package(folder)
        except SmartscopeError as error:
            return {"name": folder.name, "problem": error.line()}
        manifest = package.manifest
        return {
            "name": folder.name,
            "task": manifest.task,
            "parameters": manifest.parameters,
            "licence": manifest.licence,
            "bytes": sum(len(network.onnx) for network in package.networks.values()),
            "description": manifest.description,
        }

    def _warm(self, package: ModelPackage, size: Size, engine: EngineName, precision: Wanted) -> tuple[Engine, Size]:
        fitted = package.manifest.fit(*size)
        wanted: Precision | None = None if precision == "auto" else precision
        opened = self._open_engine(package.networks, engine=engine, precision=wanted)
        try:
            opened.warm_up(shapes(package.manifest, *fitted))
        except BaseException:
            opened.close()
            raise
        return opened, fitted

    def _measured(self, place: str | Path, size: Size, engine: EngineName, precision: Wanted, frames: int) -> Row:
        package = open_package(place)
        try:
            opened, fitted = self._warm(package, size, engine, precision)
        except EngineError as error:
            return {"package": Path(place).name, "engine": engine, "size": list(size), "skipped": error.line()}
        try:
            return {**_engine_row(place, opened, fitted), **_times(opened, package, fitted, frames)}
        finally:
            opened.close()


def _engine_row(place: str | Path, engine: Engine, size: Size) -> Row:
    return {
        "package": Path(place).name,
        "engine": engine.name,
        "device": engine.device,
        "precision": engine.precision,
        "size": list(size),
    }


def _times(engine: Engine, package: ModelPackage, size: Size, frames: int) -> Row:
    """Calibration is held, as in the pipeline: only what changes from frame to frame travels."""
    inputs = dict(inputs_of(package, *size))
    if not package.host:
        for name in [spec.name for spec in package.manifest.inputs if spec.name in ("calibration", "nominal")]:
            engine.hold(name, inputs.pop(name))
    run(engine, package, inputs)
    wall_ms, cpu_ms = np.empty(frames), np.empty(frames)
    for k in range(frames):
        wall_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
        run(engine, package, inputs)
        wall_ms[k] = (time.perf_counter_ns() - wall_ns) / 1e6
        cpu_ms[k] = (time.process_time_ns() - cpu_ns) / 1e6
    return {
        f"{name}_{label}": round(float(np.percentile(values, percent)), 3)
        for name, values in (("wall_ms", wall_ms), ("cpu_ms", cpu_ms))
        for label, percent in (("median", 50), ("p99", 99))
    }

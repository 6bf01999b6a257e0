"""What this machine is: versions, adapters, disk, ports, clock and engines, with a remedy where something is amiss."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import time
from importlib.metadata import PackageNotFoundError, entry_points, version
from itertools import pairwise
from pathlib import Path
from typing import Any

from smartscope import plugins
from smartscope.config import BusConfig
from smartscope.errors import PluginError

PACKAGES = ("smartscope", "numpy", "scipy", "numba", "pydantic", "pyzmq", "pymmcore", "pymmcore-plus", "tensorstore")
OPTIONAL = ("mm-test-adapters", "imageio", "imagecodecs", "torch")


def examine() -> dict[str, Any]:
    """All findings, by topic; ``warnings`` lists what to mend."""
    warnings: list[str] = []
    return {
        "machine": _machine(),
        "packages": _packages(warnings),
        "plugins": _plugins(warnings),
        "device_interface": _device_interface(warnings),
        "disk": _disk(warnings),
        "ports": _ports(warnings),
        "clock": _clock(),
        **_diagnostics(warnings),
        "warnings": warnings,
    }


def show(findings: dict[str, Any]) -> str:
    """The findings as text."""
    lines = []
    for topic, found in findings.items():
        if isinstance(found, dict):
            lines.append(f"{topic}:")
            lines += [f"  {name}: {value}" for name, value in found.items()]
        elif isinstance(found, list):
            lines += [f"{topic}:", *(f"  {item}" for item in found or ["none"])]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Name, cores and interpreter of this machine; printed with every benchmark."""
    return _machine()


def _machine() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _packages(warnings: list[str]) -> dict[str, str]:
    found = {package: _version(package) for package in (*PACKAGES, *OPTIONAL)}
    for package in PACKAGES:
        if found[package] is None:
            warnings.append(f"{package} is not installed: pip install -e .")
    return {package: number or "not installed" for package, number in found.items()}


def _plugins(warnings: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for group in plugins.GROUPS:
        for name in plugins.names(group):
            try:
                plugins.find(group, name)
                found[f"{group}.{name}"] = "ok"
            except PluginError as error:
                found[f"{group}.{name}"] = error.what
                warnings.append(error.line())
    if not found:
        warnings.append("no plug-ins are registered: pip install -e . (entry points come with the installation)")
    return found


def _device_interface(warnings: list[str]) -> dict[str, str]:
    import pymmcore

    parts = pymmcore.__version__.split(".")
    number = parts[3] if len(parts) > 3 else "?"
    adapters = _version("mm-test-adapters")
    if adapters and not adapters.startswith(f"{number}."):
        warnings.append(
            f"mm-test-adapters {adapters} does not match device interface {number}: pip install smartscope[demo]"
        )
    return {
        "pymmcore": pymmcore.__version__,
        "device_interface": number,
        "mm-test-adapters": adapters or "not installed",
    }


def _disk(warnings: list[str]) -> dict[str, Any]:
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    if free_gb < 20:
        warnings.append(f"{free_gb:.0f} GB free here: an hour of 512 x 512 at 100 frames/s takes up to 190 GB")
    return {"folder": "here", "free_gb": round(free_gb, 1)}


def _ports(warnings: list[str]) -> dict[str, str]:
    bus, found = BusConfig(), {}
    for name in ("events_port", "data_port", "control_port"):
        port = getattr(bus, name)
        with socket.socket() as probe:
            try:
                probe.bind((bus.host, port))
                found[f"{name} {port}"] = "free"
            except OSError:
                found[f"{name} {port}"] = "in use"
                warnings.append(f"port {port} is in use: another smartscope, or set bus.{name}")
    return found


def _clock() -> dict[str, float]:
    ticks = [time.perf_counter_ns() for _ in range(1000)]
    steps = [b - a for a, b in pairwise(ticks) if b > a]
    began = time.perf_counter()
    time.sleep(0.001)
    return {"resolution_ns": float(min(steps)), "sleep_1_ms_takes_ms": round((time.perf_counter() - began) * 1e3, 3)}


def _diagnostics(warnings: list[str]) -> dict[str, dict[str, str]]:
    """What the packages beside the core say of this machine (engines for networks), each under a topic of its own."""
    found: dict[str, dict[str, str]] = {}
    for point in entry_points(group="smartscope.diagnostics"):
        try:
            found[point.name] = dict(point.load()())
        except Exception as error:
            found[point.name] = {"failed": f"{type(error).__name__}: {error}"}
            warnings.append(f"{point.name} could not be examined ({point.value}): {type(error).__name__}: {error}")
    return found

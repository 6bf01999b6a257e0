"""What turns ``noisy.tif`` into ``denoised.tif``: our models by the code of ``smartscope process``, others by runners.

The peers' outputs are kept in a folder under the hash of everything they depend on: BM3D takes eleven seconds a frame.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from smartscope.processing import process_file

from .evaluator import Evaluator

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
PEERS = {"identity": "numpy", "gaussian": "scipy", "nlm": "scikit-image", "bm3d": "bm3d"}
"""Runner → the package whose version its output depends on."""
WITH_CAMERA = ("nlm", "bm3d")
"""Runners that can be told the camera."""


class Candidate(Protocol):
    """One tool under test."""

    label: str
    """Its name in tables."""

    def denoise(self, noisy: Path, camera: Path | None, output: Path) -> dict[str, Any]:
        """Write ``output``; returns ``cpu_ms_per_frame`` and the like."""


class Ours:
    """A model of this project with its options."""

    def __init__(self, label: str, model: str, options: dict[str, str]) -> None:
        self.label, self.model, self.options = label, model, options

    @classmethod
    def parse(cls, text: str) -> Ours:
        """``[LABEL@]MODEL[:KEY=VALUE,KEY=VALUE…]``."""
        label, at, rest = text.rpartition("@")
        model, _, pairs = rest.partition(":")
        options = dict(pair.split("=", 1) for pair in pairs.split(",") if pair)
        return cls(label if at else text, model, options)

    def denoise(self, noisy: Path, camera: Path | None, output: Path) -> dict[str, Any]:
        """As ``smartscope process denoise NOISY OUTPUT --camera CAMERA --option …``."""
        report = output.with_suffix(".report.json")
        chosen = [f"model={self.model}", *(f"{key}={value}" for key, value in self.options.items())]
        process_file("denoise", noisy, output, camera, None, chosen, report)
        figures: dict[str, Any] = json.loads(report.read_text())
        return {key: figures[key] for key in ("median_ms", "p99_ms", "cpu_ms_per_frame")}


class Peer:
    """Another tool, in a process of its own, one thread; its outputs are kept in ``cache``."""

    def __init__(self, name: str, evaluator: Evaluator, cache: Path) -> None:
        self.label, self._cache, self._runner = name, cache, evaluator.peer(name)
        self._version = version(PEERS[name])

    @classmethod
    def installed(cls, names: list[str], evaluator: Evaluator, cache: Path) -> tuple[list[Peer], dict[str, str]]:
        """Those that can run here, and why the others cannot."""
        peers, absent = [], {}
        for name in names:
            try:
                peers.append(cls(name, evaluator, cache))
            except PackageNotFoundError:
                absent[name] = f"{PEERS[name]} is not installed"
        return peers, absent

    def denoise(self, noisy: Path, camera: Path | None, output: Path) -> dict[str, Any]:
        """Run it, or take what it wrote for the same bytes before."""
        camera = camera if self.label in WITH_CAMERA else None
        kept = self._cache / f"{self.label}-{self._key(noisy, camera)}.tif"
        if not kept.exists():
            self._run(noisy, camera, kept)
        shutil.copyfile(kept, output)
        timing: dict[str, Any] = json.loads(kept.with_suffix(".json").read_text())
        return {"median_ms": timing["median_ms_per_frame"], "cpu_ms_per_frame": timing["process_cpu_ms_per_frame"]}

    def _run(self, noisy: Path, camera: Path | None, kept: Path) -> None:
        self._cache.mkdir(parents=True, exist_ok=True)
        part, timing = kept.with_suffix(f".{os.getpid()}.tif"), kept.with_suffix(".json")
        told = ["--camera", str(camera)] if camera else []
        command = [sys.executable, str(self._runner), str(noisy), "--out", str(part), "--timing", str(timing), *told]
        done = subprocess.run(
            command, env={**os.environ, **dict.fromkeys(THREADS, "1")}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{self.label} failed on {noisy}: {done.stderr.strip().splitlines()[-1:]}")
        part.replace(kept)

    def _key(self, noisy: Path, camera: Path | None) -> str:
        parts = [noisy.read_bytes(), self._runner.read_bytes(), (self._runner.parent / "common.py").read_bytes()]
        told = json.loads(camera.read_text()) if camera else {}
        known = ("electrons_per_adu", "em_gain", "read_noise_e", "offset_adu")
        parts += [self._version.encode(), json.dumps([told.get(key) for key in known]).encode()]
        return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:24]

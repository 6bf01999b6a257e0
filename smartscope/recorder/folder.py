"""The run folder: what its files are called, how it is made, and how ``run.json`` is kept whole."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import smartscope
from smartscope.errors import InputError, RecorderError
from smartscope.recorder.jsonl import to_line

RUN = "run.json"
FRAMES = "frames.jsonl"
DECISIONS = "decisions.jsonl"
EVENTS = "events.jsonl"
RESULTS = "results/results.jsonl"
PROCESSED = "results/processed.jsonl"
SUPER_RESOLVED = "results/super_resolved.jsonl"
TRACKS = "results/tracks.csv"
SETTLED_TRACKS = "results/settled_tracks.csv"
SPECIMEN_EVENTS = "results/events.csv"
LOCALIZATIONS = "results/localizations.npy"
LOCALIZATIONS_CSV = "results/localizations.csv"

_PACKAGES = (
    *("numpy", "scipy", "numba", "tensorstore", "pymmcore", "pymmcore-plus"),
    *("useq-schema", "pyzmq", "onnxruntime", "torch"),
)
_REPLACE_TRIES = 6
_REPLACE_PAUSE_S = 0.05


class RunFolder:
    """One run's folder on disk, with the facts that ``run.json`` holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts: dict[str, Any] = {}
        self._lock = threading.Lock()

    @classmethod
    def create(cls, base: Path, name: str, at: datetime, *, min_free_gb: float = 1.0) -> Self:
        """Make ``base/NAME-YYYYmmdd-HHMMSS`` (with ``-2``, ``-3`` … where that is taken) with a first ``run.json``.

        Raises:
            InputError: the folder exists already, or ``base`` cannot be written.
            RecorderError: the disk has less than ``min_free_gb`` left.
        """
        stem = f"{name}-{at:%Y%m%d-%H%M%S}"
        names = itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
        path = next(path for path in map(base.joinpath, names) if not path.exists())
        return cls.create_at(path, name, at, min_free_gb=min_free_gb)

    @classmethod
    def create_at(cls, path: Path, name: str, at: datetime, *, min_free_gb: float = 1.0) -> Self:
        """Make the folder ``path`` with a first ``run.json``; raises as ``create`` does."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            check_space(path.parent, min_free_gb)
            path.mkdir()
            (path / "results").mkdir()
        except FileExistsError as error:
            raise InputError(
                "there is something of that name already", where=str(error.filename), remedy="name another output"
            ) from error
        except OSError as error:
            raise InputError(
                f"cannot make the run folder: {error.strerror}",
                where=str(path),
                remedy="choose an output folder that you may write to (--output DIR)",
            ) from error
        folder = cls(path)
        folder.update(name=name, state="running", error=None, started_at=iso(at), ended_at=None, **provenance())
        return folder

    def update(self, **facts: Any) -> None:
        """Set top-level keys of ``run.json`` and rewrite it; raises OSError when the disk does not take it."""
        with self._lock:
            self._facts.update(facts)
            write_atomically(self.path / RUN, _pretty(self._facts))


def provenance() -> dict[str, Any]:
    """Versions and machine, for ``run.json``."""
    versions = {"smartscope": smartscope.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    machine = {
        "system": platform.platform(),
        "architecture": platform.machine(),
        "processor": platform.processor(),
        "cores": os.cpu_count(),
        "byte_order": sys.byteorder,
    }
    return {"versions": versions, "machine": machine}


def check_space(path: Path, min_free_gb: float) -> None:
    """Raise RecorderError when the disk of ``path`` has less than ``min_free_gb`` (1e9 bytes) left."""
    free_gb = shutil.disk_usage(path).free / 1e9
    if free_gb < min_free_gb:
        raise RecorderError(
            f"only {free_gb:.2f} GB left on the disk",
            where=str(path),
            allowed=f">= {min_free_gb:g} GB (recorder.min_free_gb)",
            remedy="make room, or record to another disk",
        )


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file so that readers and crashes see the old text or the new, never a part of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    for last in [*[False] * (_REPLACE_TRIES - 1), True]:
        try:
            part.replace(path)
            return
        except PermissionError:  # Windows: a virus scanner or indexer has the file open for a moment
            if last:
                raise
            time.sleep(_REPLACE_PAUSE_S)


def iso(at: datetime) -> str:
    """Local wall time with its offset from UTC, to the microsecond."""
    return at.astimezone().isoformat(timespec="microseconds")


def _pretty(facts: Mapping[str, Any]) -> str:
    return json.dumps(json.loads(to_line(facts)), indent=1) + "\n"

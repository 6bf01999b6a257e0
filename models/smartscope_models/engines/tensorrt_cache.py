"""What TensorRT built is kept on disk: a file is used only if every byte is what this key's writer wrote.

A file is one line of JSON (the key in clear, length and SHA-256 of the rest) and the rest. Anything else about it is a
doubt, and a doubt means: build again. A cache that cannot be written is no reason not to run.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from smartscope_models.engines.engine import Shape

log = logging.getLogger(__name__)

FORMAT = 1
"""Of the files; a new number makes all older files strangers."""
LIMIT_BYTES = 1 << 30
"""Of one folder: a thousand engines of the networks shipped here, some 30 of the largest networks in use."""
ABANDONED_S = 3600.0
"""An unfinished file of this age belongs to a process that died."""
Kind = Literal["engine", "rtcache"]


@dataclass(frozen=True)
class CacheKey:
    """Everything that an engine depends on; two keys that differ in anything never share a file."""

    network: str
    """SHA-256 of the ONNX bytes that TensorRT was given."""
    flavour: str
    version: str
    capability: str
    shapes: tuple[tuple[str, Shape], ...]
    """Of every input, by name, as TensorRT sees them."""
    targets: tuple[str, ...] = ()
    """Compute capabilities asked for (RTX); none is TensorRT's own choice."""
    gpu: str = ""
    """Full TensorRT only: its engines are tuned for one GPU."""
    driver: int = 0
    """Likewise."""

    @cached_property
    def text(self) -> str:
        """The key as JSON, always in the same order."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """Name of the files."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class EngineCache:
    """One folder, shared by any number of processes: files appear whole and are never changed."""

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder, self._limit_bytes = folder, limit_bytes

    def path(self, key: CacheKey, kind: Kind) -> Path:
        """Where it would be."""
        return self.folder / f"{key.digest}.{kind}"

    def read(self, key: CacheKey, kind: Kind) -> bytes | None:
        """What was written under ``key``; None if nothing was, or if there is any doubt about it."""
        path = self.path(key, kind)
        try:
            head, _, data = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s cannot be read and is made anew: %s", path, error)
            return None
        if head != _head(key, data):
            log.warning("%s is damaged or of another version and is made anew", path)
            return None
        with suppress(OSError):
            os.utime(path)  # used now: pruned last
        return data

    def write(self, key: CacheKey, kind: Kind, data: bytes) -> None:
        """Keep ``data``, whole or not at all; a disk that does not take it is logged, no more."""
        path = self.path(key, kind)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_whole(path, _head(key, data) + b"\n" + data)
            self._prune(path)
        except OSError as error:
            log.warning("%s cannot be kept, it will be made anew next time: %s", path, error)

    def discard(self, key: CacheKey, kind: Kind) -> None:
        """Forget what was written, if anything was."""
        with suppress(OSError):
            self.path(key, kind).unlink()

    def _prune(self, newest: Path) -> None:
        """Delete the files unused for longest until the folder keeps its limit, and what dead processes left."""
        now, files = time.time(), []
        for path in self.folder.iterdir():
            with suppress(OSError):  # another process prunes too
                state = path.stat()
                if path.suffix == ".part" and now - state.st_mtime > ABANDONED_S:
                    path.unlink()
                elif path.suffix in (".engine", ".rtcache"):
                    files.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._limit_bytes:
                return
            if path != newest:
                with suppress(OSError):
                    path.unlink()
                    total -= size


def _head(key: CacheKey, data: bytes) -> bytes:
    """The only first line that ``data`` may have under ``key``."""
    of = {"nbytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return f'{{"key":{key.text},"data":{json.dumps(of)}}}'.encode()


def _write_whole(path: Path, content: bytes) -> None:
    """Under a name of its own first: readers see all of it or nothing, even if two processes write at once."""
    handle, part = tempfile.mkstemp(suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(part).unlink()
        raise


def default_folder() -> Path:
    """Where this user's caches belong: ``SMARTSCOPE_CACHE``, else the platform's folder for them."""
    if own := os.environ.get("SMARTSCOPE_CACHE"):
        return Path(own) / "tensorrt"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "smartscope" / "tensorrt"

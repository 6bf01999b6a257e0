"""The tuning process: started aside, with few threads and the lowest priority, killed when it is late."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartscope.errors import InputError
from smartscope_models.packages import open_package
from smartscope_models.tuning.job import VERSION
from smartscope_models.tuning.outcome import RECORD, Outcome, read_record, record
from smartscope_models.tuning.request import REQUEST, Request
from smartscope_models.tuning.versions import put_in_place

GRACE_S = 20.0
"""Beyond the time it was given, for the start of Python and the writing."""
LOG = "log.txt"
COMMAND = (sys.executable, "-m", "smartscope_models.tuning")


@dataclass(frozen=True, slots=True)
class Version:
    """One tuning that is over."""

    path: Path
    """Its folder: a package where it was kept, else the record alone."""
    record: dict[str, Any]

    @property
    def kept(self) -> bool:
        """Whether ``path`` is a package to use."""
        return bool(self.record["kept"])


def tune_aside(
    request: Request, output: Path, *, grace_s: float = GRACE_S, command: Sequence[str] = COMMAND
) -> Version:
    """Tune in a process of its own and wait for it; whatever becomes of it, there is a version with a record.

    Raises:
        InputError: the package is not there, or the folder cannot be written.
        UnsupportedModel: the package cannot be read.
    """
    package = open_package(request.package)
    try:
        output.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".tuning.", dir=output))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(output), remedy="name another") from error
    try:
        (draft / REQUEST).write_text(request.model_dump_json(), encoding="utf-8")
        end = _run(request, draft, grace_s, command)
        if end or not (draft / VERSION / RECORD).is_file():
            shutil.rmtree(draft / VERSION, ignore_errors=True)
            (draft / VERSION).mkdir()
            facts = {"request": request.model_dump(mode="json"), "base_sha256": package.sha256}
            text = record(Outcome((end or "the process left no record",)), **facts)
            (draft / VERSION / RECORD).write_text(text, encoding="utf-8")
        path = put_in_place(draft / VERSION, output, package.manifest.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Version(path, read_record(path))


def _run(request: Request, draft: Path, grace_s: float, command: Sequence[str]) -> str:
    """How the process ended where it did not end well; else empty."""
    patience_s = request.seconds + grace_s
    threads = {name: str(request.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with (draft / LOG).open("wb") as log:
        process = subprocess.Popen(
            [*command, str(draft), str(patience_s)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **threads},
            creationflags=getattr(subprocess, "IDLE_PRIORITY_CLASS", 0),
        )
        try:
            code = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return f"killed: not done {patience_s:.0f} s after its start"
        finally:
            process.kill()
            process.wait()
    if code == 0:
        return ""
    lines = (draft / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"the process died (exit code {code}): {lines[-1] if lines else 'it said nothing'}"

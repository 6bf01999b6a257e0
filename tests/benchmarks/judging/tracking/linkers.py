"""Who links the detections of a CSV: ``process track``, and other tools through the evaluators' own runners."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
TUNED: dict[str, dict[str, Any]] = {"trackpy": {"memory": 3}, "laptrack": {"split": 1}, "btrack": {"optimise": 1}}
"""Beside the gate; not the outcome of a search."""


@dataclass(frozen=True, slots=True)
class Linking:
    """One tool at one setting."""

    label: str
    command: tuple[str, ...]
    """Before the input file."""
    timing: str
    """Option for the file of times."""
    named_output: bool

    def run(self, source: Path, output: Path) -> dict[str, Any]:
        """Link; the tool's own times, or why there are none."""
        times = output.with_suffix(".json")
        target = ["--out", str(output)] if self.named_output else [str(output)]
        call = [*self.command, str(source), *target, self.timing, str(times)]
        done = subprocess.run(call, capture_output=True, text=True, env={**os.environ, **ONE_THREAD}, check=False)
        if done.returncode or not output.exists():
            return {"failed": (done.stderr.strip().splitlines() or ["no output"])[-1]}
        found: dict[str, Any] = json.loads(times.read_text())
        return found


def ours(output: str) -> Linking:
    """``process track --output now | settled``, nothing else given."""
    command = (sys.executable, "-m", "smartscope", "process", "track", "--output", output)
    return Linking(f"smartscope {output}", command, "--report", named_output=False)


def peers(pythons: Mapping[str, str], runners: Path, gate_px: float, more: Mapping[str, Any]) -> list[Linking]:
    """Each peer as its runner comes, and with the right gate and settings; ``more``: those of btrack for these data.

    pythons: interpreter by peer, and of the others under "".
    """
    found = []
    for name, settings in TUNED.items():
        for label, given in (("default", {}), ("tuned", settings)):
            if label == "tuned":
                given = {"gate-px": gate_px, **given, **(more if name == "btrack" else {})}
            options = [text for key, value in given.items() for text in (f"--{key}", str(value))]
            command = (pythons.get(name, pythons[""]), str(runners / f"{name}_link.py"), *options)
            found.append(Linking(f"{name} {label}", command, "--timing", named_output=True))
    return found

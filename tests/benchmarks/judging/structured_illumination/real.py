"""The published pair of dimly and brightly lit stacks, where its judge and the data are there."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from .bench import Bench

JUDGE = "judging.dlsim"


def dlsim(bench: Bench) -> dict[str, Any]:
    """What that judge measures, or why nothing was."""
    if importlib.util.find_spec(JUDGE) is None:
        return {"skipped": "judging/dlsim.py is not there"}
    if bench.data is None or not Path(bench.data).is_dir():
        return {"skipped": f"no data at {bench.data}; give --data DIR or set SMARTSCOPE_DATA"}
    found: dict[str, Any] = importlib.import_module(JUDGE).measure(Path(bench.data))
    return found

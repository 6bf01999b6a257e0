"""The published pair of dimly and brightly lit stacks, where they are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from judging.dlsim import REFERENCE, measure

from .bench import Bench


def dlsim(bench: Bench) -> dict[str, Any]:
    """What their judge measures, or why nothing was."""
    if bench.data is None or not (Path(bench.data) / REFERENCE).is_file():
        return {"skipped": f"no data at {bench.data}; give --data DIR or set SMARTSCOPE_DATA"}
    return dict(measure(Path(bench.data)))

"""Fault → light off, seen in the light's own state outside the processes; prints JSON.

``python tests/benchmarks/bench_light_off.py [--repeats N]``. For each fault and owner of the light: median, maximum and
every value in ms. Lights of the supervisor shall go off within 100 ms of any fault of the controller; for lights that
stay with the controller, and for a killed supervisor, the figures are published as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

SYSTEM_TESTS = Path(__file__).parents[1] / "system"
sys.path.insert(0, str(SYSTEM_TESTS))

from file_lights import OutsideState  # noqa: E402
from light_off_trial import FAULTS, Trial, run_trial  # noqa: E402

TARGET_MS = 100.0


def trials(fault: str, owner: str, repeats: int) -> list[Trial]:
    """The same fault several times, each with processes of its own."""
    done = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            state = OutsideState(Path(folder))
            options = {"driver": "file_lights:FileLights", "token": folder}
            done.append(run_trial(fault, owner, Path(folder), lambda state=state: state.get(0), **options))
            state.close()
    return done


def summary(fault: str, owner: str, repeats: int) -> dict[str, Any]:
    """Figures of one fault."""
    done = trials(fault, owner, repeats)
    off_ms = sorted(trial.off_ms for trial in done)
    first = {key: value for key, value in asdict(done[0]).items() if key in ("lapse_off_ms", "take_over_ms")}
    return {
        "fault": fault,
        "owner": owner,
        "median_ms": round(statistics.median(off_ms), 1),
        "max_ms": round(off_ms[-1], 1),
        "within_target": off_ms[-1] <= TARGET_MS,
        "rehearsal": first,
        "all_ms": [round(value, 1) for value in off_ms],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    machine = {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "load": load,
    }
    figures = [summary(fault, owner, repeats) for owner in ("supervisor", "controller") for fault in FAULTS]
    print(json.dumps({"target_ms": TARGET_MS, "repeats": repeats, "machine": machine, "faults": figures}, indent=1))


if __name__ == "__main__":
    main()

"""The same specimen followed twice in the simulated microscope: with the forecast, and with the last place instead."""

from __future__ import annotations

import itertools
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from judging.bench import say
from smartscope.app import run_experiment
from smartscope.loading import load
from smartscope.policies.target_lock import Aim, TargetLockPolicy
from smartscope.policies.targets import Target
from smartscope.policies.view import View
from smartscope.report.following import followed
from smartscope.report.record import read

CONFIG = Path(__file__).parents[4] / "configs" / "target_lock.yaml"
ARMS = {
    "forecast": "smartscope.policies.target_lock:TargetLockPolicy",
    "hold_last": "judging.target_lock.closed_loop:Holding",
}


class Holding(TargetLockPolicy):
    """Target lock that aims at where the object was last seen."""

    def _aim(self, view: View, target: Target) -> Aim:
        aim = super()._aim(view, target)
        return replace(aim, forecast=target.motion.forecast(target.motion.t_ns))


def compared(seed: int, seconds: float = 20.0) -> dict[str, Any]:
    """Arm -> how far the target was from the centre of its frames, and how much of the time it was in sight."""
    found: dict[str, Any] = {"seed": seed, "seconds": seconds}
    for name, policy in ARMS.items():
        found[name] = _run(seed, seconds, policy)
        say(f"closed loop, seed {seed}, {name}: {found[name]}")
    return found


def _run(seed: int, seconds: float, policy: str) -> dict[str, Any]:
    (entry,) = load(CONFIG).model_dump(mode="json")["policies"]
    with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as folder:
        changes = [
            f"seed={seed}",
            f"duration_s={seconds}",
            "clock=virtual",
            "bus.enabled=false",
            f"output={folder}",
            "recorder.frames=false",
            f"policies={json.dumps([{**entry, 'policy': policy}])}",
        ]
        config = load(CONFIG, changes)
        outcome = run_experiment(config)
        (run,) = (path.parent for path in Path(folder).rglob("run.json"))
        rows = followed(read(run))
    pixel_um = config.microscope.camera.pixel_size_nm / 1e3
    off_px = np.array([row.off_um for row in rows if row.off_um is not None]) / pixel_um
    targets = [row.track_id for row in rows]
    return {
        "state": outcome.state,
        "rms_off_centre_px": float(np.sqrt((off_px**2).mean())) if len(off_px) else None,
        "p95_off_centre_px": float(np.percentile(off_px, 95)) if len(off_px) else None,
        "in_sight_share": len(off_px) / max(1, len(rows)),
        "frames": len(rows),
        "targets": 1 + sum(a != b for a, b in itertools.pairwise(targets)),
    }

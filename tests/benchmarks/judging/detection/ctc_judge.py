"""SEG and DET by py-ctcmetrics, the challenge's measures by other hands, in a Python of its own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from .masks_score import Labels

PROGRAM = """
import json, sys
from ctc_metrics import evaluate_sequence
found = evaluate_sequence(res=sys.argv[1], gt=sys.argv[2], metrics=["Valid", "SEG", "DET"])
print(json.dumps({name: float(found[name]) for name in ("Valid", "SEG", "DET")}))
"""


def independent(python: str, truth: Path, frames: Sequence[Labels]) -> dict[str, float]:
    """Masks (H, W) of all frames against ``truth`` (…_GT). Nothing is followed: every mask has a name of its own."""
    with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as folder:
        named, lines = 0, []
        for index, labels in enumerate(frames):
            names, numbers = np.unique(labels, return_inverse=True)
            own = np.where(names > 0, named + np.cumsum(names > 0), 0)
            lines += [f"{name} {index} {index} 0\n" for name in own[names > 0]]
            named = int(own.max(initial=named))
            image = own[numbers].reshape(labels.shape).astype(np.uint16)
            tifffile.imwrite(Path(folder) / f"mask{index:03d}.tif", image, compression="zlib")
        (Path(folder) / "res_track.txt").write_text("".join(lines))
        call = [python, "-c", PROGRAM, folder, str(truth)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"py-ctcmetrics: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return {f"ctcmetrics_{name.lower()}": value for name, value in found.items()}

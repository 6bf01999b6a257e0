"""Raw stacks simulated by the frozen evaluator in folders that do not last, and what it says of images made of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from judging.evaluator import Evaluator
from judging.figures import Row

Singles = npt.NDArray[np.float32]
PROGRAM = "structured_illumination"
DRAWS = (0, 1)


@dataclass(frozen=True, slots=True)
class Scene:
    """What is simulated; ``seed`` names specimen, fringes and noise; ``electrons`` at the peak, over all raw frames."""

    size: int
    electrons: float
    seed: int
    sample: str = "filaments"

    def row(self) -> Row:
        """What tells it from others, for tables."""
        return {"size": self.size, "electrons": self.electrons, "seed": self.seed}


class Stack:
    """Two noise draws of one scene on disk."""

    def __init__(self, evaluator: Evaluator, folder: Path, scene: Scene) -> None:
        self._evaluator, self.folder, self.scene = evaluator, folder, scene
        chosen = ["--size", scene.size, "--peak-electrons", scene.electrons, "--seed", scene.seed]
        evaluator.run(PROGRAM, "simulate", *chosen, "--sample", scene.sample, "--out", folder)
        self.camera, self.optics = folder / "camera.json", folder / "optics.json"
        self.lens: dict[str, Any] = json.loads(self.optics.read_text())

    def raw(self, draw: int) -> Path:
        """TIFF of counts, (9, N, N)."""
        return self.folder / f"raw_{draw}.tif"

    def electrons(self, draw: int) -> Singles:
        """(9, N, N)"""
        camera = json.loads(self.camera.read_text())
        counts = tifffile.imread(self.raw(draw)).astype(np.float32)
        return np.asarray((counts - camera["offset_adu"]) * camera["electrons_per_adu"], np.float32)

    def score(self, made: Path) -> dict[str, Any]:
        """Of ``recon_0.tif`` and ``recon_1.tif`` in a folder, with ``report.json`` where there is one."""
        images, report = [made / f"recon_{draw}.tif" for draw in DRAWS], made / "report.json"
        told = ["--report", report] if report.exists() else []
        return self._evaluator.run(PROGRAM, "score", self.folder, *images, *told)


@contextmanager
def simulated(evaluator: Evaluator, scene: Scene) -> Iterator[Stack]:
    """A stack, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as folder:
        yield Stack(evaluator, Path(folder) / "stack", scene)


@contextmanager
def made_folder() -> Iterator[Path]:
    """Where one candidate writes, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as folder:
        yield Path(folder)


def write_image(folder: Path, draw: int, image: npt.NDArray[Any]) -> None:
    """(2N, 2N) as the evaluator reads it."""
    tifffile.imwrite(folder / f"recon_{draw}.tif", image.astype(np.float32), photometric="minisblack")

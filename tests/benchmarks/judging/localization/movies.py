"""Movies simulated by the frozen evaluator in folders that do not last, and what it says of lists made of them."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from judging.evaluator import Evaluator
from judging.figures import Row

Doubles = npt.NDArray[np.float64]
PROGRAM = "localization"
PER_FRAME = 64
"""Isolated emitters that the evaluator puts into a frame of 128 x 128 pixels."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is simulated; ``seed`` names molecules and noise. Names and units are those of the evaluator."""

    seed: int
    density: float | None = None
    """Per square micrometre and frame; None: isolated emitters on a grid."""
    frames: int = 60
    size: int = 128
    photons: float = 1000.0
    photon_spread: float | None = None
    """Of the logarithm, from molecule to molecule; None: 0.3, isolated 0."""
    background: float = 10.0
    psf: str = "gaussian"
    sigma_error: float = 0.0
    gradient: float = 0.0
    blinking: str = "independent"
    maps: bool = False
    quantum_efficiency: float = 1.0

    def row(self) -> Row:
        """What tells it from others, for tables."""
        usual = Scene(0)
        varied = ("photons", "photon_spread", "background", "psf", "sigma_error", "gradient", "blinking")
        told = {name: getattr(self, name) for name in varied if getattr(self, name) != getattr(usual, name)}
        return {"density": self.density, "seed": self.seed, **told}

    def arguments(self) -> list[object]:
        """Of ``localization.py simulate``."""
        given: list[object] = ["--seed", self.seed, "--frames", self.frames, "--size", self.size, "--psf", self.psf]
        given += ["--isolated"] if self.density is None else ["--density", self.density]
        given += ["--photons", self.photons, "--background", self.background, "--sigma-error", self.sigma_error]
        given += ["--background-gradient", self.gradient, "--blinking", self.blinking]
        given += ["--quantum-efficiency", self.quantum_efficiency]
        given += [] if self.photon_spread is None else ["--photon-spread", self.photon_spread]
        return [*given, "--pixel-maps"] if self.maps else given


def isolated_frames(emitters: int) -> int:
    """Frames that hold so many isolated emitters."""
    return math.ceil(emitters / PER_FRAME)


class Movie:
    """One scene on disk."""

    def __init__(self, evaluator: Evaluator, folder: Path, scene: Scene) -> None:
        self._evaluator, self.folder, self.scene = evaluator, folder, scene
        evaluator.run(PROGRAM, "simulate", *scene.arguments(), "--out", folder)
        self.tiff, self.camera_file, self.truth_file = (folder / n for n in ("movie.tif", "camera.json", "truth.csv"))
        self.camera: dict[str, Any] = json.loads(self.camera_file.read_text())

    @property
    def pixel_nm(self) -> float:
        """Edge of a pixel."""
        return float(self.camera["pixel_size_nm"])

    def counts(self) -> npt.NDArray[np.uint16]:
        """(T, H, W)"""
        return np.asarray(tifffile.imread(self.tiff))

    def map(self, name: str) -> Doubles:
        """(H, W) or a scalar, of offset_adu, electrons_per_adu or read_variance_e2."""
        if "maps" in self.camera:
            return np.asarray(np.load(self.folder / self.camera["maps"][name]), np.float64)
        return np.asarray(self.camera["read_noise_e"] ** 2 if name == "read_variance_e2" else self.camera[name])

    def photons(self) -> Doubles:
        """(T, H, W), before quantum efficiency."""
        electrons = (self.counts() - self.map("offset_adu")) * self.map("electrons_per_adu")
        return np.asarray(electrons / self.camera["em_gain"] / self.camera["quantum_efficiency"])

    def truth(self) -> dict[str, Doubles]:
        """Columns of ``truth.csv``."""
        return read_columns(self.truth_file)

    def score(self, found: Path, *options: object) -> Row:
        """As ``localization.py score`` prints it."""
        return self._evaluator.run(PROGRAM, "score", self.truth_file, found, "--camera", self.camera_file, *options)


@contextmanager
def simulated(evaluator: Evaluator, scene: Scene) -> Iterator[Movie]:
    """A movie, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as folder:
        yield Movie(evaluator, Path(folder) / "movie", scene)


def read_columns(path: Path) -> dict[str, Doubles]:
    """Numeric CSV with a header; names may be in quotes."""
    with path.open(encoding="utf-8-sig") as file:
        head, *lines = file.read().splitlines()
    names = [name.strip().strip('"') for name in head.split(",")]
    table = np.array([line.split(",") for line in lines], float).reshape(-1, len(names))
    return dict(zip(names, table.T, strict=True))


def write_list(path: Path, frame: Sequence[int] | Doubles, columns: dict[str, Doubles]) -> None:
    """ThunderSTORM names, frames as given; lengths in nm from the outer corner of the top-left pixel."""
    table = np.column_stack([np.asarray(frame, float), *columns.values()])
    form = ["%d", *["%.4f"] * len(columns)]
    np.savetxt(path, table, form, delimiter=",", header=",".join(["frame", *columns]), comments="")

"""Simulated movies with their truth, made by the frozen evaluator in a folder that does not outlive the benchmark."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from .candidates import Candidate
from .evaluator import Evaluator
from .figures import Row

SCENES = ("filaments", "puncta", "cells", "mixed")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scene:
    """What is simulated; ``seed`` names the scene, the noise and the pixel maps."""

    scene: str
    electrons: float
    seed: int
    frames: int = 1
    size: int = 512
    camera: str = "scmos"
    maps: bool = False
    motion_px: float = 0.0
    background: float | None = None

    def row(self) -> Row:
        """What tells it from others, for tables."""
        row: Row = {"scene": self.scene, "electrons": self.electrons, "seed": self.seed, "camera": self.camera}
        return row | ({"maps": True} if self.maps else {}) | ({"motion_px": self.motion_px} if self.motion_px else {})

    def arguments(self) -> list[object]:
        """For the evaluator's ``simulate``."""
        chosen: list[object] = ["--scene", self.scene, "--electrons", self.electrons, "--seed", self.seed]
        chosen += ["--frames", self.frames, "--size", self.size, "--camera", self.camera, "--motion-px", self.motion_px]
        chosen += ["--maps"] if self.maps else []
        return chosen + ([] if self.background is None else ["--background", self.background])


class Case:
    """One simulated movie on disk."""

    def __init__(self, evaluator: Evaluator, folder: Path, scene: Scene) -> None:
        self.evaluator, self.folder, self.scene = evaluator, folder, scene
        evaluator.run("denoising", "simulate", *scene.arguments(), "--out", folder)
        self.noisy, self.clean, self.camera = (folder / name for name in ("noisy.tif", "clean.tif", "camera.json"))

    def denoise(self, candidate: Candidate, noisy: Path | None = None) -> tuple[Path, dict[str, Any]]:
        """The candidate's output for this case, or for other counts of the same camera; and how long it took."""
        output = self.folder / "denoised.tif"
        took = candidate.denoise(noisy or self.noisy, self.camera, output)
        return output, took

    def score(self, denoised: Path, *more: object) -> dict[str, Any]:
        """The evaluator's verdict on a file."""
        return self.evaluator.run("denoising", "score", self.clean, denoised, "--noisy", self.noisy, *more)

    def without_pattern(self) -> Path:
        """The noisy counts with every pixel's own offset and gain taken out, for tools that cannot read maps."""
        camera, output = json.loads(self.camera.read_text()), self.folder / "without_pattern.tif"
        offset, gain = (np.load(self.folder / f"{name}.npy") for name in ("offset_adu", "electrons_per_adu"))
        flat = (stack(self.noisy) - offset) * gain / camera["electrons_per_adu"] + camera["offset_adu"]
        write(output, flat)
        return output


def stack(path: Path) -> Floats:
    """TIFF as (T, H, W)."""
    images = np.asarray(tifffile.imread(path), float)
    return images[None] if images.ndim == 2 else images


def write(path: Path, images: Floats) -> None:
    """(T, H, W) as float32 TIFF."""
    tifffile.imwrite(path, images.astype(np.float32), photometric="minisblack")

"""What turns raw stacks into images: ours by the code of ``smartscope process reconstruct``, others as they come."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scipy.ndimage import zoom

from judging.candidates import THREADS
from judging.evaluator import Evaluator
from smartscope.processing import process_file

from .stacks import DRAWS, Stack, write_image

OURS, REFERENCE, ORACLE, WIDEFIELD = "ours", "reference", "oracle", "widefield"
NETWORK = "ours, network"


class Candidate(Protocol):
    """One tool under test."""

    label: str
    """Its name in tables."""

    def reconstruct(self, stack: Stack, out: Path) -> None:
        """Write ``recon_0.tif``, ``recon_1.tif`` and, if it can, ``report.json``."""


@dataclass(frozen=True, slots=True)
class Ours:
    """This project; every draw's fringes are measured anew."""

    label: str = OURS
    options: tuple[str, ...] = ()
    """As ``--option`` takes them."""

    def reconstruct(self, stack: Stack, out: Path) -> None:
        """As ``smartscope process reconstruct RAW OUT --camera CAMERA --optics OPTICS``."""
        for draw in DRAWS:
            report = out / ("report.json" if draw == 0 else f"report_{draw}.json")
            image = out / f"recon_{draw}.tif"
            process_file("reconstruct", stack.raw(draw), image, stack.camera, stack.optics, [*self.options], report)


def with_network() -> Ours:
    """Ours, quietened by the shipped network."""
    return Ours(NETWORK, ("model=structured_illumination_low_light", "engine=onnxruntime"))


@dataclass(frozen=True, slots=True)
class Reference:
    """The evaluators' plain Wiener method; the oracle is told the hidden parameters."""

    evaluator: Evaluator
    label: str

    def reconstruct(self, stack: Stack, out: Path) -> None:
        """In a process of its own, by its command line."""
        program = self.evaluator.folder / "reference_wiener.py"
        told = ["--oracle"] if self.label == ORACLE else []
        done = subprocess.run(
            [sys.executable, str(program), str(stack.folder), "--out", str(out), *told],
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{self.label} failed: {done.stderr.strip().splitlines()[-1:]}")


class Widefield:
    """The mean of the raw frames, enlarged by cubic splines: what one has without a method."""

    label = WIDEFIELD

    def reconstruct(self, stack: Stack, out: Path) -> None:
        """Pixels keep their area and place."""
        for draw in DRAWS:
            mean = stack.electrons(draw).mean(0)
            write_image(out, draw, zoom(mean, 2, order=3, mode="reflect", grid_mode=True))

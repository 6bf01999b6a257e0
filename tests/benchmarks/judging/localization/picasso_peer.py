"""Picasso (picassosr), in a process of its own Python: as a candidate for lists, and as a rival for fits per second."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from judging.bench import say
from judging.candidates import THREADS
from judging.evaluator import Evaluator
from judging.figures import Row

from .movies import Movie, Scene, simulated

PROGRAM = Path(__file__).with_name("picasso_process.py")
LEAST_SQUARES, LIKELIHOOD = "Picasso LQ", "Picasso MLE"
CODES = {LEAST_SQUARES: "gausslq", LIKELIHOOD: "gaussmle"}
GRADIENTS = (150.0, 250.0, 400.0, 600.0, 1000.0, 1500.0)
BOXES_PX = (5, 7, 9, 11)
TUNING_FRAMES = 40


class PicassoProcess:
    """Answers one request at a time; a context manager."""

    def __init__(self, python: Path, threads: int = 1) -> None:
        """Raises SystemExit where that Python has no Picasso."""
        self._python, self._words = python, tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._child = subprocess.Popen(
            [str(python), "-P", str(PROGRAM)],
            env={**_plain(), **dict.fromkeys(THREADS, str(threads)), "MPLBACKEND": "agg"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
        )
        self.versions = self.ask("versions")

    def ask(self, what: str, **told: object) -> Row:
        """What it says; raises SystemExit with its own words where it fails."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.write(json.dumps({"do": what, **told}, default=str) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        if not line:
            raise SystemExit(f"Picasso does not run by {self._python}: {self._close()}; give a Python with picassosr")
        said: Row = json.loads(line)
        if "error" in said:
            raise SystemExit(f"Picasso failed: {said['error']}")
        return said

    def _close(self) -> str:
        """End it; its last words."""
        assert self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.communicate()
        self._child.stdout.close()
        if self._words.closed:
            return ""
        self._words.seek(0)
        last = self._words.read().strip().splitlines()[-1:]
        self._words.close()
        return "".join(last)

    def __enter__(self) -> PicassoProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


def _plain() -> dict[str, str]:
    """The surroundings without this Python's own packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


@dataclass(frozen=True, slots=True)
class Picasso:
    """One of its methods with one setting."""

    process: PicassoProcess
    label: str
    box_px: int = 7
    gradient: float = 1000.0

    def localize(self, movie: Movie, out: Path) -> Row:
        """All frames at once, one thread."""
        frames = movie.folder / "frames.npy"
        if not frames.exists():
            np.save(frames, movie.counts())
        said = self.ask_for(movie, frames, out=out)
        return {"cpu_ms": said["cpu_ms"][0] / movie.scene.frames, "box_px": self.box_px, "gradient": self.gradient}

    def ask_for(self, movie: Movie, frames: Path, **told: Any) -> Row:
        """As its process answers."""
        method = CODES[self.label] + ("" if movie.scene.psf == "astigmatic" else "-spherical")
        setting = {"method": method, "box": self.box_px, "gradient": self.gradient}
        return self.process.ask("localize", frames=frames, camera=movie.camera_file, **setting, **told)


class TunedPicasso:
    """The setting that serves each kind of scene best, found on a seed that is not judged."""

    def __init__(self, process: PicassoProcess, evaluator: Evaluator, label: str, seed: int) -> None:
        self.label, self.process, self._evaluator, self._seed = label, process, evaluator, seed
        self._best: dict[Scene, Picasso] = {}

    def localize(self, movie: Movie, out: Path) -> Row:
        """With that setting."""
        return self.at_its_best(movie.scene).localize(movie, out)

    def at_its_best(self, scene: Scene) -> Picasso:
        """By efficiency, first over gradients, then over boxes; remembered for each kind of scene."""
        kind = replace(scene, seed=self._seed, frames=min(scene.frames, TUNING_FRAMES))
        if kind not in self._best:
            with simulated(self._evaluator, kind) as movie:
                usual = [Picasso(self.process, self.label, gradient=gradient) for gradient in GRADIENTS]
                best = max(usual, key=lambda one: _efficiency(one, movie))
                boxes = [replace(best, box_px=box_px) for box_px in BOXES_PX]
                self._best[kind] = max(boxes, key=lambda one: _efficiency(one, movie))
            chosen = self._best[kind]
            say(f"{self.label}: box {chosen.box_px}, gradient {chosen.gradient:g} for {kind.row()}")
        return self._best[kind]


def _efficiency(one: Picasso, movie: Movie) -> float:
    out = movie.folder / "tried.csv"
    one.localize(movie, out)
    found = movie.score(out, "--first-frame", 0)
    return float(found["efficiency_3d"] or found["efficiency"])

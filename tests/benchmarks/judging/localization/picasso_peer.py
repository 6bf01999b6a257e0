"""Picasso (picassosr), in a process of its own Python: as a candidate for lists, and as a rival for fits per second."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
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
USUAL_BOX_PX = 7
"""With which it comes nearer to the limit than with 5, which serves it better in crowds."""
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
        self.settings: dict[tuple[str, Scene], Picasso] = {}
        """What was found to serve each method best, in each kind of scene."""
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
    method: str
    box_px: int = USUAL_BOX_PX
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
        method = CODES[self.method] + ("" if movie.scene.psf == "astigmatic" else "-spherical")
        setting = {"method": method, "box": self.box_px, "gradient": self.gradient}
        return self.process.ask("localize", frames=frames, camera=movie.camera_file, **setting, **told)


class TunedPicasso:
    """The setting that serves each kind of scene best, found on a seed that is not judged."""

    def __init__(
        self,
        process: PicassoProcess,
        evaluator: Evaluator,
        method: str,
        seed: int,
        boxes_px: Sequence[int] = BOXES_PX,
    ) -> None:
        self.label = method if len(boxes_px) > 1 else f"{method}, box {boxes_px[0]}"
        self.process, self._evaluator, self._method, self._seed = process, evaluator, method, seed
        self._boxes_px = boxes_px

    def localize(self, movie: Movie, out: Path) -> Row:
        """With that setting."""
        return self.at_its_best(movie.scene).localize(movie, out)

    def at_its_best(self, scene: Scene) -> Picasso:
        """By efficiency, first over gradients, then over boxes; remembered for each kind of scene."""
        kind = replace(scene, seed=self._seed, frames=min(scene.frames, TUNING_FRAMES))
        known = self.process.settings
        if (self.label, kind) not in known:
            chosen = known[self.label, kind] = self._tuned(kind)
            say(f"{self.label}: box {chosen.box_px}, gradient {chosen.gradient:g} for {kind.row()}")
        return known[self.label, kind]

    def _tuned(self, kind: Scene) -> Picasso:
        with simulated(self._evaluator, kind) as movie:
            usual = [Picasso(self.process, self._method, gradient=gradient) for gradient in GRADIENTS]
            best = max(usual, key=lambda one: _efficiency(one, movie))
            boxes = [replace(best, box_px=box_px) for box_px in self._boxes_px]
            return max(boxes, key=lambda one: _efficiency(one, movie)) if len(boxes) > 1 else boxes[0]


def _efficiency(one: Picasso, movie: Movie) -> float:
    out = movie.folder / "tried.csv"
    one.localize(movie, out)
    found = movie.score(out, "--first-frame", 0)
    return float(found["efficiency_3d"] or found["efficiency"])

"""Particles in simulated movies, found and followed: the live models, and other tools through the evaluators' runners.

Points are judged within 3 pixels, tracks (alpha of Chenouard et al., Nat Methods 11:281, 2014) within 5. Other tools
are judged as their runner comes, and with the settings that find most (F1) on a seed that is not judged.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from judging.bench import say
from judging.evaluator import Evaluator
from smartscope.config import CameraCalibration, OpticsConfig
from smartscope.ports import Instrument, TaskInputs
from smartscope_models.tasks import DetectTask, TrackTask

SNRS = (2, 4, 7)
PARTICLES = 400
SIGMA_PX = 1.3
TUNED_ON = 100
"""Seed for the other tools' settings."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another tool: its runner, and the settings among which the best are sought."""

    name: str
    runner: str
    takes_camera: bool
    tracks: bool
    threshold: str
    """Option and entry of the report that is scaled by ``factors``."""
    factors: tuple[float, ...] = (0.4, 0.55, 0.7, 0.85, 1.0, 1.3)
    grid: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


TRACKPY = Peer("trackpy", "trackpy_movie.py", False, True, "minmass", grid={"diameter": (5, 7)})
PICASSO = Peer("picasso", "picasso_localize.py", True, False, "min_net_gradient", grid={"box": (5, 7)})


def judge(
    evaluator: Evaluator,
    seeds: Sequence[int],
    frames: int,
    ours: Mapping[str, dict[str, Any]],
    pythons: Mapping[str, str],
) -> list[Found]:
    """A row for each signal, seed and tool. ours: options of ``detect`` by name; pythons: interpreters by peer."""
    rows: list[Found] = []
    peers = [peer for peer in (TRACKPY, PICASSO) if peer.name in pythons]
    for snr in SNRS:
        best = {peer.name: _tuned(evaluator, peer, pythons[peer.name], snr, frames) for peer in peers}
        for seed in seeds:
            say(f"particles: signal {snr}, seed {seed}")
            with _movie(evaluator, seed, snr, frames) as case:
                for name, options in ours.items():
                    rows.append({"snr": snr, "seed": seed, "who": name, **_ours(evaluator, case, options)})
                for peer in peers:
                    for label, given in (("default", {}), ("tuned", best[peer.name])):
                        found = _theirs(evaluator, peer, pythons[peer.name], case, given)
                        rows.append({"snr": snr, "seed": seed, "who": f"{peer.name} {label}", **found})
    return rows


class _movie:  # noqa: N801 - used like a function
    """A folder with a simulated movie and its truth, while it is needed."""

    def __init__(self, evaluator: Evaluator, seed: int, snr: int, frames: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="smartscope-bench-")
        asked = ("--seed", seed, "--objects", PARTICLES, "--frames", frames, "--snr", snr, "--movie")
        evaluator.run("tracking", "simulate", "particles", *asked, "--out", self._folder.name)

    def __enter__(self) -> Path:
        return Path(self._folder.name)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def instrument_of(case: Path) -> Instrument:
    """Camera as told, and optics whose spots are as wide as the movie's: 0.21 wavelength / NA = sigma."""
    told = json.loads((case / "camera.json").read_text())
    camera = CameraCalibration(**{name: told[name] for name in told if name in CameraCalibration.model_fields})
    aperture = 0.21 * 600 / (SIGMA_PX * told["pixel_size_nm"])
    return Instrument(camera, OpticsConfig(emission_nm=600.0, numerical_aperture=aperture))


def _ours(evaluator: Evaluator, case: Path, options: dict[str, Any]) -> Found:
    """``process detect``, then ``process track`` on its table."""
    points, tracks, instrument = case / "points.csv", case / "tracks.csv", instrument_of(case)
    given = {"kinds": ["spot"], "camera_given": True, **options}
    figures = DetectTask().run(TaskInputs(str(case / "movie.tif"), str(points), instrument, given), _silent)
    TrackTask().run(TaskInputs(str(points), str(tracks), instrument, {}), _silent)
    return {**_scored(evaluator, case, points, tracks), "cpu_ms": float(figures["cpu_ms_per_frame"])}


def _theirs(evaluator: Evaluator, peer: Peer, python: str, case: Path, given: Mapping[str, Any]) -> Found:
    found, timing = case / "found.csv", case / "timing.json"
    inputs = [str(case / "movie.tif"), *([str(case / "camera.json")] if peer.takes_camera else [])]
    settings = [text for key, value in given.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    call = [python, str(evaluator.folder / "peers" / peer.runner), *inputs, "--out", str(found), *settings]
    done = subprocess.run(
        [*call, "--timing", str(timing)], capture_output=True, text=True, env={**os.environ, **ONE_THREAD}, check=False
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    told = json.loads(timing.read_text())
    scored = _scored(evaluator, case, found, found if peer.tracks else None)
    return {**scored, "cpu_ms": told["process_cpu_ms_per_frame"], "settings": told["settings"]}


def _scored(evaluator: Evaluator, case: Path, points: Path, tracks: Path | None) -> Found:
    score = evaluator.run("tracking", "points", case / "truth.csv", points)
    row: Found = {name: float(score[name] or 0.0) for name in ("precision", "recall", "f1", "rmse_px")}
    if tracks:
        followed = evaluator.run("tracking", "score", case / "truth.csv", tracks, "--all-points")
        row["isbi_alpha"] = followed["isbi_alpha"]
    return row


def _tuned(evaluator: Evaluator, peer: Peer, python: str, snr: int, frames: int) -> dict[str, Any]:
    """The settings that find most on a movie of its own."""
    with _movie(evaluator, TUNED_ON, snr, frames) as case:
        usual = _theirs(evaluator, peer, python, case, {})
        tried = list(_settings(peer, usual))
        found = [_theirs(evaluator, peer, python, case, given) for given in tried]
    scores = [row.get("f1", 0.0) for row in found]
    return tried[scores.index(max(scores))]


def _settings(peer: Peer, usual: Found) -> Iterator[dict[str, Any]]:
    level = float(usual["settings"][peer.threshold])
    for values in product(*peer.grid.values()):
        for factor in peer.factors:
            yield {**dict(zip(peer.grid, values, strict=True)), peer.threshold: round(factor * level, 3)}


def _silent(done: int, total: int | None) -> None:
    """Nobody looks on."""

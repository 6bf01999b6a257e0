"""The real confocal pairs: as they are given, and with the mean image brought to where the noisy frame lies.

Noisy frame and mean are displaced against each other by up to 0.8 px, which costs every filter that keeps its place.
Two things matter when that is measured. The mean of fifty holds the noisy frame itself, whose noise, shared, draws the
shift towards zero: its share is taken out first. And the shift is fitted once, from the noisy frame, not per method.
How far a method displaces what it shows is measured against the same mean and, free of noise, against its own input.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .bench import BASELINE, Bench, say
from .candidates import Candidate
from .cases import Floats, stack, write
from .displacement import Displacement, Shiftable, displacement, inside
from .figures import Row

NOISY, MEAN = "Confocal_gaussianpoisson", "Confocal"
AVERAGED = 50
"""Frames in a mean image; the regression of mean on noisy frame beyond the optics' reach is 0.020 to 0.028."""
KINDS = ("as_given", "registered", "registered_each")
Images = dict[str, Floats]
"""By file name: (H, W), or (1, H, W) as written."""


def pairs(bench: Bench) -> dict[str, Any]:
    """PSNR, SSIM and displacement of every method on the five pairs."""
    if bench.data is None or not (bench.data / NOISY).is_dir():
        return {"skipped": f"no real pairs at {bench.data}; set SMARTSCOPE_DATA"}
    names = sorted(path.name for path in (bench.data / MEAN).glob("*.tif"))
    with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as folder:
        table = _Table(bench, bench.data, Path(folder), names)
        rows = [table.row(candidate) for candidate in bench.everybody]
        shifted = [table.shifted(candidate) for candidate in bench.everybody if candidate.label == BASELINE]
        return {
            "rows": rows,
            "control_shifted": shifted,
            "noisy_against_mean": {name: _place(table.places[name]) for name in names},
            "noisy_against_mean_with_its_own_share": {name: _place(table.biased[name]) for name in names},
            "against_baseline": _differences(rows),
        }


def _place(found: Displacement) -> Row:
    return {"dy_px": found.dy_px, "dx_px": found.dx_px, "error_px": found.error_px}


class _Table:
    """Files and shifts of the pairs."""

    def __init__(self, bench: Bench, data: Path, folder: Path, names: list[str]) -> None:
        self._evaluator, self._data, self._folder, self._names = bench.evaluator, data, folder, names
        self._noisy = {name: stack(data / NOISY / name)[0] for name in names}
        self._mean = {name: stack(data / MEAN / name)[0] for name in names}
        self._others = {name: (AVERAGED * self._mean[name] - self._noisy[name]) / (AVERAGED - 1) for name in names}
        self.places = {name: displacement(self._noisy[name], self._others[name]) for name in names}
        self.biased = {name: displacement(self._noisy[name], self._mean[name]) for name in names}

    def row(self, candidate: Candidate) -> Row:
        """Everything about one method."""
        images, cpu_ms = {}, []
        for name in self._names:
            say(f"pair {name} {candidate.label}")
            output = self._folder / "denoised.tif"
            cpu_ms.append(candidate.denoise(self._data / NOISY / name, None, output)["cpu_ms_per_frame"])
            images[name] = stack(output)[0]
        return {"model": candidate.label, "cpu_ms": float(np.mean(cpu_ms)), **self._scores(images)} | {
            "displacement": self._displacements(images)
        }

    def shifted(self, candidate: Candidate) -> Row:
        """A control: an output moved onto the mean scores better as given, and must be found out as displaced."""
        images = {}
        for name in self._names:
            candidate.denoise(self._data / NOISY / name, None, self._folder / "denoised.tif")
            images[name] = self._moved_onto_mean(name, stack(self._folder / "denoised.tif")[0])
        label = f"{candidate.label}, moved onto the mean"
        return {"model": label, **self._scores(images), "displacement": self._displacements(images)}

    def _moved_onto_mean(self, name: str, image: Floats) -> Floats:
        found = displacement(self._mean[name], image)
        return Shiftable(image).by(found.dy_px, found.dx_px)

    def _scores(self, images: Images) -> Row:
        there = {name: Shiftable(self._mean[name]).by(p.dy_px, p.dx_px) for name, p in self.places.items()}
        moved = {name: self._moved_onto_mean(name, image) for name, image in images.items()}
        return {
            "as_given": self._score(_whole(self._noisy), _whole(self._mean), _whole(images)),
            "registered": self._score(_cut(self._noisy), _cut(there), _cut(images)),
            "registered_each": self._score(_cut(self._noisy), _cut(self._mean), _cut(moved)),
        }

    def _score(self, noisy: Images, means: Images, images: Images) -> Row:
        """The evaluator's verdict on files of equal names."""
        folders = []
        for kind, files in (("noisy", noisy), ("mean", means), ("denoised", images)):
            folders.append(folder := self._folder / kind)
            folder.mkdir(exist_ok=True)
            for name, image in files.items():
                write(folder / name, image)
        found = self._evaluator.run("denoising", "pairs", *folders, "--data-range", 255)
        each = {Path(name).stem: {k: row[k] for k in ("psnr_db", "ssim")} for name, row in found["images"].items()}
        mean = found["mean"]
        plain = {f"{key}_without_fit": mean["without_fit"][key] for key in ("psnr_db", "ssim")}
        return {"psnr_db": mean["psnr_db"], "ssim": mean["ssim"], "nrmse": mean["nrmse"], **plain, "images": each}

    def _displacements(self, images: Images) -> Row:
        """Against the noisy frame: by way of the mean of the other frames, and directly; per image and on average."""
        by_mean, direct = {}, {}
        for name, image in images.items():
            seen, place = displacement(image, self._others[name]), self.places[name]
            by_mean[Path(name).stem] = [seen.dy_px - place.dy_px, seen.dx_px - place.dx_px]
            own = displacement(self._noisy[name], image)
            direct[Path(name).stem] = [-own.dy_px, -own.dx_px]
        return {"by_mean_px": _with_mean(by_mean), "own_input_px": _with_mean(direct)}


def _with_mean(vectors: dict[str, list[float]]) -> Row:
    values = np.array(list(vectors.values()))
    largest = float(np.hypot(*values.T).max())
    return {"images": vectors, "mean": values.mean(0).tolist(), "largest": largest}


def _whole(images: Images) -> Images:
    return {name: image[None] for name, image in images.items()}


def _cut(images: Images) -> Images:
    """Without the border, which has no counterpart once something was moved."""
    return {name: inside(image)[None] for name, image in images.items()}


def _differences(rows: list[Row]) -> list[Row]:
    base = next((row for row in rows if row["model"] == BASELINE), None)
    if base is None:
        return []
    return [
        {"model": row["model"], "kind": kind, **{key: row[kind][key] - base[kind][key] for key in ("psnr_db", "ssim")}}
        for row in rows
        for kind in KINDS
        if row is not base
    ]

"""Outputs spoilt on purpose: each must be caught by the figure that is there for it, else that figure says nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from .bench import Bench, say
from .candidates import Candidate
from .cases import Case, Floats, Scene, stack, write
from .displacement import Shiftable, displacement
from .figures import Row

Spoil = Callable[[Floats], Floats]
BOUNDS: dict[str, tuple[float, float]] = {
    "displacement_px": (0.0, 0.02),
    "linearity_slope": (0.98, 1.02),
    "linearity_slope_dim": (0.98, 1.02),
    "false_structures": (0.0, 1.0),
    "false_structures_psf": (0.0, 1.0),
    "temporal_lag_frames": (-0.05, 0.05),
}
"""What is asked of a denoiser."""


class Spoilt:
    """A candidate whose output is changed."""

    def __init__(self, candidate: Candidate, spoil: Spoil) -> None:
        self._candidate, self._spoil, self.label = candidate, spoil, f"{candidate.label}, spoilt"

    def denoise(self, noisy: Path, camera: Path | None, output: Path) -> dict[str, Any]:
        """As the candidate, then spoilt."""
        took = self._candidate.denoise(noisy, camera, output)
        write(output, self._spoil(stack(output)))
        return took


@dataclass(frozen=True, slots=True)
class Control:
    """One way to spoil, the figure that must see it, and where."""

    name: str
    spoil: Spoil
    figure: str
    scene: Scene


def moved(images: Floats) -> Floats:
    """0.1 px down."""
    return np.stack([Shiftable(image).by(0.1, 0.0) for image in images])


def blurred(images: Floats) -> Floats:
    """Gaussian of 1.5 px."""
    return np.stack([gaussian_filter(image, 1.5) for image in images])


def textured(images: Floats) -> Floats:
    """Band-limited texture of two counts, the same in every frame: a structure that is not there."""
    grain = gaussian_filter(np.random.default_rng(0).normal(size=images.shape[1:]), 1.2)
    structured: Floats = images + 2.0 * grain / grain.std()
    return structured


def dim_deleted(images: Floats) -> Floats:
    """What stands out of the background by less than a tenth of the brightest is made background."""
    floor, top = np.median(images), np.quantile(images, 0.9999)
    return np.where(images < floor + 0.1 * (top - floor), floor, images)


def late(images: Floats) -> Floats:
    """One frame late."""
    return np.concatenate([images[:1], images[:-1]])


def controls(bench: Bench) -> Row:
    """Every control on the first of our models, beside that model as it is."""
    seed, size = bench.seeds[0], bench.size
    candidate: Candidate = bench.ours[0] if bench.ours else bench.peers[0]
    puncta = Scene("puncta", 50.0, seed, frames=8, size=size)
    planned = [
        Control("moved by 0.1 px", moved, "displacement_px", Scene("mixed", 50.0, seed, size=size)),
        Control("blurred by 1.5 px", blurred, "linearity_slope", puncta),
        Control("dim objects deleted", dim_deleted, "linearity_slope_dim", puncta),
        Control("texture invented", textured, "false_structures_psf", Scene("empty", 2.0, seed, size=size)),
        Control(
            "one frame late",
            late,
            "temporal_lag_frames",
            Scene("mixed", 50.0, seed, frames=24, size=size, motion_px=1.0),
        ),
    ]
    return {"model": candidate.label, "rows": [_judged(bench, candidate, control) for control in planned]}


def _judged(bench: Bench, candidate: Candidate, control: Control) -> Row:
    say(f"control: {control.name}")
    with bench.case(control.scene) as case:
        as_it_is = _figure(case, candidate, control.figure)
        spoilt = _figure(case, Spoilt(candidate, control.spoil), control.figure)
    low, high = BOUNDS[control.figure]
    return {
        "control": control.name,
        "figure": control.figure,
        "asked": [low, high],
        "as_it_is": as_it_is,
        "spoilt": spoilt,
        "caught": not low <= spoilt <= high,
    }


def _figure(case: Case, candidate: Candidate, figure: str) -> float:
    output = case.denoise(candidate)[0]
    if figure == "displacement_px":
        return displacement(stack(output)[0], stack(case.clean)[0]).length_px
    return float(case.score(output)[figure])

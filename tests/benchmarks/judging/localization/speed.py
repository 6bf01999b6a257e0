"""Fits per second on the same cut-out spots, one thread each, in turn, so that a busy machine slows both alike."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from judging.bench import say
from judging.figures import Row, interval
from smartscope_models.localization.fit import fit_round

from .bench import Bench
from .joint_bound import Light, drawn, fisher
from .movies import Doubles

Spots = npt.NDArray[np.float32]
SPOTS = 10_000
SIGMA_PX, READ_E = 1.3, 1.4
CONDITIONS = ((7, 1000.0, 10.0), (9, 250.0, 5.0), (9, 1000.0, 10.0), (9, 5000.0, 50.0), (11, 1000.0, 10.0))
"""Box (px), photons, background."""
OURS = {"ours, width known": False, "ours, width free": True}
PICASSO = ("round", "round, errors", "round, Newton")
"""Its names for fits of five numbers, as ours with free width; ours always states errors and the likelihood ratio."""


def speed(bench: Bench) -> dict[str, Any]:
    """Every condition; ratios are of processor times turn by turn."""
    rows, ratios = [], []
    for box_px, photons, background in CONDITIONS if bench.turns > 2 else CONDITIONS[:1]:
        say(f"speed: box {box_px}, {photons:g} photons on {background:g}")
        spots, places, limit_px = cut_out(box_px, photons, background, bench.seeds[0])
        cell = {"box_px": box_px, "photons": photons, "background": background}
        took, found = _in_turn(bench, spots)
        for name, cpu_s in took.items():
            ratio = float(np.sqrt(np.nanmean((found[name] - places) ** 2))) / limit_px
            figures = {"fits_per_s": SPOTS / float(np.median(cpu_s)), "rmse_over_limit": ratio}
            rows.append({**cell, "fit": name, **figures, "runs": len(cpu_s)})
        ratios += [{**cell, **row} for row in paired_ratios(took)]
    return {"spots": SPOTS, "rows": rows, "ratios": ratios, "peer": bench.picasso.versions if bench.picasso else None}


def cut_out(box_px: int, photons: float, background: float, seed: int) -> tuple[Spots, Doubles, float]:
    """(N, box, box) electrons, (N, 2) places in pixels from the middle of the box, and the bound with free width."""
    rng = np.random.default_rng((seed, box_px))
    places = rng.uniform(-0.5, 0.5, (SPOTS, 2))
    middle = box_px / 2
    edges = np.arange(box_px + 1) - middle
    along = [_shares(edges[None] - places[:, axis, None]) for axis in (0, 1)]
    mean = photons * along[1][:, :, None] * along[0][:, None, :] + background
    spots = rng.poisson(mean) + rng.normal(0, READ_E, mean.shape)
    return spots.astype(np.float32), places, bound_px(box_px, photons, background)


def _shares(edges_px: Doubles) -> Doubles:
    from scipy.special import erf

    return 0.5 * np.diff(erf(edges_px / (np.sqrt(2) * SIGMA_PX)), axis=1)


def bound_px(box_px: int, photons: float, background: float) -> float:
    """Root mean square over places in the pixel, width known."""
    shape = (box_px, box_px)
    light = Light(SIGMA_PX, np.full(shape, READ_E**2), np.full(shape, background))
    one, none = np.ones(1), np.zeros(1)
    rng, middle = np.random.default_rng(0), box_px / 2
    squares = []
    for x, y in rng.uniform(-0.5, 0.5, (50, 2)):
        information = fisher(light, one * (middle + x), one * (middle + y), none, one * photons)
        squares.append(np.mean(drawn(information, rng)[1][:2] ** 2))
    return float(np.sqrt(np.mean(squares)))


def _in_turn(bench: Bench, spots: Spots) -> tuple[dict[str, list[float]], dict[str, Doubles]]:
    """CPU seconds of each turn, and where each fit put the spots."""
    fits: dict[str, Callable[[], float]] = {}
    found: dict[str, Doubles] = {}
    mosaic = Mosaic(spots)

    def ours(name: str, free: bool) -> Callable[[], float]:
        def run() -> float:
            began = time.process_time()
            found[name] = mosaic.fitted(free)
            return time.process_time() - began

        return run

    for name, free in OURS.items():
        fits[name] = ours(name, free)
    with tempfile.TemporaryDirectory() as folder:
        if bench.picasso:
            fits |= _peers(bench, spots, Path(folder), found)
        for run in fits.values():
            run()
        took: dict[str, list[float]] = {name: [] for name in fits}
        for _ in range(bench.turns):
            for name, run in fits.items():
                took[name].append(run())
    return took, {name: places - (mosaic.box_px - 1) / 2 for name, places in found.items()}


def _peers(bench: Bench, spots: Spots, folder: Path, found: dict[str, Doubles]) -> dict[str, Callable[[], float]]:
    assert bench.picasso is not None
    picasso, told = bench.picasso, folder / "spots.npy"
    np.save(told, spots)
    picasso.ask("load", spots=told)

    def peer(how: str) -> Callable[[], float]:
        def run() -> float:
            took = float(picasso.ask("fit", how=how)["cpu_s"])
            picasso.ask("save", how=how, out=folder / "found.npy")
            found[f"Picasso, {how}"] = np.load(folder / "found.npy").astype(float)
            return took

        return run

    return {f"Picasso, {how}": peer(how) for how in PICASSO}


class Mosaic:
    """Cut-out spots side by side in one frame: our fit's window is exactly each box."""

    def __init__(self, spots: Spots) -> None:
        count, self.box_px, _ = spots.shape
        across = int(np.ceil(np.sqrt(count)))
        tiles = np.zeros((across * across, self.box_px, self.box_px), np.float32)
        tiles[:count] = spots
        side = across * self.box_px
        self._light = np.ascontiguousarray(
            tiles.reshape(across, across, *spots.shape[1:]).swapaxes(1, 2).reshape(side, side)
        )
        self._read = np.full_like(self._light, READ_E**2)
        number = np.arange(count)
        self._corner = self.box_px * np.stack([number % across, number // across], axis=1).astype(float)

    def fitted(self, width_free: bool) -> Doubles:
        """(N, 2) x and y in pixels of the box, its first pixel's centre at 0."""
        radius = self.box_px // 2
        fits = fit_round(self._light, self._read, self._corner + radius, SIGMA_PX, radius=radius, width_free=width_free)
        return np.asarray(fits.values[:, :2] - self._corner)


def paired_ratios(took: dict[str, list[float]]) -> list[Row]:
    """Theirs over ours, turn by turn: median and the bootstrap interval of the mean."""
    answers = []
    for mine in (name for name in took if name in OURS):
        for theirs in (name for name in took if name not in OURS):
            ratio = np.asarray(took[theirs]) / np.asarray(took[mine])
            ends: Sequence[float] = interval(ratio.tolist())
            answers.append(
                {"ours": mine, "theirs": theirs, "times": float(np.median(ratio)), "interval_95": list(ends)}
            )
    return answers

"""How right the noise is that models are told: from a calibration, and estimated from ordinary movies. Prints JSON.

``python tests/benchmarks/bench_camera.py [--seeds N] [--sections calibration estimate pairs] [--evaluator DIR]``

Movies come from the frozen evaluator, an implementation of its own. *calibration*: darks and a light series of a sensor
with known maps, through ``calibrate camera``'s own way from files. *estimate*: movies of unknown origin; the ratio of
the estimated noise variance to the true one at several brightnesses. *pairs*: the same on real confocal images, where
the mean of fifty frames, moved onto the noisy one, tells the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from judging.bench import rounded, say
from judging.displacement import Shiftable, displacement
from judging.evaluator import Evaluator

from smartscope.calibrating import calibrate_camera_from_files
from smartscope.doctor import machine
from smartscope_models.estimate import NoiseEstimate, estimate_noise

DATA = Path(os.environ.get("SMARTSCOPE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "n2f"
FIRST_SEED = 701
SCENES = ("filaments", "puncta", "cells", "mixed", "empty")
ELECTRONS = (5.0, 20.0, 100.0, 200.0)
PIXELS_NM = (65.0, 100.0, 160.0)
"""At NA 1.4 and 525 nm: finer than needed, at the limit, undersampled."""
BRIGHTNESS = (0.05, 0.25, 0.5, 0.75, 0.9, 0.97, 0.995)
"""Quantiles of the expected counts at which variances are compared."""
DARK_FRAMES, LIGHT_FRAMES = 500, 100
LEVELS_E = {"scmos": (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000), "emccd": (2, 5, 10, 20, 50, 100, 200)}
AVERAGED = 50
"""Frames in a mean image of the real pairs, the noisy one among them."""
BORDER = 8
LEVELS_ADU = (4, 5, 7, 10, 15, 25, 40, 70, 120)
"""Brighter pixels have their noise cut by the end of eight bits, at up to 24 counts for a photon."""
Floats = npt.NDArray[np.float64]
Row = dict[str, Any]


# ---------------------------------------------------------------- calibration


def calibration(evaluator: Evaluator, seeds: Sequence[int]) -> list[Row]:
    """Errors of the maps, as they are and in units of what they should be."""
    rows = []
    for camera, seed in product(LEVELS_E, seeds):
        say(f"calibration {camera} {seed}")
        with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as place:
            rows.append({"camera": camera, "seed": seed, **_calibrated(evaluator, camera, seed, Path(place))})
    return rows


def _calibrated(evaluator: Evaluator, camera: str, seed: int, folder: Path) -> Row:
    def movie(light_e: float, frames: int) -> Path:
        out = folder / f"{light_e}"
        field = ["--scene", "empty", "--background", light_e, "--frames", frames, "--size", 256]
        evaluator.run("denoising", "simulate", "--seed", seed, "--camera", camera, "--maps", *field, "--out", out)
        return out / "noisy.tif"

    dark, lights = movie(0, DARK_FRAMES), [movie(light_e, LIGHT_FRAMES) for light_e in LEVELS_E[camera]]
    told = json.loads((dark.parent / "camera.json").read_text())
    began = time.process_time()
    found = calibrate_camera_from_files([dark], lights, folder / "found", em_gain=told["em_gain"]).found
    took_s = time.process_time() - began
    offset, gain, read = (
        np.load(dark.parent / f"{m}.npy") for m in ("offset_adu", "electrons_per_adu", "read_noise_e")
    )
    dark_variance = (read / gain) ** 2 + 1 / 12
    return {
        "cpu_ms_per_frame": 1e3 * took_s / (DARK_FRAMES + LIGHT_FRAMES * len(lights)),
        "electrons_per_adu_relative_error": found.electrons_per_adu * float(np.mean(1 / gain)) - 1,
        "standard_error_said": found.electrons_per_adu_error / found.electrons_per_adu,
        "read_noise_relative_error": found.read_noise_e / float(np.median(read)) - 1,
        "offset_rms_error_adu": float(np.std(found.offset_map - offset)),
        "offset_chi2": float(np.mean((found.offset_map - offset) ** 2 / dark_variance * DARK_FRAMES)),
        "read_noise_rms_relative_error": float(np.std(found.read_noise_map / read - 1)),
        "gain_rms_relative_error": float(np.std(found.gain_map / gain)),
        "gain_spread_of_sensor": float(np.std(gain / gain.mean())),
        "gain_map_used": found.slope.good,
        "fit_chi2": found.chi2,
        "hot_pixels_found": int(found.hot.sum()),
    }


# ---------------------------------------------------------------- estimate


def estimates(evaluator: Evaluator, seeds: Sequence[int]) -> Row:
    """Ratios of variances, summed up for each camera, pixel size and number of frames."""
    ratios: dict[tuple[str, float, int], list[tuple[str, list[float]]]] = {}
    for scene, electrons, pixel_nm, seed in product(SCENES, ELECTRONS, PIXELS_NM, seeds):
        say(f"estimate {scene} {electrons:g} e {pixel_nm:g} nm {seed}")
        for camera, frames, mean, variance in _movies(evaluator, scene, electrons, pixel_nm, seed):
            levels = np.quantile(mean, BRIGHTNESS)
            for used in (1, 2):
                row = (estimate_noise(frames[:used]).variance(levels) / variance(levels)).tolist()
                ratios.setdefault((camera, pixel_nm, used), []).append((f"{scene} {electrons:g} e", row))
    return {
        f"{camera}, {pixel_nm:g} nm, {used} frame{'s' * (used > 1)}": _summary(rows)
        for (camera, pixel_nm, used), rows in ratios.items()
    }


def _summary(rows: list[tuple[str, list[float]]]) -> Row:
    off = np.abs(np.log(np.maximum([row for _, row in rows], 1e-3)))
    worst = int(off.max(1).argmax())
    return {
        "mean_deviation": float(np.exp(off.mean()) - 1),
        "within_a_tenth": float((off < np.log(1.1)).mean()),
        "ratio_by_brightness_median": np.median([row for _, row in rows], axis=0).tolist(),
        "worst": {"scene": rows[worst][0], "ratios": rows[worst][1]},
    }


Movie = tuple[str, list[npt.NDArray[np.uint16]], Floats, Callable[[Floats], Floats]]


def _movies(evaluator: Evaluator, scene: str, electrons: float, pixel_nm: float, seed: int) -> Iterator[Movie]:
    """(camera, two frames, expected counts, variance by expected counts) of three cameras."""
    for camera in ("scmos", "emccd"):
        with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as place:
            chosen = ["--scene", scene, "--electrons", electrons, "--pixel-nm", pixel_nm, "--seed", seed]
            evaluator.run("denoising", "simulate", *chosen, "--camera", camera, "--frames", 2, "--out", place)
            noisy, clean = (tifffile.imread(Path(place) / f"{name}.tif") for name in ("noisy", "clean"))
            told = json.loads((Path(place) / "camera.json").read_text())
        offset, gain = told["offset_adu"], told["electrons_per_adu"]
        slope = (2 * told["em_gain"] if camera == "emccd" else 1) / gain
        floor = (told["read_noise_e"] / gain) ** 2 + 1 / 12
        yield camera, list(noisy), clean[0].astype(float), _line(slope, offset, floor)
        if camera == "scmos":
            light_e = (clean[0].astype(float) - offset) * gain
            yield _confocal(light_e, np.random.default_rng([seed, 9]))


def _line(slope: float, offset: float, floor: float) -> Callable[[Floats], Floats]:
    return lambda mean: slope * np.maximum(mean - offset, 0) + floor


def _confocal(light_e: Floats, rng: np.random.Generator) -> Movie:
    """Eight bits, several counts for a photon, black at 3."""
    top_e = float(np.percentile(light_e, 99.9))
    gain = 200 / (top_e + 4 * top_e**0.5)
    frames = [np.rint(rng.poisson(light_e) * gain + rng.normal(0, 0.2, light_e.shape) + 3) for _ in range(2)]
    pixels = [np.clip(frame, 3, 255).astype(np.uint16) for frame in frames]
    return "confocal, 8 bits", pixels, light_e * gain + 3, _line(gain, 3, 0.04 + 1 / 12)


# ---------------------------------------------------------------- real pairs


def pairs() -> Row:
    """Ratio of the estimated variance to the true one, by brightness, and the correlation of the noise."""
    if not DATA.is_dir():
        return {"skipped": f"no real pairs at {DATA}; set SMARTSCOPE_DATA"}
    rows, off = {}, []
    for path in sorted((DATA / "Confocal").glob("*.tif")):
        say(f"pair {path.stem}")
        noisy = tifffile.imread(DATA / "Confocal_gaussianpoisson" / path.name)
        found = estimate_noise([noisy.astype(np.uint16)])
        rows[path.stem], deviations = _pair(noisy.astype(float), tifffile.imread(path).astype(float), found)
        off += deviations
    return {
        "images": rows,
        "mean_deviation": float(np.exp(np.mean(off)) - 1),
        "within_a_tenth": float(np.mean(np.array(off) < np.log(1.1))),
    }


def _pair(noisy: Floats, mean: Floats, found: NoiseEstimate) -> tuple[Row, list[float]]:
    others = (AVERAGED * mean - noisy) / (AVERAGED - 1)  # the mean holds the noisy frame itself
    place = displacement(noisy, others)
    true = Shiftable(others).by(place.dy_px, place.dx_px)[BORDER:-BORDER, BORDER:-BORDER]
    noise = (noisy[BORDER:-BORDER, BORDER:-BORDER] - true) * (1 - 1 / AVERAGED) ** 0.5
    by_level = {}
    for low, high in pairwise(LEVELS_ADU):
        here = (true >= low) & (true < high)
        if here.sum() >= 500:
            by_level[f"{low}-{high}"] = float(found.variance(true[here].mean()) / noise[here].var())
    white = noise / np.sqrt(np.maximum(found.variance(true), 0.5))
    white -= white.mean()
    lags = {"x": (white[:, 1:] * white[:, :-1]).mean(), "y": (white[1:] * white[:-1]).mean()}
    row = {
        "ratio_by_brightness_adu": by_level,
        "adu_per_electron": found.slope_adu,
        "correlation_estimated": {"x": found.lag1_x, "y": found.lag1_y},
        "correlation_of_true_noise": {axis: float(lag / white.var()) for axis, lag in lags.items()},
    }
    return row, [abs(float(np.log(ratio))) for ratio in by_level.values()]


def main() -> None:
    """Print the figures of the sections asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sections", nargs="+", default=["calibration", "estimate", "pairs"])
    parser.add_argument("--evaluator", help="folder of the frozen evaluators")
    chosen = parser.parse_args()
    evaluator, seeds = Evaluator.at(chosen.evaluator), range(FIRST_SEED, FIRST_SEED + chosen.seeds)
    sections: dict[str, Callable[[], Any]] = {
        "calibration": lambda: calibration(evaluator, seeds),
        "estimate": lambda: estimates(evaluator, seeds),
        "pairs": pairs,
    }
    figures = {name: sections[name]() for name in chosen.sections}
    print(json.dumps(rounded({"machine": machine(), "seeds": list(seeds), **figures}), indent=1))


if __name__ == "__main__":
    main()

"""Whether what a denoiser took away is the camera's noise: two tests that do not punish it for keeping some.

Let y = x + n be the frame, f(y) the output, s² the noise variance of each pixel. The plain test, mean (y - f(y))² / s²,
is below 1 for any good denoiser, since f(y) still holds a part of n. Two are not fooled; their expectation is
1 + mean (f(y) - x)² / s², so 1 for a perfect denoiser and never less:

* independent: mean (y' - f(y))² / s², y' another exposure of the same still scene. Exact for any noise.
* divergence: mean (y - f(y))² / s² + 2 mean df_i/dy_i. Stein, Ann Stat 9:1135 (1981), exact for Gaussian noise; the
  derivative by a random perturbation e b, b = ±1: mean b (f(y + e b) - f(y - e b)) / 2e, Ramani et al., IEEE TIP
  17:1540 (2008). It needs one frame alone.

What exceeds 1 is noise kept, as the variance of the output over exposures tells, or bias: signal removed or invented.
"""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from .bench import Bench
from .candidates import Candidate
from .cases import Case, Floats, Scene, stack, write
from .figures import Row, groups

FRAMES = 9
APART = 3
"""Frames after which outputs of a causal three-frame model share no exposure."""
SEEDS = 2
"""Enough: each figure is a mean over a million pixels; the perturbed movies cost twice the time of all others."""
STEP_ADU = 1
"""Perturbation: the least that whole counts allow. A larger one is noise of its own, which the denoiser reacts to: with
four counts at five electrons BM3D seemed to keep a third of the noise."""
FIGURES = ("plain", "independent", "divergence", "output_variance", "bias", "noise_kept", "whiteness")


def residual(bench: Bench) -> dict[str, Any]:
    """Both tests beside the plain one, on still mixed scenes."""
    chosen = product((5.0, 20.0, 100.0), bench.seeds[:SEEDS])
    drawn = [Scene("mixed", e, seed, frames=FRAMES, size=min(bench.size, 256)) for e, seed in chosen]
    rows = bench.rows(drawn, _tests)
    summary = []
    for names, group in groups(rows, ("electrons", "model")).items():
        means = {figure: float(np.mean([row[figure] for row in group])) for figure in FIGURES}
        summary.append({**dict(zip(("electrons", "model"), names, strict=True)), **means})
    return {"rows": rows, "summary": summary}


def _tests(case: Case, candidate: Candidate) -> Row:
    output, _ = case.denoise(candidate)
    clean, noisy, images = (stack(path) for path in (case.clean, case.noisy, output))
    plain = case.score(output)["residual_chi2"]
    independent = _compare(case, clean[:-1], noisy[1:], images[:-1])
    variance = _compare(case, clean[:-APART], images[APART:], images[:-APART])["residual_chi2"] / 2
    kept = _divergence(case, candidate)
    return {
        "plain": plain,
        "independent": independent["residual_chi2"],
        "divergence": plain + 2 * kept,
        "output_variance": variance,
        "bias": independent["residual_chi2"] - 1 - variance,
        "noise_kept": kept,
        "whiteness": independent["residual_whiteness"],
    }


def _compare(case: Case, clean: Floats, first: Floats, second: Floats) -> dict[str, Any]:
    """The evaluator's residual figures of two movies (T, H, W) in the units of the noise at the true level."""
    folder = case.folder / "compared"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(case.camera, folder / case.camera.name)
    for name, values in (("clean", clean), ("first", first), ("second", second)):
        write(folder / f"{name}.tif", values)
    files = (folder / f"{name}.tif" for name in ("clean", "second"))
    return case.evaluator.run("denoising", "score", *files, "--noisy", folder / "first.tif")


def _divergence(case: Case, candidate: Candidate) -> float:
    """Mean derivative of an output pixel by its own input pixel: the part of the noise that is kept."""
    counts = tifffile.imread(case.noisy).astype(np.int64)
    signs = np.random.default_rng([case.scene.seed, 7]).choice((-1, 1), counts.shape)
    pushed = [_pushed(case, candidate, counts + STEP_ADU * sign * signs) for sign in (1, -1)]
    return float(np.mean(signs * (pushed[0] - pushed[1])) / (2 * STEP_ADU))


def _pushed(case: Case, candidate: Candidate, counts: npt.NDArray[np.int64]) -> Floats:
    perturbed: Path = case.folder / "perturbed.tif"
    tifffile.imwrite(perturbed, np.clip(counts, 0, 65535).astype(np.uint16), photometric="minisblack")
    return stack(case.denoise(candidate, perturbed)[0])

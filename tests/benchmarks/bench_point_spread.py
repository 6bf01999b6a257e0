"""Point spread functions: fits on a spline against their physical limit, and what each model costs. Prints JSON.

``OMP_NUM_THREADS=1 PYTHONPATH=.:models:drivers:tests python tests/benchmarks/bench_point_spread.py [--emitters 10000]``

Times are of the process on one thread (median of five), so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from spline_scenes import SPLINE, scene

from smartscope.doctor import machine
from smartscope.optics.point_spread.bead_stack import spline_from_beads
from smartscope.optics.point_spread.pupil import Pupil, PupilOptics
from smartscope.optics.point_spread.spline import SplinePointSpread
from smartscope_models.localization.spline_fit import fit_spline
from smartscope_models.localization.spline_torch import SplineLight

LEVELS = ((250, 5), (500, 10), (1000, 10), (2500, 20), (5000, 50))
"""Photo-electrons of a molecule, and of a pixel beside it."""
NAMES = ("x", "y", "photons", "background", "z")
OBJECTIVE = {"numerical_aperture": 1.4, "emission_nm": 670.0, "aberrations_nm": {6: 60.0, 11: 15.0}}


def seconds(work: Callable[[], object]) -> float:
    """Of the process, median of five, after one that compiles."""
    took = []
    for _ in range(6):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return float(np.median(took[1:]))


def against_limit(
    count: int, photons: float, background: float, *, true: SplinePointSpread | None, spline: SplinePointSpread
) -> dict[str, Any]:
    """Root mean square error over bound with its 95 % interval, of ``count`` molecules at -500 .. 500 nm."""
    light, read, places, truth = scene(count, photons, background, 100, true)
    fits = fit_spline(light, read, places, spline, range_nm=500)
    error = fits.values - truth
    error[:, [0, 1, 4]] -= np.median(error[:, [0, 1, 4]], axis=0) if true is not None else 0.0
    good = np.isfinite(error).all(axis=1)
    error, bound = error[good], fits.errors[good]
    rng = np.random.default_rng(1)
    draws = [rng.integers(0, len(error), len(error)) for _ in range(300)]

    def ratio(pick: Any) -> Any:
        return np.sqrt((error[pick] ** 2).mean(axis=0) / (bound[pick] ** 2).mean(axis=0))

    low, high = np.percentile([ratio(draw) for draw in draws], [2.5, 97.5], axis=0)
    found = {name: [round(float(v[i]), 4) for v in (ratio(slice(None)), low, high)] for i, name in enumerate(NAMES)}
    return {
        "photons": photons,
        "background": background,
        "emitters": len(truth),
        "lost": int(np.count_nonzero(~good)),
        "rmse_over_bound_and_95_percent": found,
        "bound_x_px": float(np.sqrt((bound[:, 0] ** 2).mean())),
        "bound_z_nm": float(np.sqrt((bound[:, 4] ** 2).mean())),
        "spread_over_stated_x": float(np.std(error[:, 0] / bound[:, 0])),
        "spread_over_stated_z": float(np.std(error[:, 4] / bound[:, 4])),
        "misfit": float(fits.misfit[good].mean()),
        "fits_per_s": len(truth) / seconds(lambda: fit_spline(light, read, places, spline, range_nm=500)),
    }


def from_beads(count: int) -> dict[str, Any]:
    """A vectorial pupil's molecules, fitted on the spline that beads gave: what calibration costs in precision."""
    true = Pupil(PupilOptics(**OBJECTIVE)).spline((-1000, 1000), 25, 100, 41, 2)
    rng = np.random.default_rng(7)
    heights = np.arange(-750, 751, 50.0)
    side, size = 4, 60
    mean = np.full((len(heights), side * size, side * size), 20.0)
    for row, column in np.ndindex(side, side):
        x, y = size / 2 + rng.uniform(-2, 2, 2)
        spot = 50_000 * rng.lognormal(0, 0.3) * true.spots(x, y, heights, (size, size)).values
        mean[:, row * size : (row + 1) * size, column * size : (column + 1) * size] += spot
    stack = rng.poisson(mean)
    found = spline_from_beads(stack, z_step_nm=50, pixel_size_nm=100)
    return {
        "beads": found.beads,
        "unexplained": found.unexplained,
        "calibration_s": seconds(lambda: spline_from_beads(stack, z_step_nm=50, pixel_size_nm=100)),
        "on_the_true_spline": against_limit(count, 1000, 10, true=true, spline=true),
        "on_the_measured_spline": against_limit(count, 1000, 10, true=true, spline=found.spline),
    }


def costs() -> dict[str, Any]:
    """Of one spot or plane, by model."""
    rng = np.random.default_rng(2)
    x, y, z = rng.uniform(5, 7, 2000), rng.uniform(5, 7, 2000), rng.uniform(-500, 500, 2000)
    on_torch = SplineLight(SPLINE)
    places = [torch.tensor(place, dtype=torch.float32) for place in (x, y, z)]
    scalar, vectorial = (Pupil(PupilOptics(**OBJECTIVE, vectorial=v)) for v in (False, True))
    heights = np.linspace(-500, 500, 20)
    return {
        "spline_13x13_with_slopes_us": 500 * seconds(lambda: SPLINE.spots(x, y, z, (13, 13))),
        "spline_torch_13x13_us": 500 * seconds(lambda: on_torch(*places, (13, 13))),
        "pupil_scalar_31x31_ms": 50 * seconds(lambda: scalar.stack(heights, 100, (31, 31))),
        "pupil_vectorial_31x31_ms": 50 * seconds(lambda: vectorial.stack(heights, 100, (31, 31))),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emitters", type=int, default=10_000)
    count = parser.parse_args().emitters
    torch.set_num_threads(1)
    figures = {
        "machine": machine(),
        "isolated": [against_limit(count, *level, true=None, spline=SPLINE) for level in LEVELS],
        "from_beads": from_beads(count // 2),
        "costs": costs(),
    }
    print(json.dumps(figures, indent=1, default=str))


if __name__ == "__main__":
    main()

"""CPU time of living specimens: a 512 x 512 frame of 50 ms, and the life before it. Prints JSON.

``PYTHONPATH=tests python tests/benchmarks/bench_specimens.py``
"""

from __future__ import annotations

import json
import statistics
import time

import numpy as np
from living_specimens import MAKERS, view

FRAMES = 40
EXPOSURE_S = 0.05
CASES: dict[str, tuple[dict[str, object], float, float]] = {
    "dividing_nuclei": ({"nuclei": 60, "area_um": 166.0}, 0.325, 1.0),
    "mitochondria": ({"mitochondria": 60, "area_um": 48.0}, 0.1, 3.8),
    "vesicles": ({"vesicles": 60}, 0.1, 20.0),
    "migrating_cells": ({"cells": 60}, 0.5, 1.0),
}
"""Options, pixels in um, frames per second."""


def timed(name: str) -> dict[str, float]:
    """Milliseconds of CPU, medians and the worst."""
    options, pixel_um, rate_hz = CASES[name]
    one, seen, expected = MAKERS[name][0](1, **options), view(pixel_um, 512), np.zeros((512, 512), np.float32)
    life_ms, picture_ms = [], []
    for frame in range(FRAMES + 1):
        began = time.process_time()
        parts = min(max(round(EXPOSURE_S / one.look_every_s), 1), 16)
        one.begin_exposure()
        for part in range(parts):
            one.advance(frame / rate_hz + EXPOSURE_S * (2 * part + 1) / (2 * parts))
            one.look()
        lived = time.process_time()
        expected.fill(0)
        one.render(expected, seen, {488.0: 0.1})
        life_ms.append(1e3 * (lived - began))
        picture_ms.append(1e3 * (time.process_time() - lived))
    both = [life + picture for life, picture in zip(life_ms[1:], picture_ms[1:], strict=True)]
    return {
        "objects": len(one.objects()),
        "picture_ms": round(statistics.median(picture_ms[1:]), 2),
        "life_ms": round(statistics.median(life_ms[1:]), 2),
        "both_ms": round(statistics.median(both), 2),
        "worst_ms": round(max(both), 2),
    }


if __name__ == "__main__":
    for specimen in CASES:
        timed(specimen)  # compiles
    print(json.dumps({specimen: timed(specimen) for specimen in CASES}, indent=1))

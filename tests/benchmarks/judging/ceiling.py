"""A control for the real pairs: how well our own network does when it is taught the very answers it is judged by.

Nothing that is shipped has seen a real image. This network has seen the five mean images, under our simulated noise,
and is thrown away; where it stands is as far as these pairs allow a network of this size to come.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .bench import Bench, say
from .candidates import Ours
from .cases import stack
from .pairs import MEAN, pairs

EDGE_PX, STRIDE_PX = 224, 144
STEPS = 5000


def ceiling(bench: Bench) -> dict[str, Any]:
    """Figures of ``pairs`` for the network that knows the answers, beside everybody's."""
    from smartscope_models.training.cameras import Detectors
    from smartscope_models.training.exposures import Levels
    from smartscope_models.training.recipe import recipe
    from smartscope_models.training.shipping import ship
    from smartscope_models.training.train import train

    if bench.data is None or not (bench.data / MEAN).is_dir():
        return {"skipped": f"no real pairs at {bench.data}; set SMARTSCOPE_DATA"}
    scanning = Detectors(emccd_share=0.0, photomultiplier_share=1.0, misjudged_share=0.0)
    levels = Levels(peak_e=(8, 100), background_e=(0.2, 2), background_share=(0.005, 0.03), detectors=scanning)
    answers = _answers(bench.data / MEAN)
    told = recipe(
        "denoise_frame", begin="denoise_frame", steps=STEPS, learning_rate=2e-3, bias_weight=0.0, levels=levels
    )
    with tempfile.TemporaryDirectory(prefix="smartscope-bench-") as folder:
        ship(train(told, answers, say), replace(told, scenes=1), Path(folder) / "told")
        knows = Ours("knows the answers", "denoise_network", {"package": f"{folder}/told", "engine": "onnxruntime"})
        return pairs(replace(bench, ours=[*bench.ours, knows]))


def _answers(means: Path) -> npt.NDArray[np.float16]:
    """(N, 1, EDGE_PX, EDGE_PX) pieces of the mean images, without their black level, brightest about 1."""
    pieces = []
    for path in sorted(means.glob("*.tif")):
        image = stack(path)[0]
        image = np.clip((image - np.percentile(image, 0.5)), 0, None)
        image /= np.percentile(image, 99.9)
        starts = range(0, min(image.shape) - EDGE_PX + 1, STRIDE_PX)
        pieces += [image[y : y + EDGE_PX, x : x + EDGE_PX] for y in starts for x in starts]
    return np.stack(pieces)[:, None].astype(np.float16)

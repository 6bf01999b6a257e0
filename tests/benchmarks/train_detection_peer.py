"""Train a network of StarDist's size on this project's lessons, as many crops as ours; for ``bench_detection.py``.

``python tests/benchmarks/train_detection_peer.py --images NUCLEI.npz --out FOLDER``
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from judging.bench import say
from judging.detection.star_training import train

from smartscope_models.training.learn_detector import DETECTOR_RECIPES
from smartscope_models.training.nuclei import RealNuclei

RATE = 1e-2
"""Between the highest and the lowest of ours."""


def main() -> None:
    """Train and say where the weights are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--images", type=Path, help=".npz of nuclei that ours learned from too")
    parser.add_argument("--steps", type=int, help="as ours by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = replace(DETECTOR_RECIPES["detect_objects"], seed=given.seed)
    steps = given.steps or recipe.steps
    recipe = replace(recipe, steps=steps, rates=((0, 0.0), (200, RATE), (int(0.4 * steps), RATE), (steps, 0.0)))
    print(train(recipe, given.out, say, RealNuclei(given.images) if given.images else None))


if __name__ == "__main__":
    main()

"""Detection: CPU time and multiply-adds, particles at three signals, masks of the Cell Tracking Challenge. Prints JSON.

``OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python tests/benchmarks/bench_detection.py --evaluator DIR --data DIR``

The judge of particles is the frozen evaluator (``--evaluator DIR`` or SMARTSCOPE_EVALUATOR). A network of StarDist's
size, trained by ``train_detection_peer.py``, is judged beside ours where its weights are given.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from judging.bench import rounded, say
from judging.detection.sections import Bench, masks, particles, speed
from judging.evaluator import Evaluator

from smartscope.doctor import machine

SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {"speed": speed, "particles": particles, "masks": masks}
PEERS = ("trackpy", "picasso", "ctcmetrics")
FIRST_SEED = 901
"""Nothing is tuned on the seeds from here on."""


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--network", help="package; the shipped one by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--data", type=Path, help="folder that holds ctc/")
    parser.add_argument("--star-weights", type=Path, help="written by train_detection_peer.py")
    parser.add_argument("--trackpy-python", help="interpreter that has trackpy and imagecodecs")
    parser.add_argument("--picasso-python", help="interpreter that has picassosr and tifffile")
    parser.add_argument("--ctcmetrics-python", help="interpreter that has py-ctcmetrics")
    parser.add_argument("--evaluator", help="folder of the frozen evaluators")
    parser.add_argument("--json", type=Path, help="write the figures here after each section")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    bench = Bench(
        evaluator=Evaluator.at(given.evaluator),
        network=given.network,
        seeds=range(given.first_seed, given.first_seed + given.seeds),
        frames=given.frames,
        data=given.data,
        star_weights=given.star_weights,
        pythons={name: python for name in PEERS if (python := getattr(given, f"{name}_python"))},
    )
    figures: dict[str, Any] = {
        "benchmark": "detection",
        "machine": {**machine(), "load_1_min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None},
        "seeds": list(bench.seeds),
        "sections": {},
        "took_s": {},
    }
    for name in given.sections:
        say(f"--- {name}")
        began = time.perf_counter()
        figures["sections"][name] = rounded(SECTIONS[name](bench), 5)
        figures["took_s"][name] = round(time.perf_counter() - began, 1)
        if given.json:
            given.json.write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

"""Localisation of single molecules: the limit, crowds, wrong assumptions, speed, latency, networks. Prints JSON.

``OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python tests/benchmarks/bench_localization.py --picasso-python PYTHON``

The judge is the frozen evaluator (``--evaluator DIR`` or SMARTSCOPE_EVALUATOR), called on files alone. Picasso runs in
a Python of its own that has picassosr (``--picasso-python`` or SMARTSCOPE_PICASSO_PYTHON); else it is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from judging.bench import rounded, say
from judging.candidates import THREADS
from judging.evaluator import Evaluator
from judging.localization.bench import Bench
from judging.localization.candidates import Ours
from judging.localization.crowds import astigmatic, crowds, markov, mismatch
from judging.localization.isolated import isolated
from judging.localization.latency import latency
from judging.localization.network_alone import networks_alone
from judging.localization.networks import networks
from judging.localization.picasso_peer import PicassoProcess
from judging.localization.speed import speed
from judging.localization.tables import markdown

from smartscope.doctor import machine
from smartscope_models.localization.crowd import PACKAGES

SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "isolated": isolated,
    "speed": speed,
    "crowds": crowds,
    "mismatch": mismatch,
    "markov": markov,
    "astigmatic": astigmatic,
    "latency": latency,
    "networks": networks,
}
FIRST_SEED = 901
"""Nothing is tuned on the seeds from here on."""
TUNING_SEED = 150
PYTHON = "SMARTSCOPE_PICASSO_PYTHON"


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument(
        "--ours",
        nargs="*",
        default=["ours"],
        help="LABEL[:KEY=VALUE,KEY=VALUE…], options of process localize; - for none",
    )
    parser.add_argument("--densities", nargs="*", type=float, default=[0.07, 0.37, 1.2], help="per square micrometre")
    parser.add_argument("--photons", nargs="*", type=float, default=[250.0, 500.0, 1000.0, 2500.0, 5000.0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--tuning-seed", type=int, default=TUNING_SEED, help="for the peers' settings")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--emitters", type=int, default=10_240, help="isolated ones of each level of light")
    parser.add_argument("--sizes", nargs="*", type=int, default=[128, 256, 512], help="pixels, for latency")
    parser.add_argument("--turns", type=int, default=9, help="of the clock")
    parser.add_argument("--quick", action="store_true", help="a taste of each section")
    parser.add_argument("--evaluator", help="folder of the frozen evaluators")
    parser.add_argument("--picasso-python", type=Path, default=os.environ.get(PYTHON), help="a Python with picassosr")
    parser.add_argument("--peer-weights", type=Path, help="folder written by train_localization_peers.py")
    parser.add_argument("--packages", nargs="*", default=[PACKAGES["gaussian"]], help="our networks beside those")
    parser.add_argument("--json", type=Path, help="write the figures here after each section")
    parser.add_argument("--markdown", action="store_true", help="print tables instead of JSON")
    parser.add_argument("--from-json", type=Path, help="tables of figures written before; measures nothing")
    return parser.parse_args()


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All figures; written after every section, so that a long run can be watched."""
    with ExitStack() as open_things:
        picasso = open_things.enter_context(PicassoProcess(given.picasso_python)) if given.picasso_python else None
        bench = Bench(
            evaluator=Evaluator.at(given.evaluator),
            ours=[] if given.ours == ["-"] else [Ours.parse(text) for text in given.ours],
            picasso=picasso,
            seeds=range(given.first_seed, given.first_seed + given.seeds),
            tuning_seed=given.tuning_seed,
            densities=given.densities,
            photons=given.photons,
            frames=given.frames,
            emitters=given.emitters,
            turns=given.turns,
            sizes=given.sizes,
            alone=networks_alone(given.peer_weights, given.packages),
        )
        bench = bench.quick() if given.quick else bench
        figures: dict[str, Any] = {
            "benchmark": "localization",
            "machine": {**machine(), "load_1_min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None},
            "threads": {name: os.environ.get(name) for name in THREADS},
            "seeds": list(bench.seeds),
            "tuning_seed": bench.tuning_seed,
            "ours": {one.label: list(one.options) for one in bench.ours},
            "peer": picasso.versions if picasso else None,
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
    return figures


def main() -> None:
    """Measure, or read, and print."""
    given = arguments()
    figures = json.loads(given.from_json.read_text()) if given.from_json else measure(given)
    print(markdown(figures) if given.markdown else json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

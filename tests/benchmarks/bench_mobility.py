"""Mobility: the frozen evaluator with its textbook peer, other conditions, calibration, cost of a frame. Prints JSON.

``OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python tests/benchmarks/bench_mobility.py --peer-python PYTHON``

The judge is the frozen evaluator (``--evaluator DIR`` or SMARTSCOPE_EVALUATOR), called on files alone. The peer runs in
a Python of its own that has trackpy (``--peer-python``); else it is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[1])]  # mobility_tracks, which the tests share

from judging.bench import rounded, say  # noqa: E402
from judging.evaluator import Evaluator  # noqa: E402
from judging.mobility.cost import cost  # noqa: E402
from judging.mobility.judged import judged  # noqa: E402
from judging.mobility.known import anomalous, calibration, known  # noqa: E402

from smartscope.doctor import machine  # noqa: E402

FIRST_SEED = 901
"""Nothing is tuned on the seeds from here on."""
SECTIONS = ("evaluator", "known", "calibration", "anomalous", "cost")


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--simulate", nargs="*", default=[], metavar="KEY=VALUE", help="of the evaluator's simulation")
    parser.add_argument("--tracks", type=int, default=60, help="of each motion of our own simulation")
    parser.add_argument("--counts", nargs="*", type=int, default=[100, 1000, 10_000], help="tracks, for the cost")
    parser.add_argument("--frames", type=int, default=100, help="for the cost")
    parser.add_argument("--evaluator", help="folder of the frozen evaluators")
    parser.add_argument("--peer-python", type=Path, help="a Python with trackpy")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def section(name: str, given: argparse.Namespace) -> Any:
    """Figures of one section."""
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    if name == "evaluator":
        options = dict(pair.split("=", 1) for pair in given.simulate)
        return judged(Evaluator.at(given.evaluator), seeds, given.peer_python, options)
    if name == "known":
        return known(seeds[:1], given.tracks)
    if name == "calibration":
        return calibration(seeds[:1], 20 * given.tracks)
    if name == "anomalous":
        return anomalous(seeds[0], given.tracks)
    return cost(given.counts, given.frames)


def main() -> None:
    """Measure and print."""
    given = arguments()
    figures: dict[str, Any] = {
        "benchmark": "mobility",
        "machine": machine(),
        "first_seed": given.first_seed,
        "sections": {},
    }
    for name in given.sections:
        say(f"--- {name}")
        figures["sections"][name] = rounded(section(name, given))
        if given.json:
            given.json.write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
